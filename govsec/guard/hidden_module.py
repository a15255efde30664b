"""Kernel modules that hide (ATT&CK T1014, T1547.006): one list has them and the other not, or only a mark is left.

Idea: a rootkit takes itself out of the list that ``lsmod`` reads and is then still below ``/sys/module``, or the other
way round. One that takes itself out of both cannot take back the kernel's taint: a mark for "out of tree" or "unsigned"
that appears while no listed module accounts for it. A module that is being loaded or removed is in one list only for a
moment; so it has to be so at two looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import ModuleLook, Observation
from govsec.guard.forms import tell
from govsec.records import Finding, Severity

KIND = "host.tamper.hidden_module"
#: Bits of /proc/sys/kernel/tainted that a module leaves (kernel documentation, "Tainted kernels"): letter by bit.
_MODULE_TAINTS = {0: "P", 1: "F", 12: "O", 13: "E"}


class HiddenModuleSettings(Settings):
    """Modules that only one list has."""

    looks_min: int = Field(
        default=2, ge=1, le=10, description="looks in a row; one may be a module that is being loaded"
    )


class HiddenModules:
    """Differences between the views of loaded modules."""

    name = "hidden_module"

    def __init__(self, settings: HiddenModuleSettings) -> None:
        self._settings = settings
        self._seen: Counter[tuple[str, str]] = Counter()
        self._taint: int | None = None
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, ModuleLook):
                yield from self._look(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"suspects": len(self._seen)}

    def _look(self, look: ModuleLook) -> Iterator[Finding]:
        odd = {(name, "unlisted") for name in set(look.present) - set(look.listed)}
        odd |= {(name, "absent") for name in set(look.listed) - set(look.present)}
        self._seen = Counter({one: self._seen[one] + 1 for one in odd})
        for name, how in sorted(odd):
            if self._seen[name, how] >= self._settings.looks_min:
                yield self._finding(look, name, how)
        new = look.taint & ~self._taint if self._taint is not None else 0
        self._taint = look.taint
        letters = [letter for bit, letter in _MODULE_TAINTS.items() if new >> bit & 1]
        unexplained = [letter for letter in letters if letter not in look.listed_taint]
        if unexplained:
            yield self._finding(look, "".join(unexplained), "tainted")

    def _finding(self, look: ModuleLook, name: str, how: str) -> Finding:
        said = {
            "unlisted": f"Kernel module {name} is loaded (/sys/module) but not listed (/proc/modules).",
            "absent": f"Kernel module {name} is listed (/proc/modules) but not below /sys/module.",
            "tainted": f"The kernel was tainted ({name}) by a module that no list shows.",
        }
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH if how == "tainted" else Severity.CRITICAL,
            time_ns=look.time_ns,
            subject=name,
            summary=said[how],
            pattern=(name, how),
            attack=("T1014", "T1547.006"),
            measured={"looks": Measure(self._seen[name, how] or 1, self._settings.looks_min)},
            before={"modules_listed": len(look.listed)},
            after={"modules_present": len(look.present), "taint": look.taint},
            facts={"how": how, "module": name},
        )
