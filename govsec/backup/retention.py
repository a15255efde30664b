"""Which snapshots to keep. The rules are restic's, of version 0.16 and later, taken literally.

Snapshots are grouped (by host and paths), each group is sorted newest first, and every snapshot is tested against all
rules; one rule that wants it is enough. Pure: nothing is removed here.

* A counting rule (last, hourly … yearly) keeps a snapshot when its bucket (the hour, day, ISO week … in the snapshot's
  own zone) differs from that of the one kept before it and the count is not used up; -1 never is. The oldest snapshot
  of a group is kept too while a count is left, so a young repository keeps its whole history.
* A duration reaches back from the newest snapshot that is not in the future, not from now: backups that stopped do not
  age away, and a snapshot with a date of tomorrow pushes nothing out.
* Tags keep without being counted.

Source: restic, ``internal/data/snapshot_policy.go`` (``ApplyPolicy``), ``internal/data/duration.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from govsec.config import RetentionPolicy
from govsec.errors import ConfigurationError, RefusedError
from govsec.repo.snapshot import Snapshot

_DURATION = re.compile(r"(?:(\d{1,5})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?")
_ZONE = re.compile(r"([+-])([01]\d|2[0-3]):([0-5]\d)\Z")
#: Reaches behind every snapshot: what restic's zero time is, when all snapshots lie in the future.
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one snapshot. No reasons: nothing wants it."""

    snapshot: Snapshot
    reasons: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """True when a rule wants the snapshot."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of calendar time, as restic writes it: ``1y6m3d12h``."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def before(self, moment: datetime) -> datetime:
        """The moment that lies this long before ``moment``; a day that its month lacks runs over, as in Go."""
        months = moment.year * 12 + moment.month - 1 - self.years * 12 - self.months
        if months < 12:
            return _BEGINNING
        first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
        try:
            return first + timedelta(days=moment.day - 1 - self.days, hours=-self.hours)
        except OverflowError:
            return _BEGINNING


def parse_duration(text: str) -> Duration:
    """The duration that ``text`` names: years, months, days, hours in that order, each at most once.

    Raises:
        ConfigurationError: it names none.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ConfigurationError(f"not a duration like 1y6m3d12h: {text!r}")
    return Duration(*(int(part or 0) for part in match.groups()))


def apply_policy(
    snapshots: Iterable[Snapshot], policy: RetentionPolicy, *, now: datetime, committed: Sequence[str] = ()
) -> list[Decision]:
    """A decision for each snapshot, group by group (host and paths), newest first.

    ``committed`` are the ids of the snapshots that a commit log names, in its order. The last one of each group is kept
    whatever its time: a clock that ran back makes the newest backup look like the oldest.

    Raises:
        RefusedError: the policy is empty, so it would keep nothing.
        ConfigurationError: a duration cannot be read.
    """
    rules = _rules(policy)
    if not rules and not any(policy.keep_tags):
        raise RefusedError("the retention policy is empty; it would remove every snapshot")
    groups: dict[tuple[str, tuple[str, ...]], list[Snapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault((snapshot.hostname, tuple(sorted(snapshot.paths))), []).append(snapshot)
    decisions = []
    for _, group in sorted(groups.items()):
        here = {snapshot.id for snapshot in group}
        last = next((snapshot_id for snapshot_id in reversed(committed) if snapshot_id in here), None)
        decisions += _decide_group(group, policy, now, last)
    return decisions


@dataclass(slots=True)
class _Rule:
    reason: str
    bucket: Callable[[datetime, int], int]
    #: How many more to keep, -1 without end; None when the rule reaches over a duration instead.
    count: int | None
    within: Duration | None = None
    last: int = field(default=-1)


def _rules(policy: RetentionPolicy) -> list[_Rule]:
    rules = []
    for name, bucket in _BUCKETS.items():
        count = getattr(policy, f"keep_{name}")
        if count:
            rules.append(_Rule(f"{name} snapshot", bucket, count))
        # There is no keep_within_last: every snapshot within the span is what keep_within itself keeps.
        within = policy.keep_within if name == "last" else getattr(policy, f"keep_within_{name}")
        if within is not None:
            reason = f"within {within}" if name == "last" else f"{name} within {within}"
            rules.append(_Rule(reason, bucket, None, parse_duration(within)))
    return rules


def _decide_group(
    group: list[Snapshot], policy: RetentionPolicy, now: datetime, committed_last: str | None
) -> list[Decision]:
    ordered = sorted(group, key=lambda snapshot: snapshot.time, reverse=True)
    latest = max((snapshot.time for snapshot in ordered if snapshot.time < now), default=None)
    rules = _rules(policy)  # rules count down, so each group has its own
    decisions = []
    for position, snapshot in enumerate(ordered):
        reasons = [f"has tags {', '.join(tags)}" for tags in policy.keep_tags if tags and set(tags) <= {*snapshot.tags}]
        is_oldest = position == len(ordered) - 1
        reasons += [
            reason
            for rule in rules
            if (reason := _test(rule, _own_time(snapshot), position, is_oldest, latest)) is not None
        ]
        if snapshot.id == committed_last:
            reasons.append("committed last")
        decisions.append(Decision(snapshot, tuple(reasons)))
    return decisions


def _test(rule: _Rule, time: datetime, position: int, is_oldest: bool, latest: datetime | None) -> str | None:
    """Why the rule keeps the snapshot, or None; counts down when it does."""
    if rule.within is not None:
        if time <= (_BEGINNING if latest is None else rule.within.before(latest)):
            return None
    elif rule.count == 0:
        return None
    value = rule.bucket(time, position)
    is_new = value != rule.last
    if not is_new and not is_oldest:
        return None
    rule.last = value
    if rule.count is not None and rule.count > 0:
        rule.count -= 1
    return rule.reason if is_new else f"oldest {rule.reason}"


def _own_time(snapshot: Snapshot) -> datetime:
    """The snapshot's time in the zone that it was written in: its days and hours are those of its makers."""
    zone = _ZONE.search(snapshot.time_text)
    if zone is None:
        return snapshot.time
    minutes = int(zone[2]) * 60 + int(zone[3])
    return snapshot.time.astimezone(timezone(timedelta(minutes=-minutes if zone[1] == "-" else minutes)))


def _iso_week(time: datetime, _: int) -> int:
    year, week, _day = time.isocalendar()
    return year * 100 + week


_BUCKETS: dict[str, Callable[[datetime, int], int]] = {
    "last": lambda _, position: position,
    "hourly": lambda time, _: ((time.year * 100 + time.month) * 100 + time.day) * 100 + time.hour,
    "daily": lambda time, _: (time.year * 100 + time.month) * 100 + time.day,
    "weekly": _iso_week,
    "monthly": lambda time, _: time.year * 100 + time.month,
    "yearly": lambda time, _: time.year,
}
