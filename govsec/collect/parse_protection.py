"""Mandatory access control, protection against malicious code, and the closed list of commands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.parse_software import RUNNING, running_names
from govsec.collect.probes_host import COMMANDS, AccessControlProbe, CommandProbe
from govsec.collect.probes_services import AntimalwareProbe
from govsec.collect.quote import quote
from govsec.collect.readers import texts
from govsec.collect.sources import EXIT_TIMEOUTS, NoFactError, Reading, Source

ACCESS = Source(
    "access",
    """if [ -d /sys/fs/selinux ] && [ -r /sys/fs/selinux/enforce ]; then
  read -r v </sys/fs/selinux/enforce; echo "enforce=$v"
fi
[ -r /etc/selinux/config ] && grep -E '^(SELINUX|SELINUXTYPE)=' /etc/selinux/config
f=/sys/module/apparmor/parameters/enabled; [ -r "$f" ] && read -r v <"$f" && echo "apparmor=$v"
f=/sys/kernel/security/apparmor/profiles
[ -r "$f" ] && { x=$(lim cat "$f") || exit 0
  echo "aa_enforce=$(printf '%s\\n' "$x" | grep -c '(enforce)$')"
  echo "aa_complain=$(printf '%s\\n' "$x" | grep -c '(complain)$')"; }
:""",
    sudo=True,
    size_max=16 << 10,
)


def access_control_sources(probe: AccessControlProbe) -> tuple[Source, ...]:
    """What the kernel says, and SELinux' configuration."""
    return (ACCESS,)


def parse_access_control(probe: AccessControlProbe, reading: Reading) -> JsonValue:
    """See :class:`AccessControlProbe`."""
    values = dict(re.findall(r"(?m)^([A-Za-z_]+)=(.*?)\s*$", reading.text("access")))
    configured = values.get("SELINUX")
    mode = {"1": "enforcing", "0": "permissive"}.get(values.get("enforce", ""))
    if mode is None and configured is not None:
        mode = "disabled"
    counts = [
        int(word) if (word := values.get(name, "")).isdecimal() and len(word) < 9 else None
        for name in ("aa_enforce", "aa_complain")
    ]
    is_enabled = values.get("apparmor") == "Y"
    return {
        "selinux": {
            "present": "enforce" in values or configured is not None,
            "mode": mode,
            "configured": configured,
            "policy": values.get("SELINUXTYPE"),
        },
        "apparmor": {
            "present": "apparmor" in values,
            "enabled": is_enabled,
            "enforce_count": counts[0],
            "complain_count": counts[1],
        },
        "enforcing": mode == "enforcing" or (is_enabled and (counts[0] or 0) > 0),
    }


@dataclass(frozen=True, slots=True)
class Product:
    """How a product is recognised: places it is installed to, names of its processes, places of its signatures."""

    name: str
    places: tuple[str, ...]
    processes: tuple[str, ...]
    signatures: tuple[str, ...] = ()


