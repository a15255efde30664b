"""This run against an earlier one of the same system: what got better, what got worse, what makes them hard to compare.

Pure. A verdict that became ``undecided`` is worse: what could be shown then cannot be shown now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from govsec.policy.results import CaseState, Verdict, Words
from govsec.policy.run import Assessment, ChangeRow, DifferenceRow, ResultChangeRow

#: Best first; ``not_applicable`` stands outside.
_ORDER = (Verdict.CONFORM, Verdict.PARTIAL, Verdict.UNDECIDED, Verdict.NOT_CONFORM)
#: A fleet whose pack was replaced changes everywhere; so many single results are named.
_RESULTS_MAX = 5000


def difference(earlier: Assessment, later: Assessment) -> DifferenceRow:
    """What changed from ``earlier`` to ``later``."""
    before = {item.id: item.verdict for item in earlier.items}
    after = {item.id: item.verdict for item in later.items}
    ids = [item.id for item in later.items] + [item.id for item in earlier.items if item.id not in after]
    changes = [
        ChangeRow(item=item, before=before.get(item), after=after.get(item), direction=_direction(before, after, item))
        for item in ids
        if before.get(item) is not after.get(item)
    ]
    cases_before, cases_after = _open_cases(earlier), _open_cases(later)
    return DifferenceRow(
        earlier=earlier.id,
        earlier_time=earlier.started,
        notes=tuple(_notes(earlier, later)),
        items=tuple(changes),
        results=_results(earlier, later),
        cases_new=tuple(sorted(cases_after - cases_before)),
        cases_gone=tuple(sorted(cases_before - cases_after)),
    )


def dangers_rectified(earlier: Assessment, later: Assessment) -> int:
    """How many candidates for major hidden dangers of ``earlier`` are none any more."""
    return len({row.case for row in earlier.dangers} - {row.case for row in later.dangers})


def _direction(before: dict[str, Verdict], after: dict[str, Verdict], item: str) -> Literal["better", "worse", "other"]:
    old, new = before.get(item), after.get(item)
    if old not in _ORDER or new not in _ORDER:
        return "other"
    return "better" if _ORDER.index(new) < _ORDER.index(old) else "worse"


def _open_cases(run: Assessment) -> set[str]:
    return {row.case for row in run.cases if row.state is CaseState.OPEN}


def _results(earlier: Assessment, later: Assessment) -> tuple[ResultChangeRow, ...]:
    before = {(row.check, row.object): row.status for row in earlier.results}
    after = {(row.check, row.object): row.status for row in later.results}
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) is not after.get(key))
    return tuple(
        ResultChangeRow(check=key[0], object=key[1], before=before.get(key), after=after.get(key))
        for key in changed[:_RESULTS_MAX]
    )


def _notes(earlier: Assessment, later: Assessment) -> Iterable[Words]:
    asked = [(run.level, run.s, run.a, run.scopes) for run in (earlier, later)]
    if asked[0] != asked[1]:
        yield Words(zh="等级或扩展要求不同，条目不一样", en="Level or extensions differ, and so do the items")
    packs = [{(pack.id, pack.sha256) for pack in run.packs} for run in (earlier, later)]
    if packs[0] != packs[1]:
        names = ", ".join(sorted({pack for pack, _ in packs[0] ^ packs[1]}))
        yield Words(zh=f"检查包不同：{names}", en=f"Other packs: {names}")
    if earlier.parameters != later.parameters:
        yield Words(zh="检查参数不同", en="Other parameters")
    objects = sorted(earlier.objects.keys() ^ later.objects.keys())
    if objects:
        words = ", ".join(objects[:20]) + (" …" if len(objects) > 20 else "")
        yield Words(zh=f"对象不同：{words}", en=f"Other objects: {words}")
