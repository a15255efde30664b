"""Several jobs in one repository: a drill says which one it proved, and never lets one stand for the other."""

from __future__ import annotations

from govsec.drill.result import Verdict
from tests.drill.conftest import Rig, codes


def test_snapshots_of_different_paths_need_a_plan_that_says_which_are_meant(shipped: Rig) -> None:
    other = shipped.base / "other"
    other.mkdir()
    (other / "one.txt").write_text("one")
    shipped.back_up(paths=[other])
    shipped.back_up()
    shipped.ship()

    unclear = shipped.drill()
    assert (unclear.verdict, codes(unclear)) == (Verdict.PARTIAL, {"several_sources"})
    assert unclear.history is not None
    assert unclear.history.snapshots_count == 2  # the other job's snapshot is none of these data

    clear = shipped.drill(shipped.plan(select={"paths": [str(shipped.source)]}))
    assert (clear.verdict, codes(clear)) == (Verdict.PASS, set())
