"""Reading what a script sent, byte for byte: each answer by its stated length, under the run's token, or an error.

::

    @TOKEN NUMBER UPTIME UPTIME LENGTH\\n        seconds since boot, before and after
    CONTENT\\nTOKEN EXIT-CODE\\n                  LENGTH bytes, then a line break; cut at its limit, the tail is missing
    ...
    @TOKEN end MODE\\n                           all | plain | privileged

Content can hold anything, for nothing in it is looked at before its length is used up, and nothing outside the frames
is accepted but what a log-in prints before the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from govsec.collect.sources import Answer
from govsec.errors import FormatError, HostUnreachableError

#: What a host's log-in may print before the script's first byte.
_NOISE_MAX = 64 << 10
_HEAD_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Frames:
    """All answers of a run, by number of source; those of number 0 in the order of the run's parts."""

    answers: Mapping[int, Answer]
    platforms: tuple[bytes, ...]


def read_frames(data: bytes, *, token: str, sources_count: int) -> Frames:
    """The frames of a whole run.

    Raises:
        HostUnreachableError: nothing came, or it ended before its end.
        FormatError: what came is not what the script of this token prints.
    """
    mark = b"@" + token.encode() + b" "
    position = data.find(mark, 0, _NOISE_MAX)
    if position < 0:
        if not data.strip():
            raise HostUnreachableError("the host answered nothing")
        raise FormatError("the host's answer is not that of the script that was sent: its token is not in it")
    answers: dict[int, Answer] = {}
    platforms: list[bytes] = []
    modes: list[str] = []
    while position < len(data):
        head_end = data.find(b"\n", position, position + _HEAD_LENGTH_MAX)
        if head_end < 0:
            if len(data) - position < _HEAD_LENGTH_MAX:
                raise HostUnreachableError("the host's answer ends in the middle of a frame")
            raise FormatError(f"byte {position} of the host's answer: no frame begins here")
        if not data.startswith(mark, position):
            raise FormatError(f"byte {position} of the host's answer: no frame begins here")
        words = data[position + len(mark) : head_end].decode("ascii", "replace").split(" ")
        position = head_end + 1
        if len(words) == 2 and words[0] == "end":
            modes.append(words[1])
            continue
        number, answer, position = _one(data, position, words, token)
        if number == 0:
            platforms.append(answer.data)
        elif number >= sources_count or number in answers:
            raise FormatError(f"the host answered question {number}, which was not open")
        else:
            answers[number] = answer
    if modes not in (["all"], ["plain", "privileged"]) or len(platforms) != len(modes):
        raise HostUnreachableError("the host's answer ends before its end")
    return Frames(answers, tuple(platforms))


def _one(data: bytes, position: int, words: list[str], token: str) -> tuple[int, Answer, int]:
    if len(words) != 4 or not re.fullmatch(r"[0-9]{1,4}", words[0]) or not re.fullmatch(r"[0-9]{1,9}", words[3]):
        raise FormatError(f"byte {position} of the host's answer: not the head of a frame")
    length = int(words[3])
    if position + length + 1 > len(data):
        raise HostUnreachableError("the host's answer ends in the middle of a frame")
    content = data[position : position + length]
    if data[position + length : position + length + 1] != b"\n":
        raise FormatError(f"byte {position + length} of the host's answer: a frame is longer than it says")
    tail = re.search(rb"\n" + token.encode() + rb" ([0-9]{1,3})\Z", content)
    duration_ms = max(0, _hundredths(words[2]) - _hundredths(words[1])) * 10
    if tail is None:
        return int(words[0]), Answer(content, None, duration_ms), position + length + 1
    answer = Answer(content[: tail.start()], int(tail.group(1)), duration_ms)
    return int(words[0]), answer, position + length + 1


def _hundredths(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,10})\.([0-9]{2})", text)
    return int(match.group(1)) * 100 + int(match.group(2)) if match else 0
