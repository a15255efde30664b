"""A small whole assessment, as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from govsec.policy.rate import coverage, rates
from govsec.policy.results import Basis, Status, Verdict, Words
from govsec.policy.run import Assessment, CatalogRow, CheckRow, ItemRow, ObjectRow, PackRow, ResultRow, SystemRow

STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
WORDS = Words(zh="词", en="words")


def item(number: int, verdict: Verdict = Verdict.CONFORM, **changes: Any) -> ItemRow:
    """One line; its id is ``8.1.4.1.<number>``."""
    values: dict[str, Any] = {
        "id": f"8.1.4.1.{number}",
        "key": f"GEN-CES-1-{number}",
        "scope": "general",
        "category": WORDS,
        "control_id": "8.1.4.1",
        "control": WORDS,
        "attribute": "S",
        "summary": WORDS,
        "kind": "technical",
        "automatable": "full",
        "is_confirmed": True,
        "is_optional": False,
        "verdict": verdict,
        "basis": Basis.NONE if verdict is Verdict.UNDECIDED else Basis.CHECKS,
    }
    return ItemRow(**(values | changes))


def result(status: Status = Status.PASS, check: str = "sshd-root-login", host: str = "web-1") -> ResultRow:
    return ResultRow(check=check, object=host, status=status)


def assessment(items: tuple[ItemRow, ...] = (), **changes: Any) -> Assessment:
    """A run of system ``permits`` on the host ``web-1``."""
    items = items or (item(1), item(2, Verdict.NOT_CONFORM), item(3, Verdict.UNDECIDED))
    results = changes.pop("results", (result(),))
    values: dict[str, Any] = {
        "id": "20261122T080000Z-00000001",
        "operator": "zhang",
        "controller": "desk",
        "version": "0.1.0",
        "system": SystemRow(name="permits"),
        "catalog": CatalogRow(id="gbt22239-2019", edition="2019", sha256="a" * 64),
        "level": 3,
        "s": 3,
        "a": 3,
        "scopes": ("general",),
        "started": STARTED,
        "ended": STARTED + timedelta(seconds=2),
        "packs": (PackRow(id="sshd", version="1.0.0", sha256="b" * 64, checks_count=1, trust="shipped"),),
        "objects": {"web-1": ObjectRow(name="web-1", kind="host", state="collected")},
        "checks": {
            "sshd-root-login": CheckRow(
                id="sshd-root-login", pack="sshd", title=WORDS, guards=WORDS, maps={"GEN-CES-1-1": "decides"}
            )
        },
        "probes": {},
        "results": results,
        "items": items,
        "coverage": coverage(items, results),
        "rates": rates(items, dangers=0, high_risks=0),
    }
    return Assessment(**(values | changes))