#: From the vendors' public installation manuals; a product that is not here is not recognised, and the check says so.
PRODUCTS: tuple[Product, ...] = (
    Product("clamav", ("/usr/sbin/clamd", "/usr/bin/clamscan"), ("clamd", "freshclam"),
            ("/var/lib/clamav/daily.cvd", "/var/lib/clamav/daily.cld", "/var/lib/clamav/main.cvd")),
    Product("360safe", ("/opt/360sdforcnos", "/opt/360safe", "/opt/360eppd"), ("360entclient", "360sd", "s360eppd")),
    Product("qax", ("/opt/qaxsafe", "/opt/qianxin", "/opt/QAX"), ("qaxsafed", "qaxtray", "qaxedr")),
    Product("sangfor", ("/sf/edr/agent", "/opt/sangfor/edr"), ("edr_agent", "edr_monitor", "eps_services")),
    Product("huorong", ("/opt/apps/huorong", "/opt/huorong"), ("hrxd", "hipsdaemon", "hrclient")),
    Product("dbapp", ("/opt/dbappsecurity", "/usr/local/dbappsecurity"), ("edr_main", "das_edr")),
    Product("asiainfo", ("/opt/ds_agent", "/opt/TrendMicro"), ("ds_agent", "ds_am")),
    Product("aegis", ("/usr/local/aegis",), ("AliYunDun", "AliYunDunMonito")),
    Product("ydservice", ("/usr/local/qcloud/YunJing",), ("YDService", "YDLive")),
    Product("hostguard", ("/usr/local/hostguard",), ("hostguard", "hostwatch")),
    Product("sophos", ("/opt/sophos-spl", "/opt/sophos-av"), ("savd", "sophos_managemen")),
    Product("kaspersky", ("/opt/kaspersky/kesl",), ("kesl", "kesl-supervisor")),
    Product("mdatp", ("/opt/microsoft/mdatp",), ("wdavdaemon",)),
    Product("falcon", ("/opt/CrowdStrike",), ("falcon-sensor",)),
    Product("eset", ("/opt/eset",), ("eea", "oaeventd")),
)  # fmt: skip
_INTEGRITY = {
    "aide": ("/usr/bin/aide", "/usr/sbin/aide"),
    "tripwire": ("/usr/sbin/tripwire",),
    "samhain": ("/usr/sbin/samhain",),
}
ANTIMALWARE = stats_source(
    "antimalware",
    " ".join(
        [place for product in PRODUCTS for place in (*product.places, *product.signatures)]
        + [place for places in _INTEGRITY.values() for place in places]
    ),
)


def antimalware_sources(probe: AntimalwareProbe) -> tuple[Source, ...]:
    """Which places are there, which processes run."""
    return (ANTIMALWARE, RUNNING)


def parse_antimalware(probe: AntimalwareProbe, reading: Reading) -> JsonValue:
    """See :class:`AntimalwareProbe`."""
    states = {str(state["path"]): state for state in read_states(reading, "antimalware")}
    names = running_names(reading) or frozenset()
    products: list[JsonValue] = []
    installed: list[str] = []
    active: list[str] = []
    ages: list[float] = []
    for product in PRODUCTS:
        if not any(place in states for place in product.places):
            continue
        is_active = any(name[:15] in names for name in product.processes)
        days = {path: int(str(states[path]["modified_days"])) for path in product.signatures if path in states}
        newest = min(days, key=lambda path: days[path]) if days else None
        installed.append(product.name)
        if is_active:
            active.append(product.name)
        if newest is not None:
            ages.append(days[newest])
        products.append(
            {
                "name": product.name,
                "installed": True,
                "active": is_active,
                "signatures": newest,
                "signature_age_days": days[newest] if newest is not None else None,
            }
        )
    return {
        "products": products,
        "installed": texts(installed),
        "active": texts(active),
        "signature_age_days": min(ages) if ages else None,
        "integrity_tools": texts(
            name for name, places in _INTEGRITY.items() if any(place in states for place in places)
        ),
    }


LINES_MAX = 200


def command_sources(probe: CommandProbe) -> tuple[Source, ...]:
    """The fixed words of the command."""
    words = COMMANDS[probe.name]
    shell = f'have {quote(words[0])} || exit 90\nneed awk\nclean {" ".join(map(quote, words))}; echo "rc=$?"'
    return (Source("command", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=64 << 10),)


def parse_command(probe: CommandProbe, reading: Reading) -> JsonValue:
    """See :class:`CommandProbe`."""
    body, _, code = reading.text("command").rpartition("rc=")
    lines = [line[:1000] for line in body.rstrip("\n").split("\n")] if body.strip() else []
    exit_code = int(code) if code.strip().isdecimal() and len(code) < 5 else -1
    if exit_code in EXIT_TIMEOUTS:
        raise NoFactError("timeout", f"{probe.name}: not answered within {probe.timeout_s} s")
    return {"exit_code": exit_code, "lines": texts(lines[:LINES_MAX]), "truncated": len(lines) > LINES_MAX}
