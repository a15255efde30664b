"""Sources: what a script asks a host, and what came back. The seam between shell fragments and parsers.

A probe names the sources that it needs; equal sources of many probes run once. A source is a few lines of POSIX sh, its
answer is bytes and an exit code; a parser is a pure function of answers. Both stand side by side in ``parse_*.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from govsec.collect.facts import OutcomeStatus, Platform
from govsec.errors import GovsecError

#: Exit codes by which a fragment says why it has no answer; the prelude of the script uses the same numbers.
EXIT_ABSENT = 90
EXIT_DENIED = 91
EXIT_NO_TOOL = 92
EXIT_TIMEOUTS = (124, 137, 143)  # GNU timeout; killed; busybox timeout
#: What a source may send at most, unless it says otherwise.
SIZE_MAX = 256 << 10


class NoFactError(GovsecError):
    """A probe has no fact; ``status`` and the message say why. Never leaves ``collect.py``."""

    def __init__(self, status: OutcomeStatus, reason: str) -> None:
        super().__init__(reason)
        self.status: OutcomeStatus = status


@dataclass(frozen=True, slots=True)
class Source:
    """One question to a host: shell text that only reads, with its limits."""

    name: str
    shell: str
    sudo: bool = False
    timeout_s: int = 5
    size_max: int = SIZE_MAX
    #: Exit codes that mean an answer.
    codes: tuple[int, ...] = (0,)
    #: An answer that was cut at a limit of size or time is still worth reading; the parser says that it was cut.
    cut_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source sent. ``exit_code`` is None when it was cut at ``size_max``."""

    data: bytes
    exit_code: int | None
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The answers that one probe reads, by name of source; what a parser is given."""

    sources: Mapping[str, Source]
    answers: Mapping[str, Answer]
    token: str
    now: datetime  #: by the host's clock: ages of its files
    collected: datetime  #: by our clock: validity of certificates
    platform: Platform = field(default_factory=Platform)

    def text(self, name: str) -> str:
        """The answer of source ``name``.

        Raises:
            NoFactError: it has none, with the reason.
        """
        source, answer = self.sources[name], self.answers.get(name)
        if answer is None:
            raise NoFactError("error", f"the host sent no answer for {name}")
        code = answer.exit_code
        if code is None and not source.cut_allowed:
            raise NoFactError("error", f"{name}: more than {source.size_max} bytes, cut")
        if code in EXIT_TIMEOUTS and code not in source.codes and not source.cut_allowed:
            raise NoFactError("timeout", f"{name}: not answered within {source.timeout_s} s")
        if code == EXIT_ABSENT:
            raise NoFactError("absent", f"{name}: not on this host")
        if code == EXIT_DENIED:
            raise NoFactError("denied", f"{name}: may not be looked at (needs root, or holds secrets)")
        if code == EXIT_NO_TOOL:
            raise NoFactError("error", f"{name}: the host has no tool to ask with")
        if code is not None and code not in source.codes and code not in EXIT_TIMEOUTS:
            raise NoFactError("error", f"{name}: ended with exit code {code}")
        # What is not UTF-8 stays visible, and has a canonical form.
        return answer.data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")

    def maybe(self, name: str) -> str | None:
        """The answer, or None where the thing or the tool is not there.

        Raises:
            NoFactError: it is there, and could not be read.
        """
        answer = self.answers.get(name)
        if answer is not None and answer.exit_code in (EXIT_ABSENT, EXIT_NO_TOOL):
            return None
        return self.text(name)

    def was_cut(self, name: str) -> bool:
        """Whether the answer ended at a limit of size or time."""
        code = self.answers[name].exit_code
        return code is None or code in EXIT_TIMEOUTS

    def records(self, name: str) -> list[str]:
        """The answer's records: what stands between marks that carry the run's token."""
        return self.text(name).split(f"@{self.token} ")[1:]

    def files(self, name: str) -> dict[str, list[str]]:
        """The lines of each file that ``show`` sent, by path."""
        return {path: lines for path, lines in self._shown(name) if not path.startswith("! ")}

    def unreadable(self, name: str) -> list[str]:
        """The files that ``show`` may not look at."""
        return [path[2:] for path, _ in self._shown(name) if path.startswith("! ")]

    def _shown(self, name: str) -> list[tuple[str, list[str]]]:
        shown = []
        for record in self.records(name):
            path, _, body = record.partition("\n")
            # Each line of content stands behind one space, so that none can look like a mark.
            shown.append((path, [line[1:] for line in body.split("\n") if line.startswith(" ")]))
        return shown
