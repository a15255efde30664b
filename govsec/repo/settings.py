"""The object ``config``: version, id and the chunker's secret. Sealed, never compressed, written once.

The polynomial is irreducible of degree 53 over GF(2): restic's Rabin chunker needs that of every repository it opens.
Ours takes it as a secret seed.

Source: restic ``internal/restic/config.go``; M. Ben-Or, "Probabilistic algorithms in finite fields" (1981).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import msgspec

from govsec.errors import FormatError
from govsec.repo.layout import is_id

VERSION_WRITTEN = 2
VERSIONS_READ = (1, 2)
_DEGREE = 53


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """What ``config`` says."""

    version: int
    id: str
    chunker_polynomial: str


class _Wire(msgspec.Struct, frozen=True):
    version: int
    id: str
    chunker_polynomial: str


def new_config() -> RepositoryConfig:
    """The configuration of a new repository."""
    return RepositoryConfig(VERSION_WRITTEN, secrets.token_hex(32), f"{_random_polynomial():x}")


def encode_config(config: RepositoryConfig) -> bytes:
    """The JSON of ``config``."""
    return msgspec.json.encode(_Wire(config.version, config.id, config.chunker_polynomial))


def decode_config(json: bytes) -> RepositoryConfig:
    """What the JSON says. Raises ``FormatError``, also for a version that is newer than this program."""
    try:
        wire = msgspec.json.decode(json, type=_Wire)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise FormatError(f"config: {error}") from error
    if wire.version not in VERSIONS_READ:
        raise FormatError(f"config: repository version {wire.version} is not supported; {VERSIONS_READ} are")
    if not is_id(wire.id) or not re.fullmatch(r"[0-9a-f]{1,16}", wire.chunker_polynomial):
        raise FormatError("config: id or chunker polynomial is not hexadecimal")
    return RepositoryConfig(wire.version, wire.id, wire.chunker_polynomial)


def is_irreducible(polynomial: int) -> bool:
    """Whether a polynomial over GF(2), bits as coefficients, has no divisor (Ben-Or's test)."""
    degree = polynomial.bit_length() - 1
    power = 2  # x
    for _ in range(degree // 2):
        power = _remainder(_square(power), polynomial)
        if _common_divisor(polynomial, power ^ 2) != 1:
            return False
    return degree > 0


def _random_polynomial() -> int:
    # About one in 53 odd polynomials of this degree is irreducible.
    while True:
        candidate = (1 << _DEGREE) | secrets.randbits(_DEGREE) | 1
        if is_irreducible(candidate):
            return candidate


def _square(value: int) -> int:
    # Squaring over GF(2) puts a zero between the bits.
    return int(f"{value:b}", 4)


def _remainder(value: int, divisor: int) -> int:
    degree = divisor.bit_length()
    while (excess := value.bit_length() - degree) >= 0:
        value ^= divisor << excess
    return value


def _common_divisor(first: int, second: int) -> int:
    while second:
        first, second = second, _remainder(first, second)
    return first
