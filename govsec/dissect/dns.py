"""DNS messages (RFC 1035), with EDNS (RFC 6891), mDNS, LLMNR and NetBIOS names (RFC 1002), over UDP and TCP.

::

    transaction (2) || flags (2) || counts of questions, answers, authorities, additional (4 x 2) || the four sections
    name: labels of size (1) || bytes, ended by 0, or by a pointer of two bytes (0xc000 | position)

Names cost what they say: a pointer must point before the place where its name began, so there is no circle; a name has
255 octets at most; sections and labels are read up to a count that no honest message reaches. Types that nobody asks
about keep their size only.
"""

from __future__ import annotations

import struct

from govsec.dissect.messages import DnsAnswer, DnsMessage, DnsQuestion, FlowRef
from govsec.dissect.wire import ipv4_text, ipv6_text, show
from govsec.errors import FormatError

HEADER_SIZE = 12
_HEADER = struct.Struct(">6H")
_NAME_MAX = 255
#: A multicast query asks for a whole house of names at once.
_QUESTIONS_MAX = 128
_RECORDS_MAX = 128
_TEXT_MAX = 512
#: Of all names in a message together: pointers make a few bytes into many labels.
_LABELS_MAX = 512
_OPT = 41
#: Kinds of query: QUERY, IQUERY, STATUS, NOTIFY, UPDATE, stateful; NetBIOS has more of its own.
_OPCODES_KNOWN = frozenset({0, 1, 2, 4, 5, 6})
_NBNS_OPCODES = frozenset({0, 5, 6, 7, 8, 9, 15})

#: Source: IANA, "Domain Name System (DNS) Parameters", resource record types; 65399 is what iodine calls PRIVATE.
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP",
    18: "AFSDB", 24: "SIG", 25: "KEY", 28: "AAAA", 29: "LOC", 32: "NB", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT",
    39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID",
    50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY",
    62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64", 249: "TKEY", 250: "TSIG",
    251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA", 65399: "PRIVATE",
}  # fmt: skip
#: Records whose data is one name.
_NAMED = frozenset({2, 5, 12, 39})
#: How a byte of a label is shown in zone files (RFC 4343): what is not printable, and the dot, are escaped.
_SHOWN = {
    code: f"\\{chr(code)}" if chr(code) in '."\\' else chr(code) if 0x21 <= code < 0x7F else f"\\{code:03d}"
    for code in range(256)
}


def read_dns(
    data: bytes, *, time_ns: int, flow: FlowRef, is_originator: bool, service: str = "dns", is_cut: bool = False
) -> DnsMessage:
    """One message. ``is_cut``: the capture holds its beginning only, so records that are missing are no fault.

    Raises:
        FormatError: header or questions are no DNS, or records are, though nothing was cut off.
    """
    transaction, opcode, rcode, flags, counts = _header(data, service)
    reader = _Reader(data, service == "nbns")
    questions = tuple([reader.question() for _ in range(counts[0])])
    answers: list[DnsAnswer] = []
    extended = 0
    is_short = is_cut or bool(flags & 0x0200)
    try:
        for position in range(min(sum(counts[1:]), _RECORDS_MAX)):
            answer, bits = reader.record(is_read=position < counts[1])
            extended |= bits
            if answer is not None:
                answers.append(answer)
    except FormatError:
        if not is_short:
            raise
    return DnsMessage(
        time_ns=time_ns,
        flow=flow,
        is_originator=is_originator,
        service=service,
        is_response=bool(flags & 0x8000),
        transaction=transaction,
        opcode=opcode,
        rcode=rcode | extended,
        is_truncated=bool(flags & 0x0200),
        questions=questions,
        answers=tuple(answers),
        size_bytes=len(data),
    )


def looks_like_dns(data: bytes) -> bool:
    """Whether a datagram on any port is a plain query, or an answer that repeats its question, and nothing else."""
    if len(data) < HEADER_SIZE + 5:
        return False
    try:
        _, opcode, _, flags, counts = _header(data, "dns")
        if opcode or counts[0] != 1 or flags & 0x0040 or max(counts) > _RECORDS_MAX:
            return False
        if not flags & 0x8000 and (counts[1] or counts[2] or counts[3] > 2):
            return False
        reader = _Reader(data, False)
        question = reader.question()
        class_known = data[reader.at - 2 : reader.at] in (b"\0\1", b"\0\3", b"\0\xff", b"\x80\1")
        if not class_known or question.type.startswith("TYPE"):
            return False
        for _ in range(sum(counts[1:])):
            reader.record(is_read=False)
    except FormatError:
        return False
    return reader.at == len(data)


def _header(data: bytes, service: str) -> tuple[int, int, int, int, tuple[int, int, int, int]]:
    if len(data) < HEADER_SIZE:
        raise FormatError(f"DNS of {len(data)} bytes has no header")
    transaction, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    opcode = flags >> 11 & 15
    if opcode not in (_NBNS_OPCODES if service == "nbns" else _OPCODES_KNOWN):
        raise FormatError(f"DNS with opcode {opcode}")
    if questions > _QUESTIONS_MAX:
        raise FormatError(f"DNS with {questions} questions")
    if not (questions or answers or authorities or additional) and not flags & 0x8000:
        raise FormatError("a DNS query that asks nothing")
    return transaction, opcode, flags & 15, flags, (questions, answers, authorities, additional)


