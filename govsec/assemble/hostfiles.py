"""Facts and scripts that people carry: written for hosts that cannot be reached, and read back with suspicion.

What comes in a file is of the past, and somebody chose it: it counts only when it is young, of a host that was asked
for, and no older than what that host has given since.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from govsec.assemble.carried import signer_of
from govsec.assemble.hosts import FACTS_AGE_MAX, Collected, Target, script_for
from govsec.assemble.systems import Site
from govsec.clock import format_time
from govsec.collect.collect import import_output
from govsec.collect.facts import FACTS_SIZE_MAX, Facts, load_facts
from govsec.collect.probes import AnyProbe
from govsec.collect.script import compile_script
from govsec.config import HostConfig
from govsec.errors import ConfigurationError, FormatError, UsageError
from govsec.localfile import read_given
from govsec.privatefile import make_private_directory, write_private

#: What a host of that name is asked.
ProbesOf = Callable[[str], Sequence[AnyProbe]]
_OUTPUT_SIZE_MAX = 256 << 20
#: Clocks differ; facts from further ahead are none.
_FACTS_AHEAD_MAX = timedelta(days=1)
_TOKEN = re.compile(r"^T=([0-9a-f]{32});", re.MULTILINE)
_SCRIPT_HOST = re.compile(r"^# For (.{1,255}): [0-9]+ questions", re.MULTILINE)
_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]")


def write_scripts(directory: Path, targets: Sequence[Target], probes_of: ProbesOf) -> list[Path]:
    """A script for each host, as ``<name>.sh``, for hosts that cannot be reached.

    Raises:
        ConfigurationError: one cannot be written.
    """
    return _write(
        directory, {f"{_safe(one.name)}.sh": script_for(one, probes_of(one.name)).text.encode() for one in targets}
    )


def write_facts(directory: Path, collected: Sequence[Collected]) -> list[Path]:
    """The facts of each host that answered, as ``<name>.json``.

    Raises:
        ConfigurationError: one cannot be written.
    """
    return _write(directory, {f"{_safe(one.target.name)}.json": one.data for one in collected if one.facts is not None})


def import_facts(site: Site, paths: Sequence[Path]) -> tuple[Collected, ...]:
    """Facts from files of :func:`write_facts`, each with who signed it.

    Raises:
        ConfigurationError: a file cannot be read, or two are of the same host.
        FormatError: a file holds none.
        IntegrityError: a file's signature is not one of a pinned key, or not of this file.
    """
    found: dict[str, Collected] = {}
    for path in paths:
        data = read_given(path, FACTS_SIZE_MAX)
        try:
            facts = load_facts(data)
        except FormatError as error:
            raise FormatError(f"{path}: {error}; the output of a script goes with --script FILE") from error
        if facts.host in found:
            raise ConfigurationError(f"{path}: these are facts of {facts.host} too")
        found[facts.host] = _from_file(facts, signer_of(site, path, data))
    return tuple(found.values())


def read_carried(path: Path) -> bytes:
    """A file that somebody is about to hand in.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return read_given(path, _OUTPUT_SIZE_MAX)


def without_gaps(
    collected: Sequence[Collected],
    wanted: Sequence[Target],
    now: datetime,
    newest: Mapping[str, datetime] | None = None,
) -> tuple[Collected, ...]:
    """Facts from files, with those refused that are not of today, and a host of ``wanted`` without any told.

    Without ``wanted`` the files say which hosts there are. ``newest`` is when each host last gave facts: older ones are
    a replay of a better day.

    Raises:
        UsageError: facts of a host that is not among ``wanted``.
    """
    judged = {one.target.name: _if_fresh(one, now, (newest or {}).get(one.target.name)) for one in collected}
    if not wanted:
        return tuple(judged.values())
    names = [target.name for target in wanted]
    if strangers := sorted(judged.keys() - set(names)):
        raise UsageError(f"facts of {', '.join(strangers)}, which was not asked for; the hosts are {', '.join(names)}")
    return tuple(
        judged.get(target.name) or Collected(target, now, error="no facts of this host were handed in")
        for target in wanted
    )


def _if_fresh(one: Collected, now: datetime, newest: datetime | None) -> Collected:
    if one.facts is not None and newest is not None and one.facts.collected < newest:
        here, last = format_time(one.facts.collected), format_time(newest)
        return Collected(one.target, one.began, error=f"its facts are of {here}; it has given newer ones, of {last}")
    if one.facts is None or now - FACTS_AGE_MAX <= one.facts.collected <= now + _FACTS_AHEAD_MAX:
        return one
    when, days = one.facts.collected.date(), FACTS_AGE_MAX.days
    return Collected(one.target, one.began, error=f"its facts are of {when}; those of the last {days} days count")


def import_script_output(site: Site, script: Path, output: Path, probes_of: ProbesOf) -> tuple[Collected, ...]:
    """The facts in what an exported script printed.

    The script is compiled again from the packs that are in use and must be the very same: what a changed pack would
    have asked was not asked.

    Raises:
        ConfigurationError: a file cannot be read, or the packs have changed since the script was written.
        HostUnreachableError, IntegrityError: the output ends early, or is not this script's; a signature that does not
            hold.
    """
    text = read_given(script, _OUTPUT_SIZE_MAX).decode("utf-8", "replace")
    token, host = _TOKEN.search(text), _SCRIPT_HOST.search(text)
    if token is None or host is None:
        raise ConfigurationError(f"{script}: no script of `govsec assess collect --script`")
    made = compile_script(probes_of(host[1]), host=host[1], token=token[1])
    if made.text != text:
        raise ConfigurationError(f"{script}: was altered, or written by another version or with other packs")
    data = read_given(output, made.output_size_max)
    return (_from_file(import_output(made, data, site.clock), signer_of(site, output, data)),)


def _from_file(facts: Facts, signed_by: str) -> Collected:
    target = Target(facts.host, HostConfig(kind="ssh"))
    return Collected(target, facts.collected, facts, data=facts.dump(), is_carried=True, signed_by=signed_by)


def _safe(name: str) -> str:
    return _FILE_NAME.sub("_", name)


def _write(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    paths = []
    try:
        make_private_directory(directory)
        for name, data in files.items():
            write_private(directory / name, data)
            paths.append(directory / name)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or directory}: {error.strerror}") from error
    return paths
