"""Compiling probes into one POSIX sh script per host, which an operator can read before it runs.

The script only reads. All of it stands in one pair of braces, so that a shell runs nothing of a script that arrived in
part. Equal sources of several probes are asked once. Every answer is framed by its length and by a token of this run,
which no content on the host can know (``frames.py``). Works with dash, bash and busybox sh; needs no Python there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from govsec.collect.kinds import sources_of
from govsec.collect.parse_platform import PLATFORM
from govsec.collect.probe_base import SECRET_PATHS
from govsec.collect.probes import AnyProbe
from govsec.collect.sources import Source
from govsec.errors import ConfigurationError

#: A level-3 assessment with every pack asks some three hundred sources.
SOURCES_MAX = 2000
TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Script:
    """A script and what is needed to read its output."""

    host: str
    token: str
    text: str
    probes: tuple[AnyProbe, ...]
    sources: tuple[Source, ...]  #: by number; the first is the platform
    #: For each probe's identity: number of each source by the name that its parser knows.
    numbers: Mapping[str, Mapping[str, int]]

    @property
    def output_size_max(self) -> int:
        """Bytes that an honest host can send at most."""
        return sum(source.size_max + 200 for source in self.sources) + _NOISE_MAX

    @property
    def timeout_s(self) -> int:
        """When every source takes all its time, twice over: later no honest host answers."""
        return min(3600, 30 + sum(source.timeout_s for source in self.sources))


_NOISE_MAX = 64 << 10


def compile_script(probes: Sequence[AnyProbe], *, host: str, token: str | None = None) -> Script:
    """The script that asks ``probes`` of ``host``; equal probes once, in the order given.

    ``token`` is drawn afresh when None; a test or an import passes one, for then equal probes give equal text.

    Raises:
        ConfigurationError: more sources than one run asks of a host.
    """
    token = token or secrets.token_hex(TOKEN_BYTES)
    unique = tuple({probe.identity: probe for probe in probes}.values())
    positions: dict[Source, int] = {PLATFORM: 0}
    numbers = {
        probe.identity: {source.name: positions.setdefault(source, len(positions)) for source in sources_of(probe)}
        for probe in unique
    }
    if len(positions) > SOURCES_MAX:
        raise ConfigurationError(f"{len(positions)} questions to {host}; at most {SOURCES_MAX} are asked in one run")
    sources = tuple(positions)
    return Script(host, token, _text(sources, host, token), unique, sources, numbers)


def _text(sources: Sequence[Source], host: str, token: str) -> str:
    prelude = files("govsec.collect").joinpath("prelude.sh").read_text(encoding="utf-8")
    name = "".join(letter if letter.isprintable() else "?" for letter in host)
    lines = [
        "#!/bin/sh",
        f"# For {name}: {len(sources)} questions. As another user: sudo sh THIS-FILE",
        "{",
        f"T={token}; MODE=${{1:-all}}; ME=$(id -u)",
        prelude.replace("@SECRETS@", "|".join(SECRET_PATHS)),
    ]
    for number, source in enumerate(sources):
        lines.append(f"s_{number}() {{ # {source.name}{' (root)' if source.sudo else ''}\n{source.shell}\n}}")
    for number, source in enumerate(sources):
        if number == 0:
            # Both parts of a run say who they are: the reader takes the root one's word on being root.
            lines.append(f"ask 0 {source.timeout_s} {source.size_max}")
        else:
            lines.append(f"as_{'root' if source.sudo else 'user'} {number} {source.timeout_s} {source.size_max}")
    lines += ["""printf '@%s end %s\\n' "$T" "$MODE\"""", "exit 0", "}", ""]
    return "\n".join(lines)