class _Reader:
    """Walks through the sections of one message."""

    __slots__ = ("at", "data", "is_netbios", "labels_count")

    def __init__(self, data: bytes, is_netbios: bool) -> None:
        self.data = data
        self.at = HEADER_SIZE
        self.is_netbios = is_netbios
        self.labels_count = 0

    def question(self) -> DnsQuestion:
        name, at = self._name(self.at)
        if at + 4 > len(self.data):
            raise FormatError("a DNS question without type and class")
        kind = self.data[at] << 8 | self.data[at + 1]
        self.at = at + 4
        return DnsQuestion(name, _TYPES.get(kind) or f"TYPE{kind}")

    def record(self, *, is_read: bool) -> tuple[DnsAnswer | None, int]:
        """The next record when it ``is_read``, and the upper bits of the response code when it is EDNS."""
        data = self.data
        if is_read:
            name, at = self._name(self.at)
        else:
            name, at = "", self._after_name(self.at)
        if at + 10 > len(data):
            raise FormatError("a DNS record that is cut off")
        kind = data[at] << 8 | data[at + 1]
        ttl_s = int.from_bytes(data[at + 4 : at + 8], "big")
        size = data[at + 8] << 8 | data[at + 9]
        begin, end = at + 10, at + 10 + size
        if end > len(data):
            raise FormatError(f"a DNS record claims {size} bytes, {len(data) - begin} are left")
        self.at = end
        if not is_read:
            return None, ttl_s >> 24 << 4 if kind == _OPT else 0
        return DnsAnswer(name, _TYPES.get(kind) or f"TYPE{kind}", ttl_s, self._text(kind, begin, end), size), 0

    def _text(self, kind: int, begin: int, end: int) -> str:
        data, size = self.data, end - begin
        if kind == 1 and size == 4:
            return ipv4_text(data[begin:end])
        if kind == 28 and size == 16:
            return ipv6_text(data[begin:end])
        if kind in _NAMED:
            return self._name(begin)[0]
        if kind == 15 and size > 2:
            return f"{data[begin] << 8 | data[begin + 1]} {self._name(begin + 2)[0]}"
        if kind == 33 and size > 6 and not self.is_netbios:
            return f"{data[begin + 4] << 8 | data[begin + 5]} {self._name(begin + 6)[0]}"
        if kind == 32 and size >= 6 and self.is_netbios:
            return ipv4_text(data[begin + 2 : begin + 6])
        return _strings(data, begin, end) if kind in (16, 99) else ""

    def _name(self, at: int) -> tuple[str, int]:
        """The name at ``at``, and where what follows it begins."""
        data, end = self.data, len(self.data)
        labels: list[str] = []
        after, floor, octets = -1, at, 1
        while True:
            if at >= end:
                raise FormatError("a DNS name runs over the end")
            size = data[at]
            if size == 0:
                break
            if size >= 0xC0:
                if at + 1 >= end:
                    raise FormatError("a DNS pointer is cut off")
                after = at + 2 if after < 0 else after
                at = (size & 0x3F) << 8 | data[at + 1]
                if at >= floor:
                    raise FormatError("a DNS pointer does not point backwards")
                floor = at
                continue
            octets += size + 1
            if size > 63 or octets > _NAME_MAX or at + 1 + size > end:
                raise FormatError(f"a DNS label of {size} bytes in a name of more than {octets - size - 1}")
            label = data[at + 1 : at + 1 + size]
            labels.append(label.decode("ascii") if label.isalnum() else label.decode("latin-1").translate(_SHOWN))
            at += size + 1
        self.labels_count += len(labels)
        if self.labels_count > _LABELS_MAX:
            raise FormatError(f"DNS with more than {_LABELS_MAX} labels")
        if self.is_netbios and labels:
            labels[0] = _netbios(labels[0])
        return ".".join(labels) or ".", at + 1 if after < 0 else after

    def _after_name(self, at: int) -> int:
        data, end = self.data, len(self.data)
        while at < end:
            size = data[at]
            if size == 0:
                return at + 1
            if size >= 0xC0:
                return at + 2
            if size > 63:
                break
            at += size + 1
        raise FormatError("a DNS name runs over the end")


def _strings(data: bytes, begin: int, end: int) -> str:
    """The character strings of a TXT record, joined."""
    parts: list[bytes] = []
    while begin < end:
        size = data[begin]
        if begin + 1 + size > end:
            raise FormatError(f"a text of {size} bytes runs over its DNS record")
        parts.append(data[begin + 1 : begin + 1 + size])
        begin += size + 1
    return show(b"".join(parts), _TEXT_MAX)


def _netbios(label: str) -> str:
    """``FHEPFCELEHFCEPFFFACACACACACACACA`` as ``WORKGROUP<00>`` (RFC 1001, 14.1); other labels as they are."""
    if len(label) != 32 or not all("A" <= letter <= "P" for letter in label):
        return label
    codes = [ord(letter) - 65 for letter in label]
    raw = bytes(codes[at] << 4 | codes[at + 1] for at in range(0, 32, 2))
    return f"{show(raw[:15].rstrip(b' ' + bytes(1)))}<{raw[15]:02x}>"
