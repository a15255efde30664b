"""Docker: known keys of daemon.json, chosen settings of running containers; never their environment or arguments."""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from govsec.collect.parse_accounts import GROUPS
from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_servers import DockerProbe
from govsec.collect.quote import quote
from govsec.collect.readers import texts, whole_number
from govsec.collect.sources import NoFactError, Reading, Source
from govsec.redact import redact_value

CONTAINERS_MAX = 200
SERVER = Server("Docker", frozenset({"dockerd"}), r"docker(\.socket)?")
_DAEMON_KEYS = (
    "authorization-plugins", "bip", "cgroup-parent", "data-root", "debug", "default-ulimits", "dns", "exec-opts",
    "experimental", "fixed-cidr", "group", "hosts", "icc", "init", "insecure-registries", "ip", "ip-forward",
    "ip-masq", "iptables", "ipv6", "live-restore", "log-driver", "log-level", "max-concurrent-downloads",
    "no-new-privileges", "registry-mirrors", "seccomp-profile", "selinux-enabled", "storage-driver", "tls", "tlscacert",
    "tlscert", "tlsverify", "userland-proxy", "userns-remap",
)  # fmt: skip
_DAEMON_LISTS = ("hosts", "insecure-registries", "registry-mirrors", "dns")
#: A Go template of docker's that prints one JSON list a container; Config.Env, Cmd and Labels are not in it.
_TEMPLATE = "[" + ",".join(
    f"{{{{json .{path}}}}}" for path in (
        "Name", "Config.Image", "HostConfig.Privileged", "Config.User", "HostConfig.ReadonlyRootfs",
        "HostConfig.CapAdd", "HostConfig.CapDrop", "HostConfig.NetworkMode", "HostConfig.PidMode",
        "HostConfig.IpcMode", "HostConfig.UTSMode",
        "HostConfig.SecurityOpt", "HostConfig.Memory", "HostConfig.PidsLimit", "HostConfig.CpuShares",
        "HostConfig.RestartPolicy.Name", "Mounts", "HostConfig.PortBindings",
    )
) + "]"  # fmt: skip
DAEMON = Source("daemon", "show /etc/docker/daemon.json", sudo=True)
STATES = stats_source("states", "/var/run/docker.sock /etc/docker/daemon.json")


def docker_sources(probe: DockerProbe) -> tuple[Source, ...]:
    """daemon.json, the socket's state, and the running containers as the socket tells them."""
    shell = f"""have docker || [ -e /etc/docker ] || exit 90
have docker || exit 0
mark "version $(lim docker -v | head -n 1)"
[ -S /var/run/docker.sock ] || exit 0
ids=$(lim docker -H unix:///var/run/docker.sock ps -q --no-trunc | head -n {CONTAINERS_MAX}) || exit 0
lim docker -H unix:///var/run/docker.sock version --format '{{{{.Server.Version}}}}' >/dev/null || exit 0
mark containers; [ -z "$ids" ] || lim docker -H unix:///var/run/docker.sock inspect -f {quote(_TEMPLATE)} $ids"""
    live = Source("live", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=1 << 20)
    return (live, DAEMON, STATES, GROUPS, RUNNING, UNITS)


def parse_docker(probe: DockerProbe, reading: Reading) -> JsonValue:
    """See :class:`DockerProbe`."""
    is_running = SERVER.refuse_idle(reading, "live")
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("live")}
    version = next(
        (match.group(1) for head in parts if (match := re.search(r"version ([0-9][0-9.a-z~+-]*)", head[8:]))), None
    )
    states = {str(state["path"]): state for state in read_states(reading, "states")}
    socket = states.get("/var/run/docker.sock")
    containers: list[JsonValue] | None = None
    if "containers" in parts:
        containers = [_container(line) for line in parts["containers"].split("\n") if line.strip()]
    members = next(
        (
            line.split(":")[2]
            for line in reading.text("groups").split("\n")
            if line.startswith("docker:") and line.count(":") == 2
        ),
        "",
    )
    return {
        "version": version,
        "running": is_running,
        "socket": {key: socket[key] for key in ("mode", "permissions", "owner", "group")} if socket else None,
        "daemon": _daemon(reading.files("daemon").get("/etc/docker/daemon.json")),
        "containers": containers,
        "group_members": texts(name for name in members.split(",") if name),
    }


def _daemon(lines: list[str] | None) -> JsonValue:
    if lines is None:
        return {}
    try:
        document = json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        raise NoFactError("error", "daemon.json is not JSON") from error
    if not isinstance(document, dict):
        raise NoFactError("error", "daemon.json holds no object")
    for key in _DAEMON_LISTS:
        if not isinstance(document.get(key, []), list):
            raise NoFactError("error", f"daemon.json: {key} is no list, and Docker would not start with it")
    return redact_value({key: _bounded(document[key]) for key in _DAEMON_KEYS if key in document})


def _bounded(value: JsonValue, depth: int = 0) -> JsonValue:
    """Plain values as facts hold them: no number without a canonical form, no depth without an end."""
    if depth > 4:
        return None
    if isinstance(value, dict):
        return {str(key)[:200]: _bounded(item, depth + 1) for key, item in list(value.items())[:100]}
    if isinstance(value, list):
        return [_bounded(item, depth + 1) for item in value[:100]]
    if isinstance(value, str):
        return value[:500]
    if isinstance(value, bool) or value is None:
        return value
    return whole_number(str(value))


def _container(line: str) -> JsonValue:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoFactError("error", "docker's answer about a container is not JSON") from error
    if not isinstance(row, list) or len(row) != 18:
        raise NoFactError("error", "docker's answer about a container has another shape")
    row = [_bounded(item) for item in row]
    (
        name,
        image,
        privileged,
        user,
        read_only,
        added,
        dropped,
        network,
        pid,
        ipc,
        uts,
        security,
        memory,
        pids,
        cpu,
        restart,
        mounts,
        ports,
    ) = row
    places: list[JsonValue] = [
        {"source": mount.get("Source"), "target": mount.get("Destination"), "writable": mount.get("RW") is True}
        for mount in (mounts if isinstance(mounts, list) else [])
        if isinstance(mount, dict)
    ]
    return {
        "name": str(name).lstrip("/"),
        "image": image,
        "privileged": privileged is True,
        "user": user if isinstance(user, str) else "",
        "read_only": read_only is True,
        "added": added if isinstance(added, list) else [],
        "dropped": dropped if isinstance(dropped, list) else [],
        "network": network,
        "pid": pid,
        "ipc": ipc,
        "uts": uts,
        "security": security if isinstance(security, list) else [],
        "memory_bytes": memory if isinstance(memory, int) else 0,
        "pids_limit": pids if isinstance(pids, int) else None,
        "cpu_shares": cpu if isinstance(cpu, int) else 0,
        "restart": restart,
        "mounts": places,
        "ports": _ports(ports),
        "socket_mounted": any(
            isinstance(place, dict) and str(place["source"]).endswith("docker.sock") for place in places
        ),
    }


def _ports(ports: JsonValue) -> list[JsonValue]:
    found: list[JsonValue] = []
    for inner, outer in (ports if isinstance(ports, dict) else {}).items():
        for one in outer if isinstance(outer, list) else []:
            if isinstance(one, dict):
                found.append(f"{one.get('HostIp') or '0.0.0.0'}:{one.get('HostPort')}->{inner}")  # noqa: S104  printed
    return found
