"""Who logs in by HTTP's own authentication: the user's name of Basic and Digest, and the NTLM message of Windows.

Passwords, responses and tokens are looked at by nobody.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from govsec.dissect.messages import FlowRef, NtlmMessage
from govsec.dissect.ntlm import find_ntlm
from govsec.dissect.wire import show
from govsec.errors import FormatError

_DIGEST_USER = re.compile(rb'\busername="([^"\r\n]{0,255})"')
_SIZE_MAX = 8 << 10


def user_of(value: bytes) -> str | None:
    """The user in an Authorization header of the schemes Basic and Digest; None for others, and for none in it."""
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() == b"basic":
        user, colon, _ = (_from_base64(rest) or b"").partition(b":")
        return show(user) if colon else None
    if scheme.lower() == b"digest" and (match := _DIGEST_USER.search(rest)):
        return show(match[1])
    return None


def ntlm_of(value: bytes, *, time_ns: int, flow: FlowRef, is_originator: bool) -> NtlmMessage | None:
    """The NTLM message in an Authorization or WWW-Authenticate header, if there is one that can be read."""
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() not in (b"ntlm", b"negotiate") or (data := _from_base64(rest)) is None:
        return None
    try:
        return find_ntlm(data, time_ns=time_ns, flow=flow, is_originator=is_originator, service="http")
    except FormatError:
        return None


def _from_base64(value: bytes) -> bytes | None:
    try:
        return b64decode(value.strip()[:_SIZE_MAX])
    except (binascii.Error, ValueError):
        return None
