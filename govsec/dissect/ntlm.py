"""NTLM (MS-NLMP 2.2.1): who logs in from where, inside SMB, HTTP, DCE/RPC and LDAP. Responses and hashes are not read.

::

    "NTLMSSP" 00 || type (4) || fields: size (2) || room (2) || position (4) of text elsewhere in the message
"""

from __future__ import annotations

import struct

from govsec.dissect.messages import FlowRef, NtlmMessage
from govsec.dissect.wire import show, show_utf16
from govsec.errors import FormatError

_SIGNATURE = b"NTLMSSP\0"
_KINDS = {1: "negotiate", 2: "challenge", 3: "authenticate"}
_UNICODE = 0x00000001
#: Where the fields lie, by type: domain, user, workstation; and the flags.
_FIELDS = {1: (16, None, 24, 12), 2: (12, None, None, 20), 3: (28, 36, 44, 60)}


def find_ntlm(data: bytes, *, time_ns: int, flow: FlowRef, is_originator: bool, service: str) -> NtlmMessage | None:
    """The NTLM message somewhere in ``data`` (a GSS-API token, as a rule); None: there is none.

    Raises:
        FormatError: there is one, and its fields point outside.
    """
    begin = data.find(_SIGNATURE)
    if begin < 0:
        return None
    message = data[begin:]
    if len(message) < 16:
        raise FormatError(f"an NTLM message of {len(message)} bytes")
    kind = int.from_bytes(message[8:12], "little")
    if kind not in _KINDS:
        raise FormatError(f"an NTLM message of type {kind}")
    domain, user, workstation, flags_at = _FIELDS[kind]
    flags = int.from_bytes(message[flags_at : flags_at + 4], "little")
    # The first message is in the OEM character set by definition; an old one of type 3 may have no flags.
    is_unicode = kind != 1 and (bool(flags & _UNICODE) or flags_at + 4 > len(message))
    return NtlmMessage(
        time_ns=time_ns,
        flow=flow,
        is_originator=is_originator,
        kind=_KINDS[kind],
        service=service,
        domain=_text(message, domain, is_unicode),
        user=_text(message, user, is_unicode),
        workstation=_text(message, workstation, is_unicode),
    )


def _text(message: bytes, field: int | None, is_unicode: bool) -> str:
    if field is None or field + 8 > len(message):
        return ""
    size, _, position = struct.unpack_from("<HHI", message, field)
    if size == 0:
        return ""
    if position + size > len(message):
        raise FormatError(f"an NTLM field of {size} bytes at {position} of {len(message)}")
    text = message[position : position + size]
    return show_utf16(text) if is_unicode else show(text)
