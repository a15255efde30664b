"""What kind of host it is: asked in every run, first, without any tool but uname, id and date."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from govsec.collect.facts import Platform
from govsec.collect.readers import unquote, whole_number
from govsec.collect.sources import Source

PLATFORM = Source(
    "platform",
    """echo "time=$(date -u +%s)"
echo "root=$(id -u)"
echo "hostname=$(uname -n)"
echo "kernel=$(uname -r)"
echo "arch=$(uname -m)"
c=; [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -e /run/systemd/container ] && c=1
[ -r /proc/1/environ ] && tr '\\000' '\\n' </proc/1/environ | grep -q '^container=' && c=1
[ -r /proc/1/cgroup ] && grep -q -E '/(docker|kubepods|lxc|containerd)' /proc/1/cgroup && c=1
echo "container=$c"
if [ -d /run/systemd/system ]; then echo init=systemd
elif [ -d /run/openrc ]; then echo init=openrc
elif [ -d /etc/rc3.d ] && { read -r i </proc/1/comm; [ "$i" = init ]; }; then echo init=sysv
else echo init=none; fi
f=/etc/os-release; [ -r "$f" ] || f=/usr/lib/os-release
[ -r "$f" ] && grep -E '^(ID|ID_LIKE|VERSION_ID|PRETTY_NAME)=' "$f" | head -c 2000
[ -r /etc/redhat-release ] && printf 'release=%s\\n' "$(head -c 200 /etc/redhat-release)"
:""",
    size_max=16 << 10,
)


def read_platform(text: str) -> tuple[Platform, datetime | None]:
    """The platform, and what the host's clock says (None: nothing sensible)."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            values.setdefault(name, unquote(value.strip()))
    os_id, version = values.get("ID", ""), values.get("VERSION_ID", "")
    if not os_id and "release" in values:  # CentOS 6 and its relatives have no os-release
        os_id = values["release"].split(" ")[0].lower()
        version = next((word for word in values["release"].split() if word[:1].isdigit()), "")
    platform = Platform(
        os_id=os_id[:60],
        os_like=tuple(word[:60] for word in values.get("ID_LIKE", "").split()[:20]),
        version=version[:100],
        pretty_name=values.get("PRETTY_NAME", values.get("release", ""))[:200],
        kernel=values.get("kernel", "")[:200],
        arch=values.get("arch", "")[:60],
        container=values.get("container", "") == "1",
        init=_INITS.get(values.get("init", ""), "none"),
        hostname=values.get("hostname", "")[:255],
        root=values.get("root") == "0",
    )
    return platform, moment(whole_number(values.get("time", "")))


_INITS: dict[str, Literal["systemd", "sysv", "openrc"]] = {"systemd": "systemd", "sysv": "sysv", "openrc": "openrc"}
#: Seconds that a host may state: up to the year 3000. A clock beyond it is no clock.
_SECONDS_MAX = 32_503_680_000


def moment(seconds: int | None) -> datetime | None:
    """The moment that a host's count of seconds since 1970 names; None for nonsense."""
    if seconds is None or not 0 < seconds < _SECONDS_MAX:
        return None
    return datetime.fromtimestamp(seconds, UTC)
