"""The sockets of this network namespace, asked from the kernel by sock_diag(7): dumps of TCP and of UDP.

One idea: the kernel hands over thousands of sockets in a few large messages, which are taken apart where they lie;
``/proc/net/tcp``, that everybody else reads, makes the kernel write text and us parse it. Requests are filtered by the
kernel: listeners alone cost nothing on a machine with a hundred thousand connections.

::

    request   nlmsghdr: u32 length, u16 type, u16 flags REQUEST|DUMP, u32 sequence, u32 port
              type 20   inet_diag_req_v2: u8 family, u8 protocol, u8 extensions, u8 -, u32 states, 48 bytes of id (0)
              type 18   inet_diag_req: u8 family, u8, u8, u8 extensions, 48 bytes of id (0), u32 states, u32 -
    answer    nlmsghdr, inet_diag_msg: u8 family, u8 state, u8 timer, u8 retransmits,
              be16 local port, be16 remote port, 16 bytes local, 16 bytes remote, u32 interface, u32 cookie[2],
              u32 expires, u32 receive queue, u32 send queue, u32 uid, u32 inode; attributes behind are not read
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from govsec.host.tables import Socket

SOCKETS_MAX = 100_000
#: States of TCP in the order of the kernel's include/net/tcp_states.h, from 1.
STATES = (
    "",
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "syn_received",
)
_STATES_COUNT = len(STATES)
_LISTEN, _CLOSE = 10, 7
_ALL = 0xFFFFFFFF
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_TCP_DIAG = 18
_REQUEST, _DUMP = 0x001, 0x300
_DUMP_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
#: The kernel fills messages of at most 32 KiB, and larger buffers do no harm.
_BUFFER_BYTES = 64 << 10
#: The kernel answers at once; this is for one that stands still.
_TIMEOUT_S = 10
_ATTEMPTS_MAX = 3
_HEAD = struct.Struct("=IHHII")
_REQUEST_BODY = struct.Struct("=BBBBI48x")
#: The older request, for TCP alone: it asks for both families with one walk over the kernel's table of connections,
#: and that walk is most of the cost.
_REQUEST_BODY_TCP = struct.Struct("=BBBB48xII")
#: A message with its row: length, type, flags, sequence; family, state, ports, addresses, uid, inode.
_MESSAGE = struct.Struct("=IHHI4xBBxx2s2s16s16s24xII")


class _Texts(dict[bytes, str]):
    """Addresses as text: the same ones come again and again, so each is written once."""

    def __init__(self, family: int, size: int) -> None:
        self._family = family
        self._size = size

    def __missing__(self, address: bytes) -> str:
        text = self[address] = socket.inet_ntop(self._family, address[: self._size])
        return text


class _Ports(dict[bytes, int]):
    """Ports as numbers, from the order of bytes on the network."""

    def __missing__(self, port: bytes) -> int:
        number = self[port] = int.from_bytes(port, "big")
        return number


def read_sockets(*, listeners_only: bool = False, sockets_max: int = SOCKETS_MAX) -> tuple[list[Socket], int]:
    """TCP and UDP sockets, at most ``sockets_max``; and how many more there were.

    ``listeners_only``: TCP sockets that listen, and UDP sockets that take from anybody.

    Raises:
        OSError: the kernel has no sock_diag, forbids it, or could not give a whole table in three attempts.
    """
    tcp, udp = (1 << _LISTEN, 1 << _CLOSE) if listeners_only else (_ALL, _ALL)
    requests = (
        ("tcp", _TCP_DIAG, _REQUEST_BODY_TCP.pack(socket.AF_INET, 0, 0, 0, tcp, 0)),
        ("udp", _SOCK_DIAG_BY_FAMILY, _REQUEST_BODY.pack(socket.AF_INET, socket.IPPROTO_UDP, 0, 0, udp)),
        ("udp", _SOCK_DIAG_BY_FAMILY, _REQUEST_BODY.pack(socket.AF_INET6, socket.IPPROTO_UDP, 0, 0, udp)),
    )
    sockets: list[Socket] = []
    left_out = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT_S, 0))
        kernel.bind((0, 0))
        dumps = _Dumps(kernel)
        for protocol, kind, body in requests:
            rows, more = dumps.whole(protocol, kind, body, sockets_max - len(sockets))
            sockets += rows
            left_out += more
    return sockets, left_out


class _Dumps:
    """Dumps over one netlink socket, told apart by their sequence."""

    def __init__(self, kernel: socket.socket) -> None:
        self._kernel = kernel
        self._sequence = 0
        # Messages are read as if each were a whole row: the last one may be shorter than that.
        self._buffer = bytearray(_BUFFER_BYTES + _MESSAGE.size)
        self._texts = {
            int(socket.AF_INET): (4, _Texts(socket.AF_INET, 4)),
            int(socket.AF_INET6): (6, _Texts(socket.AF_INET6, 16)),
        }
        self._ports = _Ports()

    def whole(self, protocol: str, kind: int, body: bytes, rows_max: int) -> tuple[list[Socket], int]:
        """One table, at most ``rows_max`` rows of it, and how many more it has."""
        for _ in range(_ATTEMPTS_MAX):
            self._sequence += 1
            head = _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST | _DUMP, self._sequence, 0)
            self._kernel.send(head + body)
            rows: list[Socket] = []
            count, is_interrupted = self._receive(rows, protocol, kind, rows_max)
            if not is_interrupted:
                return rows, count - len(rows)
        raise OSError(errno.EINTR, "the table of sockets changed whenever it was dumped", "sock_diag")

    def _receive(self, rows: list[Socket], protocol: str, asked: int, rows_max: int) -> tuple[int, bool]:
        """Fill ``rows``; how many there were, and whether the kernel says that the table changed meanwhile."""
        buffer, sequence, unpack, ports = self._buffer, self._sequence, _MESSAGE.unpack_from, self._ports
        make, add = Socket._make, rows.append
        count, flags_seen = 0, 0
        while True:
            end = self._kernel.recv_into(buffer, _BUFFER_BYTES)
            position = 0
            while position + _HEAD.size <= end:
                length, kind, flags, answered, family, state, here, there, local, remote, uid, inode = unpack(
                    buffer, position
                )
                if length < _HEAD.size or position + length > end:
                    raise OSError(errno.EBADMSG, "an answer is cut", "sock_diag")
                if answered == sequence:
                    flags_seen |= flags
                    if kind == asked and length >= _MESSAGE.size:
                        count += 1
                        if count <= rows_max:
                            version, texts = self._texts[family]
                            name = STATES[state] if state < _STATES_COUNT else str(state)
                            ends = (texts[local], ports[here], texts[remote], ports[there])
                            add(make((protocol, version, *ends, name, inode, uid)))
                    elif kind in (_ERROR, _DONE):
                        _raise_for(buffer, position, length)
                        return count, bool(flags_seen & _DUMP_INTERRUPTED)
                position += (length + 3) & ~3


def _raise_for(buffer: bytearray, position: int, length: int) -> None:
    if length >= _HEAD.size + 4:
        (code,) = struct.unpack_from("=i", buffer, position + _HEAD.size)
        if code < 0:
            raise OSError(-code, os.strerror(-code), "sock_diag")
