"""One figure for a whole run, by named ways of counting, and the coverage that is printed beside each.

A rate alone misleads: what was not looked at is neither conform nor not. So an undecided item counts as not conform,
the rate over decided items and the best it could become stand beside it, and a conclusion is given only when no
undecided item could turn it. Strategies, bands and their status are data (``policies/rates/rates.yaml``); the formula
of the rate of 2025 is not published, and that of 2021 was not confirmed, and both say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus
from govsec.policy.results import Basis, Status, Verdict, Words
from govsec.policy.run import CoverageRow, ItemRow, RateRow, ResultRow
from govsec.shipped import read_table, shipped

#: What a verdict is worth. Source: GB/T 28448-2019 has the three words; half for a partial one is the practice of 2021.
_WORTH: Mapping[Verdict, float] = {Verdict.CONFORM: 1.0, Verdict.PARTIAL: 0.5}
_SEEN = (Status.PASS, Status.PARTIAL, Status.FAIL)


class _Band(Words):
    name: Literal["conform", "basically_conform", "not_conform", "excellent", "good", "medium", "poor"]
    above: float | None = None
    from_: float | None = Field(default=None, alias="from")
    is_ruled_out_by: Literal["", "dangers", "high_risk"] = ""

    def holds(self, value: float, *, dangers: int, high_risks: int) -> bool:
        if (self.is_ruled_out_by == "dangers" and dangers) or (self.is_ruled_out_by == "high_risk" and high_risks):
            return False
        return value > self.above if self.above is not None else value >= (self.from_ or 0.0)


class _Strategy(Model):
    id: Literal["rate-2025", "score-2021"]
    title: Words
    unit: Literal["percent", "points"]
    status: FigureStatus
    formula: Words
    bands: tuple[_Band, ...] = Field(min_length=1)
    notes: tuple[Words, ...] = ()


class _Table(Model):
    version: Literal[1]
    strategies: tuple[_Strategy, ...] = Field(min_length=1)
    undetermined: Words
    nothing: Words


@cache
def _table() -> _Table:
    return read_table(shipped("rates").joinpath("rates.yaml"), TypeAdapter(_Table))


def coverage(items: Sequence[ItemRow], results: Sequence[ResultRow]) -> CoverageRow:
    """How much of what was asked got an answer."""
    counted = [item for item in items if _counts(item)]
    decided = [item for item in counted if item.verdict is not Verdict.UNDECIDED]
    undecided = [item for item in counted if item.verdict is Verdict.UNDECIDED]
    supported = [item for item in undecided if any(results[position].status in _SEEN for position in item.results)]
    not_applicable = sum(item.verdict is Verdict.NOT_APPLICABLE for item in items)
    return CoverageRow(
        items=len(items),
        not_applicable=not_applicable,
        optional_unmet=len(items) - not_applicable - len(counted),
        applicable=len(counted),
        decided=len(decided),
        by_checks=sum(item.basis is Basis.CHECKS for item in decided),
        by_evidence=sum(item.basis is Basis.EVIDENCE for item in decided),
        by_attestation=sum(item.basis is Basis.ATTESTATION for item in decided),
        supported=len(supported),
        undecided=len(undecided),
        unconfirmed=sum(not item.is_confirmed for item in items),
        share=round(len(decided) / len(counted), 4) if counted else None,
    )


def rates(items: Sequence[ItemRow], *, dangers: int, high_risks: int) -> tuple[RateRow, ...]:
    """Every way of counting. ``dangers`` are candidates for major hidden dangers, ``high_risks`` open cases."""
    table = _table()
    return tuple(_rate(strategy, table, items, dangers, high_risks) for strategy in table.strategies)


def _rate(strategy: _Strategy, table: _Table, items: Sequence[ItemRow], dangers: int, high_risks: int) -> RateRow:
    formula = _FORMULAS[strategy.id]
    counted = [item for item in items if _counts(item)]
    decided = [item for item in counted if item.verdict is not Verdict.UNDECIDED]
    low = best = over_decided = None
    conclusion, words = "none", table.nothing
    if decided:
        low = formula(counted, 0.0)
        best = formula(counted, 1.0)
        over_decided = formula(decided, 0.0)
        at_least = _band(strategy, low, dangers, high_risks)
        at_best = _band(strategy, best, dangers, high_risks)
        is_settled = at_least.name == at_best.name
        conclusion = at_least.name if is_settled else "none"
        words = Words(zh=at_least.zh, en=at_least.en) if is_settled else table.undetermined
    return RateRow(
        strategy=strategy.id,
        title=strategy.title,
        formula=strategy.formula,
        value=low,
        value_decided=over_decided,
        value_best=best,
        unit=strategy.unit,
        conclusion=conclusion,  # type: ignore[arg-type]  # a name of the bands, or none
        conclusion_words=words,
        is_confirmed=strategy.status is FigureStatus.CONFIRMED,
        notes=strategy.notes,
    )


def _band(strategy: _Strategy, value: float, dangers: int, high_risks: int) -> _Band:
    fitting = (band for band in strategy.bands if band.holds(value, dangers=dangers, high_risks=high_risks))
    return next(fitting, strategy.bands[-1])


def _counts(item: ItemRow) -> bool:
    """The standard says "may" of some lines: who does not have them has done nothing wrong, and gains nothing."""
    if item.is_optional and item.verdict in (Verdict.NOT_CONFORM, Verdict.UNDECIDED):
        return False
    return item.verdict is not Verdict.NOT_APPLICABLE


def _worth(item: ItemRow, undecided: float) -> float:
    return undecided if item.verdict is Verdict.UNDECIDED else _WORTH.get(item.verdict, 0.0)


def _rate_2025(items: Sequence[ItemRow], undecided: float) -> float:
    return round(100 * sum(_worth(item, undecided) for item in items) / len(items), 2)


def _score_2021(items: Sequence[ItemRow], undecided: float) -> float:
    """Vt + Vm with y = 0.5: what a half loses is counted in S = 100/n of all lines, and no half falls below 0."""
    total = 0.0
    for kind in ("technical", "management"):
        lost = sum((1 - _worth(item, undecided)) * 100 / len(items) for item in items if item.kind == kind)
        total += max(0.0, 50.0 - lost)
    return round(total, 2)


_FORMULAS: Mapping[str, Callable[[Sequence[ItemRow], float], float]] = {
    "rate-2025": _rate_2025,
    "score-2021": _score_2021,
}
