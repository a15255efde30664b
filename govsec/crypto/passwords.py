"""Is a password good enough to guard key files that others hold a copy of?

A repository's key files lie at every center, so whoever reads one center can try passwords at home, at the cost of
scrypt for each try and without anybody noticing. What is guessed first (common words, also with digits for letters,
neighbours on the keyboard or in the alphabet, repetitions, years) therefore does not count, and what is left has to be
long enough. It is a floor, not a measure: a password that a machine made passes with ease, and one that a person made
should be several words that nobody would put together.

Asked where a password is new, never where an old one opens something.
"""

from __future__ import annotations

import re
from itertools import pairwise

from govsec.errors import ConfigurationError

_LENGTH_MIN = 12
#: Characters besides what is guessed first: eight letters drawn by lot are 38 bits, which at scrypt's cost (a tenth of
#: a second and 32 MiB a try) are eight centuries of one core.
_UNGUESSED_MIN = 8
_WORDS = (
    "password passwort passwd secret geheim admin administrator root user login welcome letmein access master default "
    "changeme change test tests temp demo sample example backup restore restic govsec archive storage server system "
    "database oracle mysql postgres redis linux ubuntu windows cisco huawei inspur office network security internet "
    "iloveyou love princess dragon monkey football baseball sunshine shadow hello freedom superman batman trustno "
    "qwerty qwertz azerty asdf zxcv qazwsx wsxedc iopjkl abcd mima woaini aini wodemima nihao zhongguo china beijing "
    "shanghai guangzhou shenzhen hangzhou chengdu wuhan nanjing tianjin chongqing gov government city province county "
    "spring summer autumn winter monday friday january february march april june july august september october "
    "november december company group team center production remote samecity key keys pass word "
    "密码 口令 管理员 备份 测试 系统 中国"
)
_COMMON = tuple(_WORDS.split())
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "!@#$%^&*()")
_LEET = str.maketrans("013457@$!", "oleastasi")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
#: So many in a row are a pattern.
_RUN_MIN = 3


def refuse_weak(password: bytes, where: str) -> None:
    """Refuse a new password that is among the first that are tried. ``where`` says which one it is.

    Raises:
        ConfigurationError: it is; the message says why, and nothing of the password.
    """
    try:
        text = password.decode()
    except UnicodeDecodeError:
        text = password.decode("latin-1")  # bytes as a machine makes them: each is a character of its own
    advice = "let a machine make it: ( umask 077; head -c 30 /dev/urandom | base64 > FILE )"
    if len(text) < _LENGTH_MIN:
        raise ConfigurationError(f"{where}: too weak: {len(text)} characters, at least {_LENGTH_MIN}; {advice}")
    left = unguessed_count(text)
    if left < _UNGUESSED_MIN:
        raise ConfigurationError(
            f"{where}: too weak: besides common words, patterns and repetitions it has {left} characters, at least "
            f"{_UNGUESSED_MIN}; {advice}"
        )


def unguessed_count(text: str) -> int:
    """How many characters of ``text`` belong to no common word, pattern, repetition or year; blanks count as none."""
    plain = text.casefold()
    spellings = {plain, plain.translate(_LEET)}
    is_guessed = [character.isspace() for character in plain]
    for spelling in spellings:
        for word in _COMMON:
            for match in re.finditer(re.escape(word), spelling):
                _mark(is_guessed, match.start(), len(word))
    for match in _YEAR.finditer(plain):
        _mark(is_guessed, match.start(), 4)
    for start in range(len(plain) - _RUN_MIN + 1):
        run = plain[start : start + _RUN_MIN]
        if _is_run(run) or plain.find(run) + _RUN_MIN <= start:
            _mark(is_guessed, start, _RUN_MIN)
    return is_guessed.count(False)


def _is_run(run: str) -> bool:
    steps = {ord(after) - ord(before) for before, after in pairwise(run)}
    return steps in ({0}, {1}, {-1}) or any(run in row or run[::-1] in row for row in _ROWS)


def _mark(is_guessed: list[bool], start: int, count: int) -> None:
    is_guessed[start : start + count] = [True] * count
