"""Programs that run without a file (ATT&CK T1620, T1070.004): from memory alone, or from a file that was removed.

Idea: who does not want to be found runs from a file in memory (``memfd``), or removes the file once it runs. An upgrade
removes files of running programs as well, but puts others in their place; a program at whose path root put another one
is merely old. Container runtimes copy themselves into memory; anybody can give such a copy their name, so the name
counts only for users who run containers, and only right below a runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from pydantic import Field

from govsec.findings.api import Settings
from govsec.guard.api import Actor, LooseImage, Observation
from govsec.guard.forms import tell, text
from govsec.host.tables import Process
from govsec.records import Finding, Severity

MEMORY, DELETED = "host.process.memory_only", "host.process.deleted_executable"
#: What containers are started by; some names go on with a version or a kind.
_RUNTIMES = ("containerd", "containerd-shim*", "dockerd", "runc", "crun", "crio", "conmon", "podman", "buildah")
#: Where packages of runtimes lie.
_RUNTIME_FOLDERS = ("/usr/*", "/opt/*", "/snap/*", "/var/lib/rancher/*", "/bin", "/sbin")
#: How the kernel names files that are in memory only.
MEMORY_PREFIX = "/memfd:"


class LooseImageSettings(Settings):
    """Programs without a file."""

    cooldown_s: int = Field(default=86_400, ge=0, description="a program that goes on running is told once a day")
    memory_names: tuple[str, ...] = Field(
        default=("runc_cloned:/proc/self/exe", "crun_cloned:/proc/self/exe", "libcrun"),
        max_length=100,
        description="shell patterns of names in memory of programs that are known to run so: container runtimes do",
    )
    runtimes: tuple[str, ...] = Field(
        default=tuple(f"{folder}/{name}" for folder in _RUNTIME_FOLDERS for name in _RUNTIMES),
        max_length=200,
        description="shell patterns of executables below which memory_names count: container runtimes",
    )
    runtime_uids: tuple[int, ...] = Field(
        default=(0,), max_length=100, description="users for whom memory_names count: add those of rootless containers"
    )


class LooseImages:
    """Running programs whose files are gone."""

    name = "loose_image"

    def __init__(self, settings: LooseImageSettings) -> None:
        self._settings = settings
        self._replaced_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, LooseImage):
                yield from self._take(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"replaced": self._replaced_count}

    def _is_runtime(self, actor: Actor) -> bool:
        """Whether it is a copy that a container runtime made of itself; whoever runs within a container makes none."""
        process = actor.process
        if process.uid not in self._settings.runtime_uids or not self._has_known_name(process):
            return False
        above = next((ancestor for ancestor in actor.ancestors if not self._has_known_name(ancestor)), None)
        return above is not None and _matches(above.executable or "", self._settings.runtimes)

    def _has_known_name(self, process: Process) -> bool:
        path = process.executable or ""
        name = path.removeprefix(MEMORY_PREFIX)
        return path.startswith(MEMORY_PREFIX) and _matches(name, self._settings.memory_names)

    def _take(self, image: LooseImage) -> Iterator[Finding]:
        process = image.actor.process
        path = process.executable or process.name
        is_memory = path.startswith(MEMORY_PREFIX)
        if is_memory and self._is_runtime(image.actor):
            return
        if image.is_replaced and not is_memory:
            self._replaced_count += 1
            return
        said = "from memory alone" if is_memory else "from a file that was removed"
        yield tell(
            kind=MEMORY if is_memory else DELETED,
            detector=self.name,
            severity=Severity.CRITICAL if is_memory else Severity.HIGH,
            time_ns=image.time_ns,
            subject=path,
            summary=f"Process {process.key.pid} ({text(process.name)}, user {process.uid}) runs {said}: {text(path)}.",
            pattern=(path, process.uid),
            attack=("T1620", "T1027.011") if is_memory else ("T1070.004",),
            actor=image.actor,
            before={"executable": path},
            after={"executable": "in memory" if is_memory else "removed"},
            facts={"pid": process.key.pid, "executable": path, "user": process.uid},
        )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
