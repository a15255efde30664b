"""The whole way on a real firewall: a finding, a plan, a person's approval, a block, its check, and its end."""

from __future__ import annotations

from pathlib import Path

from govsec.clock import SystemClock
from govsec.response.asking import HelperActor
from govsec.response.order import approve
from govsec.response.runs import State
from tests.response.far import People, helper_running, wait_for, write_settings
from tests.response.rooms import Kept, finding, make_engine
from tests.support.namespaces import cable
from tests.support.require import require


def test_a_finding_ends_in_a_verified_block_that_expires(tmp_path: Path) -> None:
    require("nft")
    people, clock, kept = People(tmp_path), SystemClock(), Kept()
    with cable() as (here, _), helper_running(write_settings(tmp_path), "ip", "netns", "exec", here.name):
        engine = make_engine(tmp_path, people, HelperActor(tmp_path / "s", clock), clock, kept)

        (run,) = engine.absorb(finding(), "20261122-0001")
        engine.step()
        (deed,) = engine.runs.deeds(run)
        assert deed.state is State.PROPOSED and deed.facts["sessions"] == 0
        engine.approve(approve(people.signers["zhang"], deed.order, clock.now()))
        engine.step()
        (deed,) = engine.runs.deeds(run)
        assert deed.state is State.VERIFIED, deed
        assert deed.facts["pack_bytes"] > 1000 and len(deed.facts["pack_sha256"]) == 64
        engine.take_back(deed, "zhang")
        wait_for(lambda: engine.step().moved_count == 0, "nothing is left to do")
        (deed,) = engine.runs.deeds(run)

    assert deed.state is State.UNDONE
    begun = ["planned", "tried", "approved", "agreed", "begun", "done", "verified"]
    assert kept.kinds() == [f"response.{step}" for step in [*begun, "undo_asked", "undone"]]
    assert kept.notes == [("20261122-0001", "nft.block", step) for step in ("done", "verified", "undone")]
