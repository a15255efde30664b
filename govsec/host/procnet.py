"""Sockets from the kernel's text tables ``/proc/net/{tcp,udp,tcp6,udp6}`` (proc(5)): where sock_diag is not to be had.

Slower than sock_diag by an order of magnitude, and the only way in some sandboxes and in recorded trees. psutil reads
the same tables, but keeps neither the inode nor the user, without which no holder can be found. IPv6 addresses stand
there as four numbers in the order of this machine, IPv4 as one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from govsec.errors import FormatError
from govsec.host.sockdiag import SOCKETS_MAX, STATES
from govsec.host.tables import Socket
from govsec.host.tree import Tree

#: A hundred thousand lines of at most 180 bytes.
_SIZE_MAX = SOCKETS_MAX * 180


def read_socket_tables(tree: Tree) -> list[Socket]:
    """TCP and UDP sockets of the tree's network namespace (of process 1, in a tree elsewhere).

    Raises:
        OSError: a table cannot be read.
        LimitError: a table is longer than ``SOCKETS_MAX`` lines.
        FormatError: a line is none that a kernel writes.
    """
    folder = "/proc/net" if tree.is_running_system else "/proc/1/net"
    sockets: list[Socket] = []
    for protocol in ("tcp", "udp"):
        sockets += _rows(tree.read(f"{folder}/{protocol}", _SIZE_MAX), protocol, 4)
        try:
            data = tree.read(f"{folder}/{protocol}6", _SIZE_MAX)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        sockets += _rows(data, protocol, 6)
    return sockets


def _rows(data: bytes, protocol: str, family: int) -> Iterator[Socket]:
    for line in data.splitlines()[1:]:
        fields = line.split()
        try:
            local, local_port = _end(fields[1], family)
            remote, remote_port = _end(fields[2], family)
            state = int(fields[3], 16)
            name = STATES[state] if state < len(STATES) else str(state)
            yield Socket(protocol, family, local, local_port, remote, remote_port, name, int(fields[9]), int(fields[7]))
        except (ValueError, IndexError, struct.error) as error:
            raise FormatError(f"/proc/net/{protocol}: a line that no kernel writes") from error


def _end(field: bytes, family: int) -> tuple[str, int]:
    address, _, port = field.partition(b":")
    raw = bytes.fromhex(address.decode("ascii"))
    count = 1 if family == 4 else 4
    raw = struct.pack(f"={count}I", *struct.unpack(f">{count}I", raw))
    return socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, raw), int(port, 16)
