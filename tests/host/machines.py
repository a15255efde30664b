"""A recorded machine: a small tree with what a snapshot reads, written file by file below a temporary folder."""

from __future__ import annotations

import os
import struct
from pathlib import Path

BOOT_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
_MOUNTS = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:21 / /proc rw,nosuid - proc proc rw
23 21 8:2 / /srv/data rw,relatime - xfs /dev/sdb1 rw
24 21 8:2 /part /srv/bound rw,relatime - xfs /dev/sdb1 rw
25 21 0:30 / /mnt/office\\040share rw,relatime - nfs4 server:/share rw,hard
26 21 0:31 / /mnt/user ro,nosuid - fuse.sshfs somebody@there: rw
27 21 8:3 / /media/stick rw,nosuid,nodev - vfat /dev/sdc1 rw
"""
_STAT = """\
cpu  100 20 30 400 50 6 7 8 9 1
cpu0 100 20 30 400 50 6 7 8 9 1
btime 1700000000
"""
_MEMINFO = """\
MemTotal:        8000000 kB
MemFree:         1000000 kB
MemAvailable:    6000000 kB
Buffers:          200000 kB
Cached:          1500000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
"""
_NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0 0 0 0 0 0
  eth0: 5000000    4000    3    2    0     0          0         0   700000    3000    1 0 0 0 0 0
"""
_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   113        0 5001
   1: 0A00000A:0016 0200000A:C350 01 00000000:00000000 02:000A7F0C 00000000     0        0 5002
"""
_TCP6 = """\
  sl  local_address    remote_address    st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 5003
"""
_UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   10: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000   102        0 5004 2 0000000000000000 0
"""


class RecordedMachine:
    """Writes files of a machine below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: str | bytes, mode: int | None = None) -> Path:
        """A file of the machine."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        if mode is not None:
            place.chmod(mode)
        return place

    def link(self, path: str, target: str) -> None:
        """A symbolic link of the machine."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def process(
        self,
        pid: int,
        name: bytes | str,
        *,
        parent: int = 1,
        start_ticks: int = 100,
        command: bytes = b"",
        executable: str | None = None,
        cgroup: str = "/",
        descriptors: tuple[str, ...] = (),
        flags: int = 0x400000,
        terminal: int = 0,
        login: str = "4294967295",
    ) -> None:
        """A process as proc(5) shows it."""
        raw = name if isinstance(name, bytes) else name.encode()
        front = b"%d (%s) S %d 1 1 %d -1 %d " % (pid, raw, parent, terminal, flags)
        times = b"0 0 0 0 150 50 0 0 20 0 1 0 "
        self.write(f"/proc/{pid}/stat", front + times + b"%d 10000 25 184467 0 0\n" % start_ticks)
        self.write(f"/proc/{pid}/cmdline", command)
        self.write(f"/proc/{pid}/cgroup", f"0::{cgroup}\n")
        self.write(f"/proc/{pid}/loginuid", login)
        if executable is not None:
            self.link(f"/proc/{pid}/exe", executable)
        (self.root / f"proc/{pid}/fd").mkdir(exist_ok=True)
        for number, target in enumerate(descriptors):
            self.link(f"/proc/{pid}/fd/{number}", target)


def record(root: Path) -> RecordedMachine:
    """A machine with a kernel, three processes, sockets, accounts and mounts."""
    machine = RecordedMachine(root)
    machine.process(
        1, "systemd", parent=0, start_ticks=5, command=b"/sbin/init\0", executable="/usr/lib/systemd/systemd"
    )
    machine.process(
        40, "sshd", command=b"sshd: /usr/sbin/sshd -D\0", executable="/usr/sbin/sshd", start_ticks=50,
        cgroup="/system.slice/ssh.service", descriptors=("/dev/null", "socket:[5003]", "socket:[99]"),
    )  # fmt: skip
    machine.process(
        70, "postgres", command=b"/usr/bin/postgres\0-D\0/srv/data\0", executable="/usr/bin/postgres (deleted)",
        cgroup="/system.slice/postgresql.service", descriptors=("socket:[5001]",), login="1000", terminal=136 << 8 | 3,
    )  # fmt: skip
    machine.process(2, "kthreadd", parent=0, start_ticks=5, flags=0x208040)
    machine.write("/proc/1/mountinfo", _MOUNTS)
    for folder in ("srv/data", "srv/bound", "mnt/office share", "mnt/user", "media/stick"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    machine.write("/proc/filesystems", "nodev\tproc\nnodev\ttmpfs\n\text4\n\txfs\n\tvfat\n")
    machine.write("/proc/stat", _STAT)
    machine.write("/proc/meminfo", _MEMINFO)
    machine.write("/proc/vmstat", "pswpin 0\npswpout 0\n")
    machine.write("/proc/loadavg", "0.50 0.40 0.30 2/345 9999\n")
    machine.write("/proc/modules", "nfnetlink 20480 1 nf_tables, Live 0x0\nrootkit 12288 0 - Live 0x0 (OE)\n")
    machine.write("/sys/module/rootkit/taint", "OE\n")
    machine.write("/sys/module/nfnetlink/taint", "\n")
    machine.write("/sys/module/module/parameters/sig_enforce", "N\n")
    for resource in ("cpu", "memory", "io"):
        full = "" if resource == "cpu" else "full avg10=0.10 avg60=0.20 avg300=0.30 total=5\n"
        machine.write(f"/proc/pressure/{resource}", f"some avg10=1.00 avg60=2.50 avg300=3.00 total=9\n{full}")
    machine.write("/proc/1/net/dev", _NET_DEV)
    for name, text in (("tcp", _TCP), ("tcp6", _TCP6), ("udp", _UDP)):
        machine.write(f"/proc/1/net/{name}", text)
    machine.write("/proc/sys/kernel/hostname", "portal-3\n")
    machine.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
    machine.write("/proc/sys/kernel/random/boot_id", BOOT_ID + "\n")
    machine.write(
        "/usr/lib/os-release", 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian 12"\n'
    )
    machine.link("/etc/os-release", "../usr/lib/os-release")
    machine.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n")
    machine.write("/etc/group", "root:x:0:\nsudo:x:27:root,li\n")
    machine.write("/etc/shadow", "root:$y$j9T$secret:19000:0:99999:7:::\nsync:*:19000:0:99999:7:::\n")
    return machine


def rpm_header(name: str, version: str, release: str, *, epoch: int | None = None, source: str = "") -> bytes:
    """A package as rpm keeps it in its table ``Packages``."""
    strings = {1000: name, 1001: version, 1002: release, 1022: "x86_64", 1044: source}
    data, entries = b"", []
    for tag, text in strings.items():
        if text:
            entries.append(struct.pack(">IIiI", tag, 6, len(data), 1))
            data += os.fsencode(text) + b"\0"
    if epoch is not None:
        data += b"\0" * (-len(data) % 4)
        entries.append(struct.pack(">IIiI", 1003, 4, len(data), 1))
        data += struct.pack(">I", epoch)
    return struct.pack(">II", len(entries), len(data)) + b"".join(entries) + data
