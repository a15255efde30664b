"""What a host sends is read by stated lengths under the run's token; all else is an error, never an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.collect.frames import Frames, read_frames
from govsec.errors import FormatError, GovsecError, HostUnreachableError

TOKEN = "0123456789abcdef" * 2


def frame(number: int, content: bytes, code: int | None = 0) -> bytes:
    body = content + (b"" if code is None else f"\n{TOKEN} {code}".encode())
    return f"@{TOKEN} {number} 100.00 100.25 {len(body)}\n".encode() + body + b"\n"


def end(mode: str = "all") -> bytes:
    return f"@{TOKEN} end {mode}\n".encode()


def read(data: bytes, count: int = 4) -> Frames:
    return read_frames(data, token=TOKEN, sources_count=count)


def test_answers_come_out_byte_for_byte() -> None:
    content = b"\x00\xff@ 1 2 3\n" + f"@{TOKEN} 2 0 0 3\nabc\n{TOKEN} 0".encode()
    frames = read(frame(0, b"me") + frame(1, content, 7) + frame(2, b"", 0) + end())

    assert frames.answers[1].data == content and frames.answers[1].exit_code == 7
    assert frames.answers[1].duration_ms == 250 and frames.answers[2].data == b""
    assert frames.platforms == (b"me",)


def test_content_that_looks_like_a_frame_is_content() -> None:
    """The strongest forger: one who knows the token. Length alone keeps it out."""
    forged = frame(3, b"a better answer") + end()
    frames = read(frame(0, b"me") + frame(1, forged) + end())

    assert 3 not in frames.answers and frames.answers[1].data == forged


def test_an_answer_that_was_cut_has_no_exit_code() -> None:
    assert read(frame(0, b"me") + frame(1, b"long", None) + end()).answers[1].exit_code is None


def test_what_a_log_in_prints_first_is_passed_over() -> None:
    assert read(b"Welcome!\n@ all\n" + frame(0, b"me") + end()).platforms == (b"me",)


def test_two_parts_of_a_run_with_sudo_are_one() -> None:
    frames = read(
        frame(0, b"me") + frame(1, b"a") + end("plain") + frame(0, b"root") + frame(2, b"b") + end("privileged")
    )
    assert frames.platforms == (b"me", b"root") and set(frames.answers) == {1, 2}


GOOD = frame(0, b"me") + frame(1, b"one") + frame(2, b"two") + end()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", HostUnreachableError),
        (b"\n \n", HostUnreachableError),
        (GOOD[:-1], HostUnreachableError),
        (GOOD.replace(b"end all", b"end plain"), HostUnreachableError),
        (GOOD[: GOOD.index(b"two")], HostUnreachableError),
        (b"sh: syntax error\n", FormatError),
        (GOOD.replace(TOKEN.encode(), b"f" * 32), FormatError),
        (frame(0, b"me") + frame(1, b"one") + frame(1, b"better") + end(), FormatError),
        (frame(0, b"me") + frame(9, b"nobody asked") + end(), FormatError),
        (frame(0, b"me") + b"noise between\n" + b"x" * 300 + frame(1, b"one") + end(), FormatError),
        (GOOD.replace(b"one", b"onee"), FormatError),
        (GOOD + b"trailing noise " * 20, FormatError),
        (frame(0, b"me") + end() + frame(0, b"me") + end(), HostUnreachableError),
        (frame(1, b"one") + end(), HostUnreachableError),
        (frame(0, b"me") + f"@{TOKEN} 1 0 0 -5\n".encode() + end(), FormatError),
        (frame(0, b"me") + f"@{TOKEN} 1 0 0 999999999\n".encode() + end(), HostUnreachableError),
    ],
)
def test_nothing_half_garbage_and_forged_are_errors(data: bytes, kind: type[GovsecError]) -> None:
    with pytest.raises(kind) as caught:
        read(data)
    assert caught.value.exit_code in (4, 6)


@settings(max_examples=300)
@given(
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 60),
    middle=st.one_of(st.binary(max_size=60), st.just(frame(3, b"x"))),
)
def test_an_altered_stream_is_refused_or_changes_no_other_answer(start: int, length: int, middle: bytes) -> None:
    try:
        frames = read(GOOD[:start] + middle + GOOD[start + length :])
    except GovsecError as error:
        assert error.exit_code in (4, 6)
        return
    # What still reads is a whole run: bytes may differ inside one answer, as a host may say what it likes.
    assert len(frames.platforms) == 1 and set(frames.answers) <= {1, 2, 3}


@given(data=st.binary(max_size=400))
def test_any_bytes_are_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(GovsecError):
        read(data)
