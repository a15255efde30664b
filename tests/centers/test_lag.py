"""Lag as a measured thing: what intervals say, how they add up, and that the ledger gives them back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.assemble.lagrecord import LagRecord, lags_of
from govsec.assemble.systems import Site
from govsec.centers.lag import EVIDENCE_KIND, LagInterval, LagLog, measured, parse_interval, percentile
from govsec.config import load_config
from govsec.errors import FormatError
from govsec.records import Evidence
from govsec.testing.clock import FakeClock


def test_an_interval_says_how_far_behind_a_center_was_and_how_long_nothing_came(clock: FakeClock) -> None:
    log = LagLog("receipt", clock)
    log.expect("files", "near")
    for lag_s in (1.0, 2.0, 9.0):
        clock.advance(10)
        log.add("files", "near", lag_s, clock.now())
    clock.advance(30)
    log.add("files", "near", None, clock.now())
    clock.advance(45)
    (interval,) = log.close()
    assert (interval.p50_ms, interval.p95_ms, interval.max_ms) == (2000, 9000, 9000)
    assert (interval.snapshots_count, interval.gap_max_ms) == (4, 45_000)
    clock.advance(100)
    (quiet,) = log.close()
    assert (quiet.snapshots_count, quiet.max_ms, quiet.gap_max_ms) == (0, 0, 145_000)
    assert quiet.since == interval.until


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(samples: list[float]) -> None:
    for percent in (50, 95, 100):
        value = percentile(samples, percent)
        assert value in samples
        assert sum(sample <= value for sample in samples) * 100 >= percent * len(samples)


def interval(clock: FakeClock, minutes: float, long: float = 15, **more: object) -> LagInterval:
    """One that began so many minutes after the beginning."""
    since = clock.now() + timedelta(minutes=minutes)
    until = since + timedelta(minutes=long)
    values = {"snapshots_count": 10, "p50_ms": 1000, "p95_ms": 2000, "max_ms": 3000, "gap_max_ms": 4000, **more}
    return LagInterval.model_validate(
        {"job": "files", "center": "far", "side": "shipping", "since": since, "until": until, **values}
    )


def test_time_that_nobody_measured_is_not_covered(clock: FakeClock) -> None:
    (lag,) = measured([interval(clock, 0), interval(clock, 15), interval(clock, 45)])
    assert lag.covered_share == 0.75
    (twice,) = measured([interval(clock, 0), interval(clock, 0), interval(clock, 5)])
    assert twice.covered_s == 20 * 60


def test_a_bad_interval_shows_in_the_largest_and_enough_of_them_in_the_percentile(clock: FakeClock) -> None:
    good = [interval(clock, 15 * number) for number in range(39)]
    (lag,) = measured([*good, interval(clock, 15 * 39, p95_ms=900_000, max_ms=950_000)])
    assert (lag.p95_s, lag.max_s) == (2.0, 950.0)
    (worse,) = measured([*good, *(interval(clock, 15 * (39 + n), p95_ms=900_000) for n in range(4))])
    assert worse.p95_s == 900.0


def test_an_evidence_that_is_no_interval_is_refused(clock: FakeClock) -> None:
    whole = interval(clock, 0).evidence("hr")
    assert parse_interval(whole) == interval(clock, 0)
    for facts in ({}, {**whole.facts, "p50_ms": -1}, {**whole.facts, "more": 1}):
        with pytest.raises(FormatError):
            parse_interval(Evidence(kind=EVIDENCE_KIND, time=clock.now(), subject="hr", facts=facts))


def test_what_was_measured_is_signed_when_the_interval_is_over_and_read_again(place: Path, clock: FakeClock) -> None:
    site = Site(load_config(place / "govsec.yaml"), clock)
    system, began = site.system(), clock.now()
    said: list[str] = []
    record = LagRecord(site, system, "shipping", every_s=900)
    record.add("files", "far", 12.5, clock.now())
    record.tell(said.append)
    assert lags_of(site, system, since=began) == []
    clock.advance(901)
    record.tell(said.append)
    (lag,) = lags_of(site, system, since=began)
    assert (lag.job, lag.center, lag.snapshots_count, lag.max_s) == ("files", "far", 1, 12.5)
    record.add("files", "far", 1.0, clock.now())
    record.tell(said.append, is_last=True)
    assert lags_of(site, system, since=began)[0].snapshots_count == 2
    assert lags_of(site, system, since=clock.now() + timedelta(seconds=1)) == []
    assert said == []


def test_a_ledger_that_cannot_be_written_is_told_once_and_nothing_measured_is_lost(
    place: Path, clock: FakeClock
) -> None:
    site = Site(load_config(place / "govsec.yaml"), clock)
    system, began = site.system(), clock.now()
    key = place / "keys" / "evidence.key"
    key.rename(key.with_suffix(".away"))
    said: list[str] = []
    record = LagRecord(site, system, "shipping", every_s=900)
    for _ in range(2):
        record.add("files", "far", 5.0, clock.now())
        clock.advance(901)
        record.tell(said.append)
    assert len(said) == 1
    key.with_suffix(".away").rename(key)
    clock.advance(901)
    record.tell(said.append)
    (lag,) = lags_of(site, system, since=began)
    assert (lag.snapshots_count, lag.covered_share) == (2, 1.0)
