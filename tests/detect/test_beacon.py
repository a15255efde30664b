"""Rhythms: machines, machines with jitter, people, chance."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from govsec.detect.beacon import rhythm_of
from govsec.testing import traffictunnels
from govsec.testing.packets import (
    SECOND,
    START_NS,
    Conversation,
    Frame,
    merge,
    outside,
    station,
    udp_exchange,
    udp_frame,
)
from tests.detect.observations import found

CONTROL = outside("203.0.113.200")


def calls(rng: Random, times_s: list[float], *, client: int = 77, port: int = 443) -> list[Frame]:
    parts = []
    for time in times_s:
        talk = Conversation(rng, START_NS + int(time * SECOND), station(client), CONTROL, port).open()
        parts.append(talk.ask(rng.randbytes(200)).answer(rng.randbytes(100)).close().frames)
    return merge(*parts)


def periodic(period: float, count: int, jitter: float = 0.0, seed: int = 3) -> list[float]:
    rng, times = Random(seed), [0.0]
    for _ in range(count - 1):
        times.append(times[-1] + period * (1 + rng.uniform(-jitter, jitter)))
    return times


def test_a_clock_has_no_deviation_and_chance_has_much() -> None:
    strict = rhythm_of(np.array(periodic(60, 40)))
    chance = rhythm_of(np.cumsum(np.random.default_rng(1).exponential(60, 400)))

    assert (strict.deviation, strict.autocorrelation, strict.in_band) == pytest.approx((0, 1, 1))
    assert chance.deviation > 0.6
    assert chance.in_band < 0.6


@pytest.mark.parametrize(("period", "jitter", "count"), [(5, 0, 12), (60, 0.02, 12), (60, 0.25, 24), (300, 0.45, 64)])
def test_calls_by_the_clock_are_told_with_and_without_jitter(period: float, jitter: float, count: int) -> None:
    (finding,) = found(calls(Random(1), periodic(period, count, jitter)), "beacon")

    assert finding.facts["originators"] == [station(77).address]
    assert finding.facts["responders"] == [CONTROL.address]


def test_missing_calls_do_not_hide_a_rhythm() -> None:
    times = [time for number, time in enumerate(periodic(60, 40)) if number % 7]

    assert len(found(calls(Random(1), times), "beacon")) == 1


def test_two_connections_at_each_checkin_are_one_call() -> None:
    times = [time + part for time in periodic(60, 14) for part in (0, 0.2)]

    (finding,) = found(calls(Random(1), times), "beacon")
    assert finding.facts["measured"]["period"]["value"] == pytest.approx(60, abs=1)  # type: ignore[index,call-overload]


@pytest.mark.parametrize("seed", range(20))
def test_calls_by_chance_are_silent(seed: int) -> None:
    times = np.cumsum(np.random.default_rng(seed).exponential(20, 150)).tolist()

    assert found(calls(Random(seed), times), "beacon") == []


def test_too_few_calls_are_silent() -> None:
    assert found(calls(Random(1), periodic(60, 11)), "beacon") == []


def test_what_is_slower_than_update_checks_is_silent_until_a_site_asks_for_it() -> None:
    frames = calls(Random(1), periodic(1200, 14))

    assert found(frames, "beacon") == []
    assert len(found(frames, "beacon", settings={"beacon": {"period_max_s": 3600}})) == 1


def test_what_five_hosts_call_is_software_of_the_site() -> None:
    parts = [
        calls(Random(number), [time + number for time in periodic(60, 20)], client=70 + number) for number in range(5)
    ]

    assert found(merge(*parts), "beacon") == []
    assert len(found(merge(*parts[:4]), "beacon")) == 4


def test_our_own_hosts_and_time_servers_may_be_called_by_the_clock() -> None:
    rng, parts = Random(1), []
    for time in periodic(60, 30):
        moment = START_NS + int(time * SECOND)
        parts.append(
            Conversation(rng, moment, station(5), station(9), 8080).open().ask(b"x").answer(b"y").close().frames
        )
        parts.append(udp_exchange(moment, station(5), 123, outside("198.51.100.1"), 123, bytes(48), bytes(48)))

    assert found(merge(*parts), "beacon") == []


def test_a_program_that_keeps_its_port_is_heard_by_the_silences_in_its_flow() -> None:
    frames = []
    for number in range(20):
        moment = START_NS + number * 20 * SECOND
        frames += udp_exchange(moment, station(77), 50_000, CONTROL, 443, bytes(90), bytes(60))

    (finding,) = found(frames, "beacon")
    assert finding.facts["measured"]["period"]["value"] == 20  # type: ignore[index,call-overload]
    assert found(frames, "beacon", packets_max=3) == [finding]


def test_datagrams_that_nobody_answers_are_no_beacon() -> None:
    frames = [
        Frame(START_NS + number * 20 * SECOND, udp_frame(station(77), 50_000, CONTROL, 5000, bytes(90)))
        for number in range(40)
    ]

    assert found(frames, "beacon") == []


def test_people_are_silent_for_many_seeds() -> None:
    for seed in range(10):
        frames = traffictunnels.human_browsing(Random(seed), visits_count=80)
        assert found(frames, "beacon") == []
