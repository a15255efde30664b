"""Calls of cases survive a death at any moment: the same calls, each once, at the same times."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.escalation import escalate, open_escalation
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.notify import open_outbox
from govsec.config import Config, load_config
from govsec.errors import TryAgainError
from govsec.incident.api import Query, Summary
from govsec.incident.casefile import CaseFile
from govsec.incident.entries import ENTRY
from govsec.notice.api import Limits
from govsec.notice.escalation import Escalation
from govsec.notice.outbox import ItemState, Outbox
from govsec.records import Notice
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
MINUTES = 12


class _DeathError(Exception):
    """The process is gone."""


class _Deaths:
    """Dies at the Nth step of the work, counted over all that can be between two writes."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise _DeathError


class _Outbox:
    """An outbox that dies before or after its effect."""

    def __init__(self, outbox: Outbox, deaths: _Deaths) -> None:
        self._outbox, self._deaths = outbox, deaths
        self.is_undeliverable, self.has = outbox.is_undeliverable, outbox.has

    def put(self, notices: Sequence[Notice], channels: Sequence[str], now: datetime) -> int:
        self._deaths.step()
        count = self._outbox.put(notices, channels, now)
        self._deaths.step()
        return count


class _Escalation:
    """Escalation that dies before or after it writes."""

    def __init__(self, escalation: Escalation, deaths: _Deaths) -> None:
        self._escalation, self._deaths = escalation, deaths

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._escalation, name)
        if name not in ("watch", "told", "ended", "unreached"):
            return found

        def dying(*args: object) -> object:
            self._deaths.step()
            given = found(*args)
            self._deaths.step()
            return given

        return dying


@pytest.fixture
def config(tmp_path: Path) -> Config:
    channels = {name: {"kind": "file", "path": str(tmp_path / name)} for name in ("a", "b")}
    notify = {
        "channels": channels,
        "people": {"zhang": {"name": "张三", "channels": ["a"]}, "li": {"name": "李处", "channels": ["b"]}},
        "rotas": {"duty": [{"people": ["zhang"]}]},
        "escalation": [
            {"steps": [{"rota": "duty", "repeat_min": 2, "wait_min": 3}, {"people": ["li"], "repeat_min": 2}]}
        ],
    }
    path = tmp_path / "govsec.yaml"
    path.write_text(json.dumps({"version": 1, "state_dir": str(tmp_path / "state"), "notify": notify}))
    return load_config(path)


def _entry(kind: str, minute: int, **said: Any) -> Any:
    return ENTRY.validate_python({"kind": kind, "time": NOW + timedelta(minutes=minute), "by": "值班员", **said})


def _open(config: Config, minute: int, title: str) -> None:
    with open_cases(config) as cases:
        desk = build_desk(config, cases, FakeClock(NOW + timedelta(minutes=minute)))
        desk.open(
            _entry("opened", minute, title=title, aware_at=NOW + timedelta(minutes=minute), roles=("other_operator",))
        )


def _walk(config: Config, deaths: _Deaths) -> int:
    """Some minutes, with what people do in them; gives how often it died."""
    died, minute = 0, 0
    while minute < MINUTES:
        try:
            with open_cases(config) as cases, open_escalation(config) as inner, open_outbox(config) as box:
                escalation, outbox = _Escalation(inner, deaths), _Outbox(box, deaths)
                while minute < MINUTES:
                    _people(config, cases, minute)
                    escalate(config, cases, escalation, outbox, NOW + timedelta(minutes=minute))  # type: ignore[arg-type]
                    minute += 1
        except _DeathError:
            died += 1
    return died


def _people(config: Config, cases: CaseFile, minute: int) -> None:
    desk = build_desk(config, cases, FakeClock(NOW + timedelta(minutes=minute)))
    count = len(cases.find(Query()))
    if (minute, count) in ((0, 0), (2, 1)):
        aware = NOW + timedelta(minutes=minute)
        desk.open(_entry("opened", minute, title=f"门户打不开 {count}", aware_at=aware, roles=("other_operator",)))
    if minute == 7 and not cases.find(Query(is_acknowledged=True)):
        desk.add("20261122-0001", _entry("acknowledged", 7))


def _told(config: Config) -> list[tuple[str, str, datetime]]:
    with open_outbox(config) as outbox:
        items = outbox.items(ItemState.WAITING, limit=1000)
    return sorted((item.notice.key, item.channel, item.created_at) for item in items)


def test_wherever_it_dies_the_calls_are_those_of_one_that_did_not(config: Config, tmp_path: Path) -> None:
    whole = _Deaths(None)
    assert _walk(config, whole) == 0
    told = _told(config)
    assert len(told) >= 8 and whole.count > 30

    for at in range(1, whole.count + 1, 3):
        other = config.model_copy(update={"state_dir": tmp_path / f"state-{at}"})
        assert _walk(other, _Deaths(at)) == 1
        assert _told(other) == told, f"died at step {at}"


class _Locked:
    """Cases that cannot be listed."""

    def __init__(self, cases: CaseFile) -> None:
        self._cases = cases

    def find(self, _: Query) -> tuple[Summary, ...]:
        raise TryAgainError("cases: locked")


def test_when_the_cases_cannot_be_listed_those_that_are_known_are_called_and_it_is_told(config: Config) -> None:
    _open(config, 0, "门户打不开")
    with open_cases(config) as cases, open_escalation(config) as escalation, open_outbox(config) as outbox:
        assert escalate(config, cases, escalation, outbox, NOW).calls_count == 1
        with pytest.raises(TryAgainError):
            escalate(config, _Locked(cases), escalation, outbox, NOW + timedelta(minutes=5))  # type: ignore[arg-type]
        assert len(outbox.items(ItemState.WAITING)) == 2


def test_a_case_that_is_damaged_is_called_by_what_its_line_says(config: Config) -> None:
    _open(config, 0, "门户打不开")
    path = config.state_dir / "incidents" / "cases.db"
    with sqlite3.connect(path) as work:
        work.execute("UPDATE entries SET body = '{}'")
    work.close()
    with open_cases(config) as cases, open_escalation(config) as escalation, open_outbox(config) as outbox:
        assert escalate(config, cases, escalation, outbox, NOW).calls_count == 1


def test_a_call_that_every_channel_refused_goes_to_the_next_level(config: Config) -> None:
    _open(config, 0, "门户打不开")
    with open_cases(config) as cases, open_escalation(config) as escalation, open_outbox(config) as outbox:
        escalate(config, cases, escalation, outbox, NOW)
        (leased,) = outbox.lease({"a": Limits()}, NOW)
        outbox.fail(leased, "no such group", NOW, is_retryable=False)
        escalate(config, cases, escalation, outbox, NOW + timedelta(seconds=5))
        escalated = escalate(config, cases, escalation, outbox, NOW + timedelta(seconds=66))
        (item,) = outbox.items(ItemState.WAITING)

    assert (escalated.calls_count, escalated.unreached_count) == (1, 1)
    assert item.channel == "b"


def test_a_flood_of_cases_is_one_call_and_every_one_of_them_is_called(config: Config) -> None:
    for number in range(25):
        _open(config, 0, f"案件 {number}")
    with open_cases(config) as cases, open_escalation(config) as escalation, open_outbox(config) as outbox:
        called = escalate(config, cases, escalation, outbox, NOW)
        again = escalate(config, cases, escalation, outbox, NOW + timedelta(seconds=5))
        (item,) = outbox.items(ItemState.WAITING)
    assert (called.calls_count, called.waiting_count, again.calls_count) == (1, 25, 0)
    assert item.notice.facts["matters_count"] == 25
