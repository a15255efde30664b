"""A ring of frames that the kernel fills and this process reads where they lie: AF_PACKET with TPACKET_V2.

One idea: every slot has the same size, so the whole ring is one structured array of numpy. How many frames are ready is
one look at a column; their times, lengths and tags are slices; taking them is one copy, and giving the slots back one
assignment. Nothing here runs once a packet.

Layout of a slot (linux/if_packet.h, struct tpacket2_hdr; native byte order)::

    0 status u32   4 wire size u32   8 captured u32   12 frame offset u16   14 network offset u16
    16 seconds u32   20 nanoseconds u32   24 VLAN tag u16   26 its type u16   ...   frame, at ``frame offset``

Opening needs CAP_NET_RAW in the network's name space; reading, a new filter and another interface need none. What this
does not do: decide what is kept (``bpf``), put rings together (``live``), decode.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.errors import ConfigurationError, RefusedError, TryAgainError
from govsec.net.columns import I8, U2, U4

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 1, 5, 6, 10, 23
_PROMISCUOUS = 1
_TPACKET_V2 = 1
_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_SAMPLE_EVERY = 64
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_STATUS_USER, _STATUS_VLAN = 1, 1 << 4
#: Where the frame of Ethernet begins in a slot: header, address of the link layer, and padding.
SLOT_OVERHEAD = 66
_BLOCK_SIZE = 1 << 20
_SLOT_ALIGNMENT = 16
_RING_BYTES_MAX = 1 << 30
_ETHERNET_KINDS = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_HEADER = [
    ("status", "u4"),
    ("wire_size", "u4"),
    ("captured_size", "u4"),
    ("offset", "u2"),
    ("network", "u2"),
    ("seconds", "u4"),
    ("nanoseconds", "u4"),
    ("tag", "u2"),
]


@dataclass(frozen=True, slots=True)
class Ready:
    """Frames at the head of a ring, oldest first; valid until they are released."""

    time_ns: I8
    wire_size: U4
    captured_size: U4
    #: Of the frame in its slot.
    offset: U2
    #: Id of a VLAN tag that the kernel took out; 0: none.
    vlan: U2
    #: False: more may be ready behind these, so a frame that comes later in time may be missing.
    is_all: bool

    def __len__(self) -> int:
        return len(self.time_ns)


class Ring:
    """One socket with its ring, on one interface, from the moment it is made."""

    def __init__(
        self,
        interface: str,
        program: bytes,
        *,
        slot_size: int,
        slots_count: int,
        is_promiscuous: bool = True,
        ignores_outgoing: bool = False,
    ) -> None:
        """``slot_size`` bytes hold :data:`SLOT_OVERHEAD` and what is kept of a frame; a power of two, at most 64 KiB.

        Raises:
            RefusedError: the right to capture is missing.
            ConfigurationError: there is no such interface, or the kernel lacks what a ring needs.
            TryAgainError: no memory for a ring of this size.
        """
        if slot_size & (slot_size - 1) or not 128 <= slot_size <= 1 << 16 or slots_count * slot_size > _RING_BYTES_MAX:
            raise ConfigurationError(f"a capture ring of {slots_count} slots of {slot_size} bytes is not possible")
        self.interface = interface
        self._is_promiscuous = is_promiscuous
        self._slot_size = slot_size
        blocks_count = -(-slots_count * slot_size // _BLOCK_SIZE)
        self._slots_count = blocks_count * _BLOCK_SIZE // slot_size
        self._head = 0
        self._received = self._dropped = 0
        with contextlib.ExitStack() as stack:
            self._socket = stack.enter_context(_open_socket(interface))
            _set_up(self._socket, blocks_count, slot_size, self._slots_count, ignores_outgoing)
            self.attach(program)
            self._memory = mmap.mmap(self._socket.fileno(), blocks_count * _BLOCK_SIZE)
            self._bind()
            kind = self._socket.getsockname()[3]
            if kind not in _ETHERNET_KINDS:
                raise ConfigurationError(f"{interface} is not an Ethernet interface (its kind is {kind})")
            stack.pop_all()
        head = np.dtype(_HEADER)
        layout = np.dtype([*_HEADER, ("rest", "V", slot_size - head.itemsize)])
        self._slots: NDArray[np.void] = np.frombuffer(self._memory, layout, self._slots_count)
        self._bytes = np.frombuffer(self._memory, np.uint8).reshape(self._slots_count, slot_size)

    @property
    def slot_size(self) -> int:
        return self._slot_size

    @property
    def slots_count(self) -> int:
        """At least as many as were asked for."""
        return self._slots_count

    def fileno(self) -> int:
        """For ``select.poll``."""
        return self._socket.fileno()

    def attach(self, program: bytes) -> None:
        """Give the socket another filter; frames in the ring stay.

        Raises:
            ConfigurationError: the kernel does not take it.
        """
        buffer = ctypes.create_string_buffer(program, len(program))
        try:
            head = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        except OSError as error:
            raise ConfigurationError(f"this kernel takes no packet filter ({error.strerror})") from error

    def ready(self, count_max: int, until_ns: int, after_ns: int) -> Ready:
        """Frames stamped up to ``until_ns``, at most ``count_max``, none across the ring's end.

        A stamp later than ``after_ns`` does not hold a frame back: the clock was set back since.
        """
        slots = self._slots[self._head : self._head + count_max]
        count = _leading((slots["status"] & _STATUS_USER) != 0)
        is_all = count < len(slots)
        slots = slots[:count]
        time_ns = slots["seconds"].astype(np.int64) * 1_000_000_000 + slots["nanoseconds"]
        due = _leading((time_ns <= until_ns) | (time_ns > after_ns))
        slots, time_ns = slots[:due], time_ns[:due]
        tag = np.where(slots["status"] & _STATUS_VLAN, slots["tag"] & 0x0FFF, 0).astype(np.uint16)
        captured = np.minimum(slots["captured_size"], np.uint32(self._slot_size) - slots["offset"])
        return Ready(time_ns, slots["wire_size"].copy(), captured, slots["offset"].copy(), tag, is_all or due < count)

    def frames(self, found: Ready, count: int) -> tuple[NDArray[np.uint8], I8]:
        """The bytes of the first ``count`` frames without what is around them in their slots, and where each begins.

        Frames of about one size are a view into the ring, valid until they are released.
        """
        sizes, offsets = found.captured_size[:count], found.offset[:count]
        width = int(sizes.max(initial=0))
        if count and (offsets == offsets[0]).all() and width * count <= 2 * int(sizes.sum()):
            start = int(offsets[0])
            view = self._bytes[self._head : self._head + count, start : start + width]
            return view, np.arange(count, dtype=np.int64) * width
        rows = memoryview(self._memory)[self._head * self._slot_size : (self._head + count) * self._slot_size]
        starts = (np.arange(count, dtype=np.int64) * self._slot_size + offsets).tolist()
        parts = [rows[start : start + size] for start, size in zip(starts, sizes.tolist(), strict=True)]
        ends = np.cumsum(sizes, dtype=np.int64)
        return np.frombuffer(b"".join(parts), np.uint8), ends - sizes

    def release(self, count: int) -> None:
        """Give the first ``count`` slots back to the kernel."""
        self._slots["status"][self._head : self._head + count] = 0
        self._head = (self._head + count) % self._slots_count

    def fullness(self) -> float:
        """Share of the slots that wait to be taken, 0 to 1, from a sample of them."""
        return float((self._slots["status"][::_SAMPLE_EVERY] & _STATUS_USER).mean())

    def statistics(self) -> tuple[int, int]:
        """Frames that passed the filter and those of them that found the ring full, since it was opened."""
        with contextlib.suppress(OSError):  # a socket whose interface is gone may say so here once; the counts stay
            total, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
            self._received += total
            self._dropped += dropped
        return self._received, self._dropped

    def lost_interface(self) -> bool:
        """Whether the interface went down or away since this was asked last."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETDOWN

    def rebind(self) -> bool:
        """Listen again, on the interface that has the name now; False while there is none or it is down."""
        try:
            self._bind()
            request = struct.pack("16sH14x", self.interface.encode(), 0)
            answer = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request)
        except (ConfigurationError, OSError):  # gone before, or between the two
            return False
        return bool(struct.unpack("16sH14x", answer)[1] & _IFF_UP)

    def close(self) -> None:
        """Stop capturing; frames that were not taken are gone."""
        self._socket.close()
        # The arrays look into the mapping: it goes when the last of them does.
        del self._slots, self._bytes
        with contextlib.suppress(BufferError):
            self._memory.close()

    def _bind(self) -> None:
        try:
            index = socket.if_nametoindex(self.interface)
            self._socket.bind((self.interface, _ETH_P_ALL))
            if self._is_promiscuous:
                request = struct.pack("IHH8s", index, _PROMISCUOUS, 0, b"")
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        except OSError as error:
            raise ConfigurationError(f"no interface {self.interface}; there are: {', '.join(_names())}") from error


