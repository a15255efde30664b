"""Collecting: probes become one script, a transport runs it, and its output becomes facts.

The only part of an assessment that touches a host. A host that answers nothing, half, garbage, too much or forged
frames gives one of our errors and no facts; a single probe that could not look gives an outcome that is not ``ok``.
Secrets are cut on the host, and once more here before anything is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import Protocol

from pydantic import JsonValue

from govsec.canonical import dumps
from govsec.clock import Clock
from govsec.collect.byhand import line_of
from govsec.collect.facts import EXCERPT_LENGTH_MAX, REASON_LENGTH_MAX, Facts, Platform, ProbeOutcome
from govsec.collect.frames import Frames, read_frames
from govsec.collect.kinds import parse
from govsec.collect.parse_platform import read_platform
from govsec.collect.probes import AnyProbe
from govsec.collect.probes_host import WalkProbe
from govsec.collect.script import Script, compile_script
from govsec.collect.sources import Answer, NoFactError, Reading
from govsec.errors import HostUnreachableError, IntegrityError, LimitError
from govsec.redact import redact, redact_bytes, redact_value

#: Of an answer this much is prepared for people to read.
_READABLE_SIZE = 16 << 10
#: Comments and empty lines of files, each of whose lines stands behind one space: half a page of licence would be all
#: that a person sees of a file of settings.
_COMMENTS = re.compile(r"^ [ \t]*(?:[#;][^\n]*)?\n", re.MULTILINE)
#: A single fact: larger, and judging it would be slow for every check that reads it.
FACT_SIZE_MAX = 2 << 20


class Transport(Protocol):
    """How a script gets to a host and its output back."""

    @property
    def name(self) -> str:
        """What facts call the way."""
        ...

    def run(self, script: Script) -> bytes:
        """Everything the script printed, at most ``script.output_size_max`` bytes, within ``script.timeout_s``.

        Raises:
            HostUnreachableError: the host cannot be reached, or refused, or was too slow.
            LimitError: it printed more.
            IntegrityError: it is not the host it should be.
        """
        ...


def collect(
    host: str, probes: Sequence[AnyProbe], transport: Transport, clock: Clock, *, previous: Facts | None = None
) -> Facts:
    """Ask ``probes`` of ``host`` in one run.

    A walk over the file system is not asked again while ``previous`` (the facts of an earlier run) has one that is
    young enough.

    Raises:
        HostUnreachableError: nothing came, or not all of it.
        IntegrityError: what came is not what the script prints.
    """
    kept = _kept(probes, previous, clock.now())
    script = compile_script([probe for probe in probes if probe.identity not in kept], host=host)
    started = clock.now()
    facts = _facts(script, transport.run(script), started, transport.name, is_live=True)
    return facts.model_copy(update={"outcomes": {**facts.outcomes, **kept}}) if kept else facts


def import_output(script: Script, data: bytes, clock: Clock, *, hostname: str | None = None) -> Facts:
    """The facts in the output of an exported script, which somebody carried here from an air-gapped host.

    ``script`` is the very script that was exported: its token binds the output to it, and ``hostname`` (what the host
    calls itself; not asked when None) to the host.

    Raises:
        HostUnreachableError: the output ends early.
        IntegrityError: it is another script's, another host's, or was altered in its frames.
    """
    facts = _facts(script, data, clock.now(), "file", is_live=False)
    if hostname is not None and facts.platform.hostname != hostname:
        raise IntegrityError(
            f"the output is of host {facts.platform.hostname!r}; it was to come from {hostname!r} ({script.host})"
        )
    return facts


def _kept(probes: Sequence[AnyProbe], previous: Facts | None, now: datetime) -> dict[str, ProbeOutcome]:
    kept = {}
    for probe in probes:
        old = previous.outcomes.get(probe.identity) if previous is not None else None
        if previous is None or old is None or not isinstance(probe, WalkProbe) or not isinstance(old.value, dict):
            continue
        found = old.found or previous.collected
        age_h = (now - found).total_seconds() / 3600
        if 0 <= age_h <= probe.age_max_h and old.value.get("complete") is True:
            value: dict[str, JsonValue] = {**old.value, "age_h": round(age_h, 2)}
            kept[probe.identity] = old.model_copy(update={"value": value, "found": found})
    return kept


def _facts(script: Script, data: bytes, collected: datetime, transport: str, *, is_live: bool) -> Facts:
    if len(data) > script.output_size_max:
        raise LimitError(f"{script.host} sent more than {script.output_size_max} bytes")
    try:
        frames = read_frames(data, token=script.token, sources_count=len(script.sources))
    except HostUnreachableError as error:
        raise HostUnreachableError(f"{script.host}: {error}") from error
    except IntegrityError as error:
        raise IntegrityError(f"{script.host}: {error}") from error
    # The part that ran as root comes last, and says so.
    platform, host_time = read_platform(frames.platforms[-1].decode("utf-8", "backslashreplace"))
    if not is_live and host_time is not None:
        # Nobody saw it run: an output that is carried in a year late must not look like one of today.
        collected = min(host_time, collected)
    # Many probes read the same answers: each is prepared once. Parsers see what is left when secrets are cut: what a
    # parser takes apart, a name here and a value there, could not be told for one any more.
    clean = {number: replace(answer, data=redact_bytes(answer.data)) for number, answer in frames.answers.items()}
    seen = {number: _seen(answer, clean[number], script.token) for number, answer in frames.answers.items()}
    frames = Frames(clean, frames.platforms)
    outcomes = {
        probe.identity: _outcome(probe, script, frames, seen, platform, host_time or collected, collected)
        for probe in script.probes
    }
    # The host reads its clock first of all, to the second; what it took to get there is part of the figure.
    offset = round((host_time - collected).total_seconds(), 3) if host_time is not None and is_live else None
    return Facts(
        host=script.host,
        collected=collected,
        collector=version("govsec"),
        transport=transport,
        clock_offset_s=offset,
        platform=platform,
        outcomes=outcomes,
    )


def _outcome(
    probe: AnyProbe,
    script: Script,
    frames: Frames,
    seen: Mapping[int, tuple[bytes, str]],
    platform: Platform,
    now: datetime,
    collected: datetime,
) -> ProbeOutcome:
    numbers = script.numbers[probe.identity]
    answers = {name: frames.answers[number] for name, number in numbers.items() if number in frames.answers}
    reading = Reading(
        sources={name: script.sources[number] for name, number in numbers.items()},
        answers=answers,
        token=script.token,
        now=now,
        collected=collected,
        platform=platform,
    )
    common = {
        "kind": probe.kind,
        "command": line_of(probe),
        "duration_ms": sum(answer.duration_ms for answer in answers.values()),
        **_evidence({name: seen[number] for name, number in numbers.items() if number in seen}),
    }
    try:
        value = redact_value(parse(probe, reading))
        if len(dumps(value)) > FACT_SIZE_MAX:
            raise NoFactError("error", f"a fact of more than {FACT_SIZE_MAX} bytes")
    except NoFactError as error:
        reason = redact(str(error))[:REASON_LENGTH_MAX]
        return ProbeOutcome.model_validate({**common, "status": error.status, "reason": reason})
    return ProbeOutcome.model_validate({**common, "status": "ok", "value": value})


def _evidence(seen: Mapping[str, tuple[bytes, str]]) -> dict[str, JsonValue]:
    """Digest of what the host sent for one probe, and its beginning for people."""
    whole = hashlib.sha256(b"".join(name.encode() + b":" + data for name, (data, _) in seen.items()))
    excerpt = "\n".join(f"[{name}: {text}" for name, (_, text) in seen.items())
    return {"raw_sha256": whole.hexdigest(), "raw_excerpt": excerpt[:EXCERPT_LENGTH_MAX]}


def _seen(answer: Answer, clean: Answer, token: str) -> tuple[bytes, str]:
    """An answer without the run's token, which is random: the digest of all of it, the beginning of what is clean."""
    mark = f"@{token} ".encode()
    digest = hashlib.sha256(f"{answer.exit_code} ".encode() + answer.data.replace(mark, b"@ ")).digest()
    beginning = clean.data[:_READABLE_SIZE].replace(mark, b"@ ").decode("utf-8", "backslashreplace")
    readable = _COMMENTS.sub("", beginning).replace("\x00", "\\x00")
    return digest, f"{answer.exit_code}]\n{readable}"
