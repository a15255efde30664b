"""Two network namespaces with a cable between them: what the sensor listens to and what somebody sends, for real."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.require import missing, require, require_root

_NEW_NETWORK = 0x40000000
_numbers = itertools.count()


@dataclass(frozen=True)
class Namespace:
    """One end: its name for ``ip netns``, and its interface."""

    name: str
    interface: str

    def ip(self, *argv: str) -> None:
        """Run ``ip`` in it."""
        subprocess.run(["ip", "-n", self.name, *argv], check=True, capture_output=True)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the namespace; sockets that are opened meanwhile stay in it."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.name}", "rb") as other:
            _enter(other.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def send(self, frames: Iterable[bytes]) -> None:
        """Put frames on the cable, as they are."""
        with self.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((self.interface, 0))
            for frame in frames:
                sender.send(frame)

    def replay(self, file: Path, *options: str) -> str:
        """``tcpreplay`` the capture file onto the cable; its words."""
        program = str(require("tcpreplay"))
        argv = ["ip", "netns", "exec", self.name, program, *options, "-i", self.interface, str(file)]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv, check=True, capture_output=True, text=True, timeout=200
        )
        return done.stdout


@contextlib.contextmanager
def cable() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces, joined; both ends are up and say nothing by themselves. Skips without root or ``ip``."""
    require("ip")
    require_root()
    tag = f"gs{os.getpid()}x{next(_numbers)}"
    ends = Namespace(f"{tag}a", "wire-a"), Namespace(f"{tag}b", "wire-b")
    made = []
    try:
        for end in ends:
            added = subprocess.run(["ip", "netns", "add", end.name], capture_output=True, text=True)
            if added.returncode != 0:
                missing("netns", f"no network namespaces here: {added.stderr.strip()}")
            made.append(end)
            with end.inside():
                Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
                Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        connect(*ends)
        yield ends
    finally:
        for end in made:
            subprocess.run(["ip", "netns", "del", end.name], check=False, capture_output=True)


def connect(one: Namespace, other: Namespace) -> None:
    """The pair of interfaces, up."""
    peer = ["peer", "name", other.interface, "netns", other.name]
    one.ip("link", "add", one.interface, "type", "veth", *peer)
    for end in (one, other):
        end.ip("link", "set", end.interface, "up")


def _enter(descriptor: int) -> None:
    # os.setns is of Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")
