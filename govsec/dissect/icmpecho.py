"""Echo requests and replies of ICMP and ICMPv6 (RFC 792, RFC 4443 section 4): what a tunnel hides its load in.

::

    type (1) || code (1) || checksum (2) || identifier (2) || sequence (2) || payload
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import numpy as np

from govsec.dissect.messages import IcmpEcho
from govsec.errors import FormatError

#: The types of ICMP, and of ICMPv6, that are read here.
TYPES = (0, 8)
TYPES_V6 = (128, 129)
_REPLIES = {8: False, 0: True, 128: False, 129: True}
_HEADER_SIZE = 8
#: From this size on numpy counts bytes faster than a Counter (measured).
_COUNTED_BY_NUMPY_FROM = 96


def read_echo(data: bytes, *, time_ns: int, vlan: int, source: str, target: str, claimed_size: int) -> IcmpEcho:
    """One echo, from the type on; ``claimed_size``: of the whole ICMP message, of which less may have been captured.

    Raises:
        FormatError: it is cut off within its header, or no echo.
    """
    if len(data) < _HEADER_SIZE:
        raise FormatError(f"an ICMP echo of {len(data)} bytes")
    is_reply = _REPLIES.get(data[0])
    if is_reply is None:
        raise FormatError(f"ICMP of type {data[0]} is no echo")
    payload = data[_HEADER_SIZE:]
    return IcmpEcho(
        time_ns=time_ns,
        vlan=vlan,
        source=source,
        target=target,
        is_reply=is_reply,
        identifier=data[4] << 8 | data[5],
        sequence=data[6] << 8 | data[7],
        size_bytes=max(claimed_size - _HEADER_SIZE, len(payload)),
        payload_digest=hashlib.blake2b(payload, digest_size=8).digest(),
        entropy=entropy(payload),
    )


def entropy(data: bytes) -> float:
    """Shannon's entropy of the bytes of ``data``, in bits a byte; 0 for nothing."""
    size = len(data)
    if size < 2:
        return 0.0
    if size >= _COUNTED_BY_NUMPY_FROM:
        counts = np.bincount(np.frombuffer(data, np.uint8))
        counts = counts[counts > 0]
        weighted = float((counts * np.log2(counts)).sum())
    else:
        weighted = sum(count * math.log2(count) for count in Counter(data).values() if count > 1)
    return max(0.0, math.log2(size) - weighted / size)
