"""Walks are asked when a person wants them; else the last one counts with its age, and none is no answer."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from govsec.assemble.hostfiles import import_facts, without_gaps, write_facts
from govsec.assemble.hosts import collect_all, targets_of, transport_of
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.collect.facts import Facts, ProbeOutcome
from govsec.collect.probes import parse_probe
from govsec.config import Config
from govsec.errors import ConfigurationError, UsageError

WALK = parse_probe({"kind": "walk"})


def _site(**changes: object) -> Site:
    return Site(Config.model_validate(changes), SystemClock())


def _facts(site: Site, previous: dict[str, Facts]) -> Facts:
    (collected,) = collect_all(site, targets_of(site.config, ()), {}, walks=(WALK,), previous=previous)
    assert collected.facts is not None, collected.error
    return collected.facts


def test_a_host_that_was_never_walked_could_not_be_looked_at() -> None:
    outcome = _facts(_site(), {}).outcomes[WALK.identity]

    assert outcome.status == "error"
    assert "--walk" in outcome.reason


def test_the_last_walk_counts_with_its_age_however_often_it_is_carried_on() -> None:
    site = _site()
    (target,) = targets_of(site.config, ())
    when = SystemClock().now() - timedelta(hours=50)
    walked = ProbeOutcome(kind="walk", status="ok", value={"complete": True, "age_h": 0.0})
    first = Facts(host=target.name, collected=when, collector="0", outcomes={WALK.identity: walked})

    second = _facts(site, {target.name: first})
    third = _facts(site, {target.name: second})

    for facts in (second, third):
        outcome = facts.outcomes[WALK.identity]
        assert outcome.found == when
        assert isinstance(outcome.value, dict)
        assert outcome.value["age_h"] == pytest.approx(50, abs=0.1)


def test_a_walk_of_long_ago_says_nothing_of_today() -> None:
    site = _site()
    (target,) = targets_of(site.config, ())
    walked = ProbeOutcome(kind="walk", status="ok", value={"complete": True, "age_h": 0.0})
    old = Facts(
        host=target.name,
        collected=SystemClock().now() - timedelta(days=31),
        collector="0",
        outcomes={WALK.identity: walked},
    )

    outcome = _facts(site, {target.name: old}).outcomes[WALK.identity]

    assert outcome.status == "error"
    assert "30 days" in outcome.reason


def test_an_unknown_host_is_a_slip_of_the_pen_and_a_circle_of_jumps_is_told() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        targets_of(_site().config, ["nowhere"])
    circle = {"a": {"jump": "b"}, "b": {"jump": "a"}}
    site = _site(hosts=circle)
    (collected,) = collect_all(site, targets_of(site.config, ["a"]), {}, previous={})

    assert "circle" in collected.error


def test_facts_go_through_a_file_and_two_of_one_host_are_refused(tmp_path: Path) -> None:
    site = _site()
    collected = collect_all(site, targets_of(site.config, ()), {}, previous={})
    (path,) = write_facts(tmp_path / "facts", collected)

    (found,) = import_facts(site, [path])

    assert found.facts == collected[0].facts
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError):
        import_facts(site, [path, path])


def _handed_in(tmp_path: Path, host: str, age: timedelta) -> Path:
    facts = Facts(host=host, collected=SystemClock().now() - age, collector="0")
    path = tmp_path / f"{host}.json"
    path.write_bytes(facts.dump())
    return path


def test_a_host_of_the_system_whose_facts_nobody_handed_in_gave_no_answer(tmp_path: Path) -> None:
    wanted = targets_of(_site(hosts={"web-1": {}, "web-2": {}}).config, ["web-1", "web-2"])
    found = import_facts(_site(), [_handed_in(tmp_path, "web-1", timedelta(0))])

    there, missing = without_gaps(found, wanted, SystemClock().now())

    assert there.facts is not None
    assert (missing.target.name, missing.facts) == ("web-2", None)
    assert "handed in" in missing.error
    with pytest.raises(UsageError, match="web-1"):
        without_gaps(found, wanted[1:], SystemClock().now())


@pytest.mark.parametrize("age", [timedelta(days=31), timedelta(days=-2)])
def test_facts_that_are_not_of_today_are_none(tmp_path: Path, age: timedelta) -> None:
    found = import_facts(_site(), [_handed_in(tmp_path, "web-1", age)])

    (one,) = without_gaps(found, (), SystemClock().now())

    assert one.facts is None
    assert "its facts are of" in one.error


def test_facts_that_are_older_than_what_the_host_gave_since_are_a_replay(tmp_path: Path) -> None:
    now = SystemClock().now()
    found = import_facts(_site(), [_handed_in(tmp_path, "web-1", timedelta(hours=2))])
    (kept,) = found
    assert kept.facts is not None

    (replayed,) = without_gaps(found, (), now, {"web-1": now - timedelta(hours=1)})
    (again,) = without_gaps(found, (), now, {"web-1": kept.facts.collected, "web-2": now})

    assert replayed.facts is None
    assert "it has given newer ones" in replayed.error
    assert again.facts is not None


def test_every_way_to_a_host_ends_in_time_and_walks_add_their_own() -> None:
    site = _site(
        assessment={"host_time_s": 7},
        hosts={"a": {}, "b": {"kind": "container", "container": "web"}, "c": {"kind": "local"}},
    )
    ways = [transport_of(target, site.config, site.clock, 7.0) for target in targets_of(site.config, ["a", "b", "c"])]

    assert [getattr(way, "timeout_s", None) for way in ways] == [7.0, 7.0, 7.0]


def test_a_host_that_takes_all_its_time_is_given_up() -> None:
    # The limit of this test is below what the configuration admits: nobody shall wait five seconds for it.
    site = _site()
    hasty = site.config.assessment.model_copy(update={"host_time_s": 0.001})
    slow = Site(site.config.model_copy(update={"assessment": hasty}), site.clock)

    (collected,) = collect_all(slow, targets_of(slow.config, ()), {}, previous={})

    assert collected.facts is None
    assert "not done in time" in collected.error


def test_a_host_with_this_machines_name_does_not_stand_for_both() -> None:
    name = socket.gethostname()
    with pytest.raises(UsageError, match="two hosts"):
        targets_of(_site(hosts={name: {}}).config, ["local", name])
