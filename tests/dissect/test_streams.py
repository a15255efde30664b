"""Both sides of a flow come to their parser in order, whatever the network did to them, and at a bounded cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.dissect.conversations import Conversations
from govsec.dissect.dissect import DissectLimits, Dissector
from govsec.dissect.messages import FlowRef, HttpRequest, HttpResponse, Message, SshBanner
from govsec.dissect.streams import Side, StreamCounters, StreamSlots
from govsec.testing.packets import ACK, FIN, MILLISECOND, PSH, RST, START_NS, SYN, Frame, station, tcp_frame
from tests.dissect.dissected import HandFlows, batches_of, closed_flow, dissect, only

CLIENT, SERVER = station(5), station(20)
REQUESTS = (
    b"GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n"
    b"POST /second HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\nhello world"
    b"POST /third HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n"
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye"
)
FIRST = 0xFFFFFFF0  # the sequence numbers wrap within the first bytes


def segment(
    number: int, position: int, data: bytes, *, flags: int = PSH | ACK, back: bool = False, port: int = 40000
) -> Frame:
    """A segment of the client (``back``: the server) whose first byte has ``position``; SYN is at -1."""
    one, other, ports = (SERVER, CLIENT, (80, port)) if back else (CLIENT, SERVER, (port, 80))
    data_frame = tcp_frame(one, ports[0], other, ports[1], flags, sequence=FIRST + position, payload=data)
    return Frame(START_NS + number * MILLISECOND, data_frame)


def opening(port: int = 40000) -> list[Frame]:
    return [
        segment(0, -1, b"", flags=SYN, port=port),
        segment(1, -1, b"", flags=SYN | ACK, back=True, port=port),
    ]


def told(messages: list[Message]) -> list[Message]:
    """The messages without their times, which depend on the segment that completed them."""
    return [replace(message, time_ns=0) for message in messages]


def asked(frames: list[Frame]) -> list[tuple[str, bytes]]:
    return [(request.target, request.body) for request in only(dissect(frames), HttpRequest)]


WHOLE = told(dissect([*opening(), segment(2, 0, REQUESTS), segment(3, 0, ANSWERS, back=True)]))


def test_a_connection_of_three_requests_gives_three_requests_and_three_answers() -> None:
    assert [(m.method, m.target, m.body) for m in WHOLE if isinstance(m, HttpRequest)] == [
        ("GET", "/first", b""),
        ("POST", "/second", b"hello world"),
        ("POST", "/third", b"wikipedia"),
    ]
    assert [(m.status, m.target) for m in WHOLE if isinstance(m, HttpResponse)] == [
        (200, "/first"),
        (404, "/second"),
        (200, "/third"),
    ]


@given(
    cuts=st.lists(st.integers(1, len(REQUESTS) - 1), max_size=12),
    order=st.randoms(use_true_random=False),
    copies=st.integers(1, 2),
)
def test_segments_in_any_order_and_twice_say_the_same(cuts: list[int], order: object, copies: int) -> None:
    ends = sorted({0, len(REQUESTS), *cuts})
    parts = [(a, REQUESTS[a:b]) for a, b in pairwise(ends)] * copies
    order.shuffle(parts)  # type: ignore[attr-defined]  # hypothesis types its Random as an object

    frames = [*opening(), *(segment(2 + at, position, data) for at, (position, data) in enumerate(parts))]
    frames.append(segment(90, 0, ANSWERS, back=True))

    assert told(dissect(frames)) == WHOLE


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_messages_do_not_depend_on_where_batches_are_cut(size: int) -> None:
    frames = opening() + [segment(2 + at // 9, at, REQUESTS[at : at + 9]) for at in range(0, len(REQUESTS), 9)]
    frames += [segment(80 + at // 30, at, ANSWERS[at : at + 30], back=True) for at in range(0, len(ANSWERS), 30)]

    assert dissect(frames, size=size) == dissect(frames)
    assert told(dissect(frames)) == WHOLE


def test_of_bytes_that_come_twice_the_first_stay_and_the_rest_is_counted() -> None:
    harmless, evil = b"GET /good HTTP/1.1\r\n", b"GET /evil HTTP/1.1\r\n"
    dissector = Dissector()
    frames = [
        *opening(),
        segment(2, 20, b"Host: a\r\n\r\n"),  # behind a hole
        segment(3, 20, b"Host: b\r\n\r\n"),
        segment(4, 0, harmless),
        segment(5, 0, evil),
    ]

    messages = only(dissect(frames, dissector=dissector), HttpRequest)

    assert [(m.target, m.host) for m in messages] == [("/good", "a")]
    assert dissector.counters["overlaps_bytes"] == 11 + 20


def test_a_segment_around_another_one_brings_what_the_other_left_out() -> None:
    side = Side()
    assert side.add(4, b"EF") == 0
    assert side.add(9, b"J") == 0
    assert side.add(2, b"cdefghijk") == 3  # E, F and J were there
    assert side.add(0, b"ab") == 0

    assert bytes(side.buffer) == b"abcdEFghiJk"
    assert (side.next, side.pending, side.held) == (11, [], 0)


def test_a_flow_whose_opening_was_not_seen_is_read_from_the_first_byte_that_was() -> None:
    assert asked([segment(2, 500, REQUESTS)]) == [
        ("/first", b""),
        ("/second", b"hello world"),
        ("/third", b"wikipedia"),
    ]


def test_a_hole_that_stays_is_given_up_and_the_rest_of_the_flow_costs_nothing() -> None:
    dissector = Dissector()
    frames = [*opening(), segment(2, 0, REQUESTS[:30])]
    frames += [segment(3 + at, 2000 + 1000 * at, b"x" * 1000) for at in range(40)]

    dissect(frames, dissector=dissector)

    assert dissector.counters["gaps"] == 1
    assert dissector.counters["open_conversations"] == 1  # the server may still answer
    assert dissector.counters["held_bytes"] == 0


def test_what_a_small_snap_length_left_is_told_as_not_whole() -> None:
    dissector = Dissector()
    head = b"GET /long HTTP/1.1\r\nHost: a.example\r\nUser-Agent: " + b"x" * 300 + b"\r\n\r\n"

    messages = dissect([*opening(), segment(2, 0, head)], snap=54 + 60, dissector=dissector)

    assert [(m.target, m.host, m.is_whole) for m in only(messages, HttpRequest)] == [("/long", "a.example", False)]
    assert dissector.counters["cuts"] == 1


def test_a_request_without_its_end_is_told_when_the_flow_is_over() -> None:
    begun = b"POST /form HTTP/1.1\r\nContent-Length: 100\r\n\r\nname=value"

    for end in (FIN | ACK, RST):
        messages = dissect([*opening(), segment(2, 0, begun), segment(3, len(begun), b"", flags=end)])
        assert [(m.body, m.is_whole) for m in only(messages, HttpRequest)] == [(b"name=value", False)]

    dissector, flows = Dissector(), HandFlows()
    (batch,) = batches_of([*opening(), segment(2, 0, begun)])
    assert dissector.observe(batch, flows.add(batch)) == ()
    (batch,) = batches_of([segment(9, 0, b"", flags=ACK)])
    messages = list(dissector.observe(batch, flows.add(batch, closed=closed_flow(1, START_NS + 77))))
    assert [(m.body, m.time_ns) for m in only(messages, HttpRequest)] == [(b"name=value", START_NS + 77)]
    assert dissector.counters["open_conversations"] == 0


def test_a_reset_from_outside_the_window_ends_nothing() -> None:
    frames = [
        *opening(),
        segment(2, 0, REQUESTS[:50]),
        segment(3, 200_000, b"", flags=RST),
        segment(4, 50, REQUESTS[50:]),
    ]

    assert len(asked(frames)) == 3


def test_packets_past_the_head_are_not_even_chosen() -> None:
    dissector = Dissector()
    frames = [*opening(), segment(2, 0, b"\x00\x01 binary, of no protocol that is read")]
    dissect(frames, dissector=dissector)
    assert dissector.counters["unrecognised"] == 1

    slots, flows = StreamSlots(StreamCounters(), openings_max=100), HandFlows()
    (batch,) = batches_of(
        [*opening(), segment(2, 300_000, b"late"), segment(3, 0, b"early"), segment(4, 262_143, b"x")]
    )
    assert slots.select(batch, flows.add(batch)).index.tolist() == [3, 4]
    slots.want(1, True, False)
    (batch,) = batches_of([segment(5, 5, b"more"), segment(6, 9, b"", flags=FIN | ACK)])
    assert slots.select(batch, flows.add(batch)).index.tolist() == []


def test_a_refused_flood_of_talking_flows_is_counted_and_costs_no_conversation() -> None:
    dissector = Dissector(DissectLimits(openings=10))
    frames = [segment(0, 0, b"SSH-2.0-x\r\n", port=1000 + at) for at in range(25)]
    frames.append(segment(1500, 0, b"SSH-2.0-x\r\n", port=2000))  # the next second has its own

    messages = dissect(frames, dissector=dissector, size=4)

    assert len(only(messages, SshBanner)) == 11
    assert dissector.counters["conversations_refused"] == 15


def test_conversations_and_what_they_hold_are_bounded_and_evictions_counted() -> None:
    counters = StreamCounters()
    slots = StreamSlots(counters, openings_max=1000)
    conversations = Conversations(slots, counters, conversations_max=8, held_size_max=20_000)
    for number in range(1, 31):
        conversations.open(FlowRef(number, "192.0.2.1", number, "192.0.2.2", 80, 6), True)
        conversations.add(number, True, 0, b"GET /" + b"a" * 4000, 0, size=4005, is_end=False)
        assert len(conversations) <= 8
        assert conversations.held_size <= 20_000

    assert counters.conversations == 30
    assert counters.conversations_evicted == 30 - len(conversations) > 20


def test_a_younger_flow_takes_the_slot_of_an_old_one_and_that_is_counted() -> None:
    counters = StreamCounters()
    slots = StreamSlots(counters, slots_count=16, openings_max=1000)
    slots.claim(np.array([3], np.uint64))
    slots.want(3, True, True)
    (batch,) = batches_of([segment(2, 0, b"text")])
    update = replace(HandFlows().add(batch), flow=np.array([3], np.uint64))
    assert slots.select(batch, update).index.tolist() == [0]

    slots.claim(np.array([19], np.uint64))

    assert counters.slots_lost == 1
    assert not slots.is_wanted(3, True)
    assert slots.is_wanted(19, True)


def test_segments_over_the_budget_are_holes_and_counted() -> None:
    dissector = Dissector(DissectLimits(segments=2))
    frames = [*opening(), *(segment(2 + at, at * 20, REQUESTS[at * 20 : at * 20 + 20]) for at in range(5))]

    assert [m.target for m in only(dissect(frames, dissector=dissector, size=3), HttpRequest)] == ["/first"]
    assert dissector.counters["skipped_segments"] == 3


def test_a_live_sensor_reads_less_in_a_second_than_a_capture_file_may_ask() -> None:
    live, full = DissectLimits.live(), DissectLimits()

    assert all(getattr(live, name) < getattr(full, name) for name in DissectLimits.__slots__)
