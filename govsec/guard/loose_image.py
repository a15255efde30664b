"""Programs that run without a file (ATT&CK T1620, T1070.004): from memory alone, or from a file that was removed.

Idea: who does not want to be found runs from a file in memory (``memfd``), or removes the file once it runs. An upgrade
removes files of running programs as well, but puts others in their place; a program whose path holds another file now
is merely old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from pydantic import Field

from govsec.findings.api import Settings
from govsec.guard.api import LooseImage, Observation
from govsec.guard.forms import tell, text
from govsec.records import Finding, Severity

MEMORY, DELETED = "host.process.memory_only", "host.process.deleted_executable"
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

    def _take(self, image: LooseImage) -> Iterator[Finding]:
        process = image.actor.process
        path = process.executable or process.name
        is_memory = path.startswith(MEMORY_PREFIX)
        name = path.removeprefix(MEMORY_PREFIX)
        if is_memory and any(fnmatchcase(name, pattern) for pattern in self._settings.memory_names):
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
