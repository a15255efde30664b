"""Sockets that listen: from ss, else netstat, else the kernel's own tables."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_accounts import PASSWD, passwd_rows
from govsec.collect.probes_services import ListenersProbe
from govsec.collect.readers import numbers, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

SOCKETS_MAX = 2000
# A tool that fails says less than the kernel: busybox's netstat does where the kernel has no IPv6.
LISTENERS = Source(
    "listeners",
    """have ss && x=$(lim ss -lntupe) && { mark ss; printf '%s\\n' "$x"; exit 0; }
have netstat && x=$(lim netstat -lntup) && { mark netstat; printf '%s\\n' "$x"; exit 0; }
for f in tcp tcp6 udp udp6; do [ -r /proc/net/$f ] && { mark $f; head -n 5000 /proc/net/$f; }; done
:""",
    sudo=True,
    size_max=1 << 20,
)


def listeners_sources(probe: ListenersProbe) -> tuple[Source, ...]:
    """ss, else netstat, else the kernel's tables; passwd for the names of owners."""
    return (LISTENERS, PASSWD)


def parse_listeners(probe: ListenersProbe, reading: Reading) -> JsonValue:
    """See :class:`ListenersProbe`."""
    users = {row[1]: row[0] for row in passwd_rows(reading)}
    sockets: list[dict[str, JsonValue]] = []
    records = reading.records("listeners")
    if not records:
        raise NoFactError("error", "the host has no way to list its sockets")
    for record in records:
        tool, _, body = record.partition("\n")
        for line in body.split("\n"):
            one = (
                _ss(line, users)
                if tool == "ss"
                else _netstat(line)
                if tool == "netstat"
                else _kernel(tool, line, users)
            )
            if one is not None:
                sockets.append(one)
    sockets.sort(key=lambda one: (str(one["protocol"]), int(str(one["port"])), str(one["address"]), str(one["pid"])))
    listed: list[JsonValue] = [*sockets[:SOCKETS_MAX]]

    def ports(protocol: str, *, exposed: bool) -> list[JsonValue]:
        return numbers(
            sorted(
                {
                    int(str(one["port"]))
                    for one in sockets
                    if one["protocol"] == protocol and not (exposed and one["loopback"])
                }
            )
        )

    return {
        "sockets": listed,
        "tcp_ports": ports("tcp", exposed=False),
        "udp_ports": ports("udp", exposed=False),
        "exposed_tcp_ports": ports("tcp", exposed=True),
        "exposed_udp_ports": ports("udp", exposed=True),
        "processes_known": all(one["process"] is not None for one in sockets),
        "truncated": len(sockets) > SOCKETS_MAX,
    }


def _socket(
    protocol: str, family: int, address: str, port: int, *, process: str | None, pid: int | None, user: str | None
) -> dict[str, JsonValue] | None:
    if not 0 < port <= 65535:
        return None
    address = address.strip("[]").split("%")[0]
    is_any = address in ("*", "0.0.0.0", "::", "")  # noqa: S104  compared, not bound
    return {
        "protocol": protocol,
        "family": family,
        "address": address or "*",
        "port": port,
        "process": process,
        "pid": pid,
        "user": user,
        "loopback": address.startswith(("127.", "::ffff:127.")) or address == "::1",
        "any": is_any,
    }


def _ss(line: str, users: dict[int, str]) -> dict[str, JsonValue] | None:
    words = line.split()
    if len(words) < 5 or words[0] not in ("tcp", "udp"):
        return None
    address, _, port = words[4].rpartition(":")
    number = whole_number(port)
    if number is None:
        return None
    process = re.search(r'users:\(\("([^"]*)",pid=([0-9]{1,9})', line)
    owner = re.search(r"\buid:([0-9]{1,10})\b", line)
    # ss leaves out the owner where it is root.
    uid = int(owner.group(1)) if owner else 0
    return _socket(
        words[0], 6 if ":" in address or address == "*" else 4, address, number,
        process=process.group(1) if process else None, pid=int(process.group(2)) if process else None,
        user=users.get(uid, str(uid)),
    )  # fmt: skip


def _netstat(line: str) -> dict[str, JsonValue] | None:
    words = line.split()
    if len(words) < 5 or words[0] not in ("tcp", "tcp6", "udp", "udp6"):
        return None
    address, _, port = words[3].rpartition(":")
    number = whole_number(port)
    if number is None:
        return None
    process = re.search(r"\s([0-9]{1,9})/(\S+)", line)
    return _socket(
        words[0][:3], 6 if words[0].endswith("6") or ":" in address else 4, address, number,
        process=process.group(2).rstrip(":") if process else None, pid=int(process.group(1)) if process else None,
        user=None,
    )  # fmt: skip


def _kernel(table: str, line: str, users: dict[int, str]) -> dict[str, JsonValue] | None:
    """One line of ``/proc/net/tcp`` and its relatives: addresses are words of the host's byte order, in hex."""
    match = re.match(r"\s*[0-9]+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]{2})", line)
    if match is None or match.group(4) != ("0A" if table.startswith("tcp") else "07"):
        return None
    words = line.split()
    uid = whole_number(words[7]) if len(words) > 7 else None
    raw = bytes.fromhex(match.group(1))
    parts = [raw[start : start + 4][::-1] for start in range(0, len(raw), 4)]
    if len(parts) == 1:
        address = ".".join(str(byte) for byte in parts[0])
    else:
        joined = b"".join(parts).hex()
        address = "::" if not joined.strip("0") else "::1" if joined == "0" * 31 + "1" else ":".join(
            joined[start : start + 4] for start in range(0, 32, 4)
        )  # fmt: skip
    return _socket(
        table[:3], 6 if table.endswith("6") else 4, address, int(match.group(2), 16),
        process=None, pid=None, user=users.get(uid) if uid is not None else None,
    )  # fmt: skip
