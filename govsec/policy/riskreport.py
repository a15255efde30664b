"""What a risk assessment gives, and what changed since an earlier one, with the number that made it change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.errors import UsageError
from govsec.policy.riskmethod import Grade
from govsec.records import Moment


class Reason(Model):
    """What gave a number its value, or would have given it a lower one."""

    #: ``asset``, ``threat``, ``weakness`` or ``measures``.
    term: str
    code: str
    value: int
    #: It decided the number.
    decides: bool
    text: Text


class AcceptanceRow(Model):
    """Who accepted the risk, until when and up to which level."""

    id: str
    owner: str
    approver: str
    made: Moment
    valid_until: Moment
    level_max: Grade
    reason: str


class RiskRow(Model):
    """One threat to the system, with every number and its reasons."""

    threat: str
    title: Text
    asset: Grade
    frequency: Grade
    weakness: Grade
    likelihood: float
    loss: float
    value: float
    level: Grade
    level_title: Text
    reasons: tuple[Reason, ...]
    #: Something was assumed because nobody looked.
    is_assumed: bool
    #: It is at or above the level from which risks are treated.
    is_treated: bool
    acceptance: AcceptanceRow | None = None

    @property
    def is_open(self) -> bool:
        """It has to be treated, and nobody has accepted it."""
        return self.is_treated and self.acceptance is None


class RiskReport(Model):
    """The risks of one system at one time, highest first."""

    schema_: Literal["govsec.risk.v1"] = Field(default="govsec.risk.v1", alias="schema")
    system: str
    time: Moment
    method: str
    method_sha256: str
    method_status: FigureStatus
    numbers_status: FigureStatus
    rows: tuple[RiskRow, ...]

    def canonical(self) -> dict[str, JsonValue]:
        """As plain JSON values, ready for the ledger."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return value


class RiskChange(Model):
    """A threat whose risk is not what it was. None: the threat was, or is, not part of the method."""

    threat: str
    direction: Literal["higher", "lower", "same", "added", "removed"]
    value_before: float | None
    value_after: float | None
    level_before: int | None
    level_after: int | None
    #: Which of asset, frequency and weakness is another one.
    numbers: tuple[str, ...] = ()
    #: It is accepted now and was not, or the other way round.
    is_acceptance_changed: bool = False


class RiskDifference(Model):
    """Two assessments side by side."""

    system: str
    #: The method is another one: numbers do not compare.
    is_method_changed: bool
    changes: tuple[RiskChange, ...]


def risk_difference(before: RiskReport, after: RiskReport) -> RiskDifference:
    """What changed, in the order of ``after``, then what is gone.

    Raises:
        UsageError: the reports are of different systems.
    """
    if before.system != after.system:
        raise UsageError(f"risks of {before.system} and of {after.system} do not compare")
    old = {row.threat: row for row in before.rows}
    new = {row.threat: row for row in after.rows}
    changes = [_change(threat, old.get(threat), new.get(threat)) for threat in (*new, *(old.keys() - new.keys()))]
    return RiskDifference(
        system=after.system,
        is_method_changed=before.method_sha256 != after.method_sha256,
        changes=tuple(change for change in changes if change is not None),
    )


def _change(threat: str, old: RiskRow | None, new: RiskRow | None) -> RiskChange | None:
    numbers = tuple(
        name for name in ("asset", "frequency", "weakness") if old and new and getattr(old, name) != getattr(new, name)
    )
    is_acceptance_changed = bool(old and new and (old.acceptance is None) != (new.acceptance is None))
    if old and new and not numbers and not is_acceptance_changed and old.value == new.value:
        return None
    return RiskChange(
        threat=threat,
        direction=_direction(old, new),
        value_before=old.value if old else None,
        value_after=new.value if new else None,
        level_before=old.level if old else None,
        level_after=new.level if new else None,
        numbers=numbers,
        is_acceptance_changed=is_acceptance_changed,
    )


def _direction(old: RiskRow | None, new: RiskRow | None) -> Literal["higher", "lower", "same", "added", "removed"]:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    if new.value == old.value:
        return "same"
    return "higher" if new.value > old.value else "lower"
