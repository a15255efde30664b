"""The part of the demo in which a program encrypts a share, and the guard of the machine names it.

Nothing here is special to the demo but the share and the program: events come from the kernel, canaries are placed as
``govsec monitor canary place`` does, and the detectors are those of the host agent.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from govsec.assemble.demo import Tell
from govsec.assemble.guard import canaries_of
from govsec.clock import Clock, to_ns
from govsec.config import load_config
from govsec.errors import ConfigurationError
from govsec.findings.baseline import Baseline
from govsec.findings.engine import Engine
from govsec.guard.api import Observation
from govsec.guard.registry import Site, build_detectors
from govsec.guard.sampling import Sampler, SamplingSettings
from govsec.guard.watch import DEGRADED, HostGuard
from govsec.host.api import SourceUnavailableError
from govsec.host.events import FileChange
from govsec.host.filewatch import WatchOptions
from govsec.host.stream import EventStream, StreamOptions, open_stream
from govsec.records import Finding, Severity

_DOCUMENTS = 24
#: Against a hang only; it takes a tenth of a second.
_LIMIT_S = 60.0
_READ_S = 0.2
_DONE = "done"
#: What ransomware does, to the documents of this folder only. It stays until its deeds were read, to be named.
_ENCRYPTER = """
import os, sys
folder = sys.argv[1]
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    with open(path, "r+b") as file:
        file.write(os.urandom(max(4096, os.path.getsize(path))))
    os.rename(path, path + ".locked")
open(os.path.join(folder, "done"), "w").close()
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class DemoGuard:
    """What the guard found, in the order in which it did."""

    findings: tuple[Finding, ...]


def guard_demo(config_path: Path, clock: Clock, *, tell: Tell) -> DemoGuard:
    """Make a share, let a program encrypt it under the eyes of the guard, and say who it was.

    Raises:
        ConfigurationError: the share cannot be written.
    """
    config, share = load_config(config_path), (config_path.parent / "share").resolve()
    try:
        share.mkdir(mode=0o700)
        for number in range(_DOCUMENTS):
            text = f"第 {number} 号许可申请，材料齐全，予以受理。\n" * 200
            (share / f"permit{number:02}.txt").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{share}: {error.strerror}") from error
    canaries = canaries_of(config)
    canaries.place(share, clock)
    site = Site(canaries=canaries, habits=Baseline())
    detectors = [one for one in build_detectors({}, site) if one.name.startswith("ransom_")]
    guard = HostGuard(
        Engine[Observation](detectors, degraded_kind=DEGRADED), Sampler(SamplingSettings()), canaries=canaries
    )
    options = StreamOptions(has_processes=False, files=WatchOptions(roots=(share,)), logins=None)
    try:
        with open_stream(options, clock) as stream:
            findings = _watch(stream, guard, share, clock)
    except SourceUnavailableError:  # a machine on which no change can be seen: the demo goes on and says so
        findings = ()
    culprits = [str(finding.facts["culprit"]) for finding in findings]
    tell(
        "guarded",
        {
            "files_count": _DOCUMENTS,
            "findings_count": len(findings),
            "culprit": next((name for name in culprits if name != "unknown"), "–"),
        },
    )
    return DemoGuard(findings)


def _watch(stream: EventStream, guard: HostGuard, share: Path, clock: Clock) -> tuple[Finding, ...]:
    """Let the program run until the guard has read what it did."""
    found: list[Finding] = []
    end = clock.monotonic() + _LIMIT_S
    argv = [sys.executable, "-c", _ENCRYPTER, str(share)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as program:
        try:
            is_done = False
            while not is_done and clock.monotonic() < end:
                records = stream.read(_READ_S)
                found += guard.step(records, now_ns=to_ns(clock.now()))
                is_done = any(isinstance(one, FileChange) and one.path == str(share / _DONE) for one in records)
        finally:
            program.communicate(timeout=_LIMIT_S)
    return tuple(finding for finding in found if finding.severity > Severity.LOW)
