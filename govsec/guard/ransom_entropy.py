"""Files that stop being what they were and become noise, one after the other, from one process tree (ATT&CK T1486).

Idea: an encrypted file is even and has no mark of any format. Where its name promises a document, or an earlier look
knew one there, it has been taken from its owner. Who packs, sends, builds or imports makes files that are even too, but
these say what they are; and who encrypts on purpose keeps the original: a strange file *beside* a document counts only
once that document is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import FileSample, Observation
from govsec.guard.bursts import Bursts, Deed, folders_of
from govsec.guard.contents import ENCRYPTED_FORMS, EXPECTED, endings, expected_forms
from govsec.guard.forms import culprit, tell, who
from govsec.guard.trees import root_of, tree_of
from govsec.host.events import FileChange, FileOperation
from govsec.records import Finding, Severity

KIND = "host.ransomware.entropy"


class RansomEntropySettings(Settings):
    """Documents that become noise."""

    files_min: int = Field(
        default=8, ge=2, description="documents of one tree that became noise; nobody overwrites so many with noise"
    )
    window_s: int = Field(default=60, ge=5, le=3600, description="slower encryption meets a canary first")
    entropy_min: float = Field(
        default=7.2, ge=6, le=8, description="bits a byte; text has 4 to 6, noise of 512 bytes has 7.5"
    )
    jump_min: float = Field(
        default=1.0, ge=0.2, le=6, description="bits a byte more than at the last look, where its form was not known"
    )
    size_min: int = Field(
        default=512, ge=128, description="bytes; of less, noise and text cannot be told apart by evenness"
    )
    trees_max: int = Field(default=4096, ge=64, description="process trees that are watched")
    files_max: int = Field(default=16_384, ge=256, description="files that wait for what becomes of their originals")


class RansomEntropy:
    """Bursts of files that became noise."""

    name = "ransom_entropy"

    def __init__(self, settings: RansomEntropySettings) -> None:
        self._settings = settings
        self._bursts = Bursts(window_ns=settings.window_s * SECOND_NS, trees_max=settings.trees_max)
        #: By original: the noise that appeared beside it; and originals that went, with the time.
        self._waiting: Recent[str, list[FileSample]] = Recent(settings.files_max, list)
        self._gone: Recent[str, list[int]] = Recent(settings.files_max, list)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, FileSample):
                yield from self._take(record)
            elif isinstance(record, FileChange) and not record.is_directory:
                yield from self._see_leaving(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {
            **self._bursts.state(),
            "files_waiting": len(self._waiting),
            "files_forgotten": self._waiting.forgotten_count + self._gone.forgotten_count,
        }

    def _take(self, sample: FileSample) -> Iterator[Finding]:
        if not self._is_noise(sample):
            return
        original = _original_of(sample.path)
        if sample.before is None and original is not None:
            gone = self._gone.get(original)
            if not gone or gone[-1] < sample.time_ns - self._settings.window_s * SECOND_NS:
                self._waiting.at(original)[:] = [sample]
                return
        yield from self._count(sample)

    def _see_leaving(self, change: FileChange) -> Iterator[Finding]:
        path = change.path if change.operation is FileOperation.DELETED else change.old_path
        if path is None or change.operation not in (FileOperation.DELETED, FileOperation.RENAMED):
            return
        self._gone.at(path)[:] = [change.time_ns]
        waiting = self._waiting.get(path)
        while waiting:
            sample = waiting.pop()
            if sample.time_ns >= change.time_ns - self._settings.window_s * SECOND_NS:
                yield from self._count(sample)

    def _is_noise(self, sample: FileSample) -> bool:
        """Even, without a mark, where the name or the last look knew a format."""
        settings = self._settings
        if sample.head_size < settings.size_min or sample.entropy < settings.entropy_min:
            return False
        expected = expected_forms(sample.path)
        if sample.form is not None and sample.form not in ENCRYPTED_FORMS:
            # It says what it is: noise only when it was something else before, and its name still says so.
            was = sample.before[1] if sample.before is not None else None
            return was is not None and expected is not None and was in expected and sample.form not in expected
        if sample.before is not None:
            entropy, form = sample.before
            return form is not None or sample.entropy - entropy >= settings.jump_min
        return expected is not None

    def _count(self, sample: FileSample) -> Iterator[Finding]:
        deed = Deed(sample.time_ns, sample.path, sample.actor)
        deeds = self._bursts.add(tree_of(sample.actor, sample.path), deed)
        if len({deed.path for deed in deeds}) >= self._settings.files_min:
            yield self._finding(sample, list(deeds), folders_of(deeds))

    def _finding(self, last: FileSample, deeds: list[Deed], folders: list[str]) -> Finding:
        settings = self._settings
        root = root_of(last.actor) if last.actor is not None else None
        before = last.before
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=max(deed.time_ns for deed in deeds),
            subject=folders[0],
            summary=f"{who(last.actor)} and its tree turned {len(deeds)} documents in {len(folders)} folders into "
            f"noise within {settings.window_s} s (threshold {settings.files_min}); the last has {last.entropy:.2f} "
            "bits a byte.",
            pattern=((root.executable or root.name) if root is not None else folders[0],),
            attack=("T1486",),
            measured={
                "noise_files": Measure(len(deeds), settings.files_min, "files"),
                "entropy": Measure(last.entropy, settings.entropy_min, "bits/byte"),
            },
            actor=last.actor,
            before={"entropy": round(before[0], 2), "form": before[1] or "unknown"}
            if before is not None
            else {"form": "as the name says"},
            after={"entropy": round(last.entropy, 2), "form": last.form or "none", "path": last.path},
            paths=(deed.path for deed in deeds),
            facts={"culprit": culprit(last.actor), "window_s": settings.window_s},
        )


def _original_of(path: str) -> str | None:
    """The document that a file with one strange ending more is named after."""
    found = endings(path)
    if len(found) >= 2 and found[0] not in EXPECTED:
        return path[: -len(found[0]) - 1]
    return None
