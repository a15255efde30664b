"""Files that are not as people accepted them (ATT&CK T1565.001, T1554, T1546): new, changed, gone, or of other rights.

Idea: programs and settings of a server change with packages and by decisions. What a package's new version vouches for
is an update, told once for the package and without alarm. Everything else is drift, with the digest, rights and times
as they were and are, and who wrote it where that was seen. Programs, and files that decide who may do what, are worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field, JsonValue

from govsec.clock import format_time, from_ns
from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import Explanation, FileDifference, FileLook, Observation
from govsec.guard.drift_tables import UPDATE
from govsec.guard.filestate import FileState
from govsec.guard.forms import tell, text, who
from govsec.records import Finding, Severity

KIND = "host.drift.file"
_SHOWN_MAX = 16


class DriftFilesSettings(Settings):
    """Files that are not as accepted."""

    cooldown_s: int = Field(default=86_400, ge=0, description="drift that stays is told once a day")
    told_max: int = Field(
        default=50, ge=1, le=1000, description="files of one look that are told one by one; of more, a count by folder"
    )
    grave: tuple[str, ...] = Field(
        default=(
            "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/", "/lib/", "/usr/lib/",
            "/boot/", "/etc/pam.d/", "/etc/sudoers", "/etc/ssh/", "/etc/ld.so", "/etc/cron", "/etc/systemd/",
            "/etc/init.d/", "/etc/passwd", "/etc/shadow", "/etc/profile", "/root/",
        ),
        max_length=1000,
        description="beginnings of paths where a change decides what runs, or who may do what",
    )  # fmt: skip


class DriftFiles:
    """What looks at files found."""

    name = "drift_files"

    def __init__(self, settings: DriftFilesSettings) -> None:
        self._settings = settings
        self._told_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, FileLook):
                yield from self._take(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"told": self._told_count}

    def _take(self, look: FileLook) -> Iterator[Finding]:
        updates: dict[Explanation, list[FileDifference]] = {}
        drifted = []
        for difference in look.differences:
            if difference.update is not None:
                updates.setdefault(difference.update, []).append(difference)
            else:
                drifted.append(difference)
        for update, differences in updates.items():
            yield self._updated(look.time_ns, update, differences)
        # Known ones first: who makes files without end must not push a changed program out of what is told.
        drifted.sort(key=lambda one: (-self._severity(one), one.before is None, one.path))
        for difference in drifted[: self._settings.told_max]:
            self._told_count += 1
            yield self._finding(look.time_ns, difference)
        rest = drifted[self._settings.told_max :]
        if rest or look.more_count:
            yield self._more(look.time_ns, rest, len(rest) + look.more_count)

    def _severity(self, difference: FileDifference) -> Severity:
        if difference.before is not None and difference.before.is_directory and difference.after is not None:
            return Severity.LOW
        return Severity.HIGH if difference.path.startswith(self._settings.grave) else Severity.MEDIUM

    def _finding(self, time_ns: int, difference: FileDifference) -> Finding:
        how = "added" if difference.before is None else "removed" if difference.after is None else "changed"
        changed = _changed(difference.before, difference.after)
        return tell(
            kind=KIND,
            detector=self.name,
            severity=self._severity(difference),
            time_ns=time_ns,
            subject=difference.path,
            summary=f"{text(difference.path)} was {how} since the baseline"
            + (f" ({', '.join(changed)})" if how == "changed" else "")
            + (f" by {who(difference.actor)}" if difference.actor is not None else "")
            + "; no update of a package explains it.",
            pattern=(difference.path, how, difference.after.digest[:16] if difference.after is not None else ""),
            attack=("T1554", "T1565.001") if how != "added" else ("T1554", "T1546"),
            actor=difference.actor,
            before=_facts(difference.before),
            after=_facts(difference.after),
            paths=(difference.path,),
            facts={"how": how, "path": difference.path, "changed": [*changed]},
        )

    def _updated(self, time_ns: int, update: Explanation, differences: Sequence[FileDifference]) -> Finding:
        count = len(differences)
        return tell(
            kind=UPDATE,
            detector=self.name,
            severity=Severity.INFO,
            time_ns=time_ns,
            subject=update.package,
            summary=f"The package {text(update.package)} went from {update.before} to {update.after}, and with it "
            f"{count} files, which are as the package says.",
            pattern=(update.package, update.after or ""),
            measured={"files": Measure(count, None, "files")},
            before={"version": update.before or "none"},
            after={"version": update.after or "none"},
            paths=(difference.path for difference in differences),
            facts={"package": update.package, "name": update.package, "table": "files"},
        )

    def _more(self, time_ns: int, rest: Sequence[FileDifference], count: int) -> Finding:
        folders: dict[str, int] = {}
        for difference in rest:
            folder = difference.path.rsplit("/", 1)[0] or "/"
            folders[folder] = folders.get(folder, 0) + 1
        most = sorted(folders, key=lambda folder: (-folders[folder], folder))[:_SHOWN_MAX]
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=time_ns,
            subject="files",
            summary=f"{count} more files are not as accepted; most in "
            f"{', '.join(map(text, most[:3])) or 'many folders'}.",
            pattern=("more", *most[:3]),
            attack=("T1565.001",),
            measured={"files_more": Measure(count, self._settings.told_max, "files")},
            paths=most,
            facts={"how": "more", "path": most[0] if most else "/"},
        )


def _facts(state: FileState | None) -> JsonValue:
    if state is None:
        return None
    facts: dict[str, JsonValue] = {
        "mode": f"{state.mode:06o}",
        "uid": state.uid,
        "gid": state.gid,
        "size_bytes": state.size_bytes,
        "modified": format_time(from_ns(state.mtime_ns)),
        # As text: some file systems use all 64 bits, more than JSON keeps.
        "inode": str(state.inode),
    }
    return facts | ({"sha256": state.digest} if state.digest else {})


def _changed(before: FileState | None, after: FileState | None) -> list[str]:
    if before is None or after is None:
        return []
    names = {
        "contents": before.digest != after.digest,
        "size": before.size_bytes != after.size_bytes and not before.is_directory,
        "mode": before.mode != after.mode,
        "owner": (before.uid, before.gid) != (after.uid, after.gid),
    }
    return [name for name, is_changed in names.items() if is_changed]