def _open_socket(interface: str) -> socket.socket:
    try:
        # Protocol 0: nothing arrives before the filter is there and the socket is bound.
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise RefusedError(
            f"capturing on {interface} needs the right CAP_NET_RAW: start as root (the sensor drops it once the socket"
            " is open), or give the service AmbientCapabilities=CAP_NET_RAW"
        ) from error
    except OSError as error:
        message = f"this kernel has no packet sockets ({error.strerror}); capture to files instead"
        raise ConfigurationError(message) from error


def _set_up(opened: socket.socket, blocks_count: int, slot_size: int, slots_count: int, ignores_outgoing: bool) -> None:
    try:
        opened.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
        # One stamp a packet, taken when it arrives: both rings then agree on the time of everything.
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if ignores_outgoing:
            opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        ring = struct.pack("IIII", _BLOCK_SIZE, blocks_count, slot_size, slots_count)
        opened.setsockopt(_SOL_PACKET, _RX_RING, ring)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            size = blocks_count * _BLOCK_SIZE >> 20
            raise TryAgainError(f"no memory for a capture ring of {size} MiB; configure fewer slots") from error
        raise ConfigurationError(
            f"this kernel lacks what live capture needs, TPACKET_V2 or PACKET_IGNORE_OUTGOING of Linux 4.20"
            f" ({error.strerror})"
        ) from error


def _leading(truths: NDArray[np.bool_]) -> int:
    """How many hold before the first that does not."""
    return len(truths) if truths.all() else int(truths.argmin())


def _names() -> Iterator[str]:
    return (name for _, name in sorted(socket.if_nameindex()))
