"""Keys that open an account (ATT&CK T1098.004): a line that was not in ``authorized_keys`` before.

Idea: a key is a log-in that needs no password, and the usual way back in. What the baseline or the first look had is
known; every further key is told with its fingerprint, its comment and the program that wrote the file. Keys that are
taken away, put in another order or get another comment are no finding. That a key file is a link, or too large to be
read, is told like a key, and at the first look too unless the baseline has it: nobody sees what stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import KeyFile, Observation
from govsec.guard.forms import culprit, tell, text, who
from govsec.guard.keyview import is_oddity
from govsec.records import Finding, Severity

KIND = "host.tamper.authorized_keys"


class AuthorizedKeysSettings(Settings):
    """Keys for accounts."""

    files_max: int = Field(default=4096, ge=16, description="key files that are watched; later ones are counted only")


class AuthorizedKeys:
    """New keys. ``known``: fingerprints by path in the baseline."""

    name = "authorized_keys"

    def __init__(self, settings: AuthorizedKeysSettings, known: Mapping[str, frozenset[str]] | None = None) -> None:
        self._settings = settings
        self._is_learned = known is not None
        self._files: dict[str, set[str]] = {path: set(keys) for path, keys in (known or {}).items()}
        self._dropped: set[str] = set()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        looked_at = [record for record in observation.records if isinstance(record, KeyFile)]
        for file in looked_at:
            yield from self._take(file)
        # Files that come up after the first look are new, with all their keys.
        self._is_learned = self._is_learned or bool(looked_at)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"files": len(self._files), "files_dropped": len(self._dropped)}

    def _take(self, file: KeyFile) -> Iterator[Finding]:
        if file.path not in self._files and len(self._files) >= self._settings.files_max:
            if len(self._dropped) < self._settings.files_max:
                self._dropped.add(file.path)
            return
        is_first = file.path not in self._files and not self._is_learned
        known = self._files.setdefault(file.path, set())
        new = [(fingerprint, comment) for fingerprint, comment in file.keys if fingerprint not in known]
        if is_first:
            new = [(fingerprint, comment) for fingerprint, comment in new if is_oddity(fingerprint)]
        if new:
            yield self._finding(file, new, len(known))
        self._files[file.path] = {fingerprint for fingerprint, _ in file.keys}

    def _finding(self, file: KeyFile, new: list[tuple[str, str]], known_count: int) -> Finding:
        shown = ", ".join(_shown(fingerprint, comment) for fingerprint, comment in new[:3])
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.CRITICAL if file.uid == 0 else Severity.HIGH,
            time_ns=file.time_ns,
            subject=file.user,
            summary=f"{_what(new)} the account {text(file.user)}: {shown}; written by {who(file.actor)}.",
            pattern=(file.path, *sorted(fingerprint for fingerprint, _ in new)[:3]),
            attack=("T1098.004",),
            measured={"keys": Measure(len(new), 1, "keys")},
            actor=file.actor,
            before={"keys_count": known_count},
            after={"keys": [f"{fingerprint} {comment}" for fingerprint, comment in new[:16]], "path": file.path},
            paths=(file.path,),
            facts={"account": file.user, "path": file.path, "culprit": culprit(file.actor)},
        )


def _what(new: list[tuple[str, str]]) -> str:
    if any(is_oddity(entry) for entry, _ in new):
        return "The key file is not a plain file that can be read in full, and opens"
    return f"{len(new)} new keys open"


def _shown(entry: str, comment: str) -> str:
    return text(entry) if is_oddity(entry) else f"{entry} ({text(comment) or 'no comment'})"
