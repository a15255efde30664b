"""Every check of every pack that comes with govsec does what it says: its fixtures, and facts that are bent."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.policy.expressions import Expressions
from govsec.policy.packfiles import read_folder
from govsec.policy.packload import SHIPPED, Known, load_shipped, shipped_packs
from govsec.policy.packtest import prove
from govsec.policy.results import Role

PACKS = shipped_packs()


def test_packs_came_with_govsec() -> None:
    assert "sshd" in PACKS


@pytest.mark.parametrize("pack_id", PACKS)
def test_every_check_gives_what_its_fixtures_say_and_follows_its_facts(pack_id: str) -> None:
    with Expressions(SystemClock()) as expressions:
        pack = load_shipped(pack_id, Known.shipped(), expressions)
        with importlib.resources.as_file(importlib.resources.files("govsec_policies").joinpath(pack_id)) as folder:
            proofs = prove(pack, read_folder(Path(folder)), expressions)

    assert pack.trust == SHIPPED
    assert len(proofs) == len(pack.checks) > 0
    assert all(proof.fixtures_count >= 2 and proof.mutations_count >= 5 for proof in proofs)
    assert [problem for proof in proofs for problem in proof.problems] == []


def test_what_a_pass_leaves_open_is_not_called_settled() -> None:
    """Audit records that lie safely on one machine are not backed up, and a firewall may let the open port through."""
    with Expressions(SystemClock()) as expressions:
        packs = [load_shipped(pack_id, Known.shipped(), expressions) for pack_id in ("linux-audit", "linux-system")]
    checks = [check for pack in packs for check in pack.checks]

    deciding = [check for check in checks if check.roles().get("GEN-CES-3-c") is Role.DECIDES]
    assert [check.id for check in deciding] == ["linux-audit-records-copied"]
    assert "leaves-the-host" in {expect.name for expect in deciding[0].expect}
    risks = {check.id: risk for check in checks for risk in check.high_risk}
    for check_id in ("linux-system-no-plaintext-remote", "linux-system-no-risky-ports"):
        assert risks[check_id].mitigated_by == ()


def test_no_host_speaks_for_the_border_but_one_that_is_registered_as_such() -> None:
    """A firewall between zones guards hosts that have none of their own, and theirs says nothing of it."""
    with Expressions(SystemClock()) as expressions:
        packs = [load_shipped(pack_id, Known.shipped(), expressions) for pack_id in PACKS]
    checks = [check for pack in packs for check in pack.checks]
    of_all = [role for check in checks if check.hosts is None for key, role in check.roles().items() if "-ABS-" in key]

    assert set(of_all) == {Role.INFORMS}
    deciding = {
        key for check in checks for key, role in check.roles().items() if role is Role.DECIDES and "-ABS-" in key
    }
    assert deciding == {"GEN-ABS-2-a", "GEN-ABS-2-c", "GEN-ABS-2-d", "GEN-ABS-5-b", "GEN-ABS-5-c"}
