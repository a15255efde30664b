"""How often a server of SSH refused a log-in, from the sizes of what it sealed."""

from __future__ import annotations

from random import Random

import pytest

from govsec.dissect.messages import ProtocolError, SshAnswers, SshBanner, SshKeyExchange
from govsec.dissect.ssh import answers_shape
from govsec.testing.packets import START_NS, station
from govsec.testing.trafficlogins import SERVER, ssh_errand, ssh_session
from tests.dissect.dissected import dissect, only


@pytest.mark.parametrize("snap", [65_535, 128], ids=["whole packets", "beginnings of packets"])
def test_refusals_are_counted_also_where_only_beginnings_of_packets_are_captured(snap: int) -> None:
    frames = ssh_session(Random(1), START_NS, station(40), SERVER, tries=6, is_in=False)

    messages = dissect(frames, snap=snap)

    # The first of the seven answers the question which ways to log in there are.
    assert [(told.refused_count, told.later_count) for told in only(messages, SshAnswers)] == [(7, 0)]
    assert only(messages, ProtocolError) == []
    assert len(only(messages, SshBanner)) == 2
    assert len(only(messages, SshKeyExchange)) == (2 if snap > 128 else 0)


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_who_got_in_is_answered_otherwise_afterwards(size: int) -> None:
    frames = ssh_errand(Random(1), START_NS, station(6), SERVER, keys=3)

    (told,) = only(dissect(frames, size=size), SshAnswers)

    assert told.refused_count == 4
    assert told.later_count >= 4


def test_a_long_session_is_told_once_and_not_read_further() -> None:
    frames = ssh_session(Random(1), START_NS, station(40), SERVER, tries=1, is_in=True)

    messages = dissect(frames)

    (told,) = only(messages, SshAnswers)
    assert told.time_ns < frames[len(frames) // 2].time_ns
    assert told.later_count >= 4


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([], (0, 0)),
        ([524, 44], (0, 0)),
        ([1564, 44, 76, 100, 28, 440, 72, 124], (0, 3)),
        ([524, 44, 76, 76, 76, 76, 76, 76, 76], (7, 0)),
        ([280, 848, 56, 56, 56, 56], (4, 0)),
        ([524, 44, 76, 76, 76, 132], (3, 1)),
        ([524, 44, 76, 60, 76, 60, 76, 60, 76], (3, 0)),
        ([500, 44, 76, 28, 440, 72, 900, 36, 36, 36, 36, 36, 36], (0, 8)),
    ],
    ids=["none", "nothing asked", "a key", "passwords", "group exchange", "cut off", "dialogue", "typing"],
)
def test_the_shape_of_answers(sizes: list[int], shape: tuple[int, int]) -> None:
    assert answers_shape(sizes) == shape
