"""What would go wrong on this machine, found before it does: programs, packages, files, keys, centers, clock, space.

Every look is one :class:`Observation`; what could not be looked at is said too, and is never good. Nothing is changed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from govsec.assemble.systems import Site
from govsec.clock import Clock, format_time
from govsec.config import Config, FilesSourceConfig, LocalStoreConfig, SystemConfig, load_config, read_secret
from govsec.crypto.signing import Purpose
from govsec.drill.plan import load_plan
from govsec.errors import GovsecError, ObjectNotFoundError
from govsec.runtime.children import child_environment

_PYTHON_MIN = (3, 11)
_TOOL_TIMEOUT_S = 10
#: No honest clock shows a time before the first release.
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
#: Retention locks and signatures are judged by time; S3 servers refuse requests that are 15 minutes off.
_SKEW_MAX = timedelta(minutes=1)
_FREE_BYTES_MIN = 1 << 30
_FREE_SHARE_MIN = 0.05


class State(StrEnum):
    """How an observation came out."""

    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one thing, and what to do about it when it is not good."""

    subject: str
    state: State
    found: str
    advice: str = ""


def examine(config_path: Path, clock: Clock, *, is_config_expected: bool) -> Iterator[Observation]:
    """Look at the machine, then at the configuration in ``config_path`` and all that it names.

    Without ``is_config_expected`` a missing configuration is a warning: a machine may be looked at before it has one.
    """
    yield from _examine_machine(clock)
    if not _is_there(config_path):
        state = State.PROBLEM if is_config_expected else State.WARNING
        yield Observation("configuration", state, f"{config_path} is not there", "see agents/config/ for samples")
        return
    try:
        config = load_config(config_path)
    except GovsecError as error:
        yield Observation("configuration", State.PROBLEM, str(error), "govsec config schema tells every key")
        return
    yield Observation("configuration", State.GOOD, str(config_path))
    site = Site(config, clock)
    yield from _examine_files(config)
    yield from _examine_signing(site)
    for system in config.systems:
        yield from _examine_sources(system)
        yield from _examine_centers(site, system)


def _examine_machine(clock: Clock) -> Iterator[Observation]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    is_new_enough = sys.version_info[:2] >= _PYTHON_MIN
    yield Observation(
        "python",
        State.GOOD if is_new_enough else State.PROBLEM,
        version,
        "" if is_new_enough else "needs 3.11 or newer",
    )
    yield from _examine_packages()
    yield _examine_tool(
        "restic", ["restic", "version"], "apt-get install restic: the second way to your data, and what proves ours"
    )
    yield _examine_tool("unshare", ["unshare", "--version"], "apt-get install util-linux: drills take the network away")
    yield _examine_tool("setpriv", ["setpriv", "--version"], "apt-get install util-linux: drills drop privileges")
    is_root = os.geteuid() == 0
    yield Observation(
        "user",
        State.GOOD if is_root else State.WARNING,
        "root" if is_root else f"user {os.geteuid()}",
        "" if is_root else "only root reads every file, restores owners and isolates drills",
    )
    now = clock.now()
    yield Observation(
        "clock",
        State.GOOD if now >= _EARLIEST else State.PROBLEM,
        format_time(now.replace(microsecond=0)),
        "" if now >= _EARLIEST else "set the clock (chrony, systemd-timesyncd)",
    )


def _examine_packages() -> Iterator[Observation]:
    for requirement in importlib.metadata.requires("govsec") or ():
        if "extra ==" in requirement:
            continue
        matched = re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement)
        assert matched, requirement  # pyproject.toml writes nothing but name>=version
        name, least = matched.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Observation(f"package {name}", State.PROBLEM, "not installed", f"pip install '{requirement}'")
            continue
        is_good = _numbers(version) >= _numbers(least)
        yield Observation(
            f"package {name}",
            State.GOOD if is_good else State.PROBLEM,
            version,
            "" if is_good else f"pip install '{requirement}'",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _examine_tool(name: str, argv: list[str], advice: str) -> Observation:
    if shutil.which(name) is None:
        return Observation(name, State.WARNING, "not installed", advice)
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=_TOOL_TIMEOUT_S, check=False, env=child_environment(), text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Observation(name, State.WARNING, f"does not run: {type(error).__name__}", advice)
    lines = done.stdout.splitlines()
    return Observation(name, State.GOOD if done.returncode == 0 else State.WARNING, lines[0] if lines else "no answer")


def _examine_files(config: Config) -> Iterator[Observation]:
    for where, path in _secret_files(config):
        try:
            read_secret(path)
        except GovsecError as error:
            yield Observation(where, State.PROBLEM, str(error))
        else:
            yield Observation(where, State.GOOD, f"{path}, for its owner only")
    places = {"state_dir": config.state_dir}
    for name, center in config.centers.items():
        if isinstance(center.store, LocalStoreConfig):
            places[f"center {name}"] = center.store.path
    for where, path in places.items():
        yield _examine_space(where, path)


def _secret_files(config: Config) -> Iterator[tuple[str, Path]]:
    for name, center in config.centers.items():
        for field in ("credentials_file", "read_credentials_file", "owner_credentials_file"):
            path = getattr(center, field)
            if path is not None:
                yield f"center {name}: {field}", path
    for system in config.systems:
        if system.password_file is not None:
            yield f"system {system.name}: password_file", system.password_file


def _examine_space(where: str, path: Path) -> Observation:
    try:
        usage = shutil.disk_usage(path)
        is_writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        return Observation(f"{where}: space", State.PROBLEM, f"{path}: {error.strerror}", "make it, or mount its disk")
    if not is_writable:
        return Observation(f"{where}: space", State.PROBLEM, f"{path} cannot be written by this user")
    free = f"{path}: {usage.free >> 20} MiB free of {usage.total >> 20} MiB"
    if usage.free < _FREE_BYTES_MIN or usage.free < _FREE_SHARE_MIN * usage.total:
        return Observation(f"{where}: space", State.WARNING, free, "backups stop when it is full")
    return Observation(f"{where}: space", State.GOOD, free)


def _examine_signing(site: Site) -> Iterator[Observation]:
    signing = site.config.signing
    if signing.roots_file is None:
        yield Observation(
            "signing.roots_file",
            State.WARNING,
            "not set",
            "without pinned keys nothing can be verified: govsec center init",
        )
        return
    try:
        trusted = site.trusted()
        mode = signing.roots_file.stat().st_mode
    except (GovsecError, OSError) as error:
        yield Observation("signing.roots_file", State.PROBLEM, str(error))
        return
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Observation(
            "signing.roots_file", State.PROBLEM, f"{signing.roots_file} can be changed by others", "chmod go-w"
        )
    else:
        yield Observation("signing.roots_file", State.GOOD, f"{len(trusted)} pinned keys")
    for purpose, path in (
        (Purpose.COMMIT, signing.commit_key_file),
        (Purpose.EVIDENCE, signing.evidence_key_file),
        (Purpose.RELEASE, signing.release_key_file),
    ):
        if path is None:
            continue
        where = f"signing.{purpose.value}_key_file"
        try:
            key_id = site.signer(purpose).key_id
            trusted.get(purpose, key_id)
        except GovsecError as error:
            yield Observation(where, State.PROBLEM, str(error), "pin its public half in the roots file of every site")
        else:
            yield Observation(where, State.GOOD, f"key {key_id}, pinned")


def _examine_sources(system: SystemConfig) -> Iterator[Observation]:
    for job in system.backups:
        if isinstance(job.source, FilesSourceConfig):
            for path in job.source.paths:
                is_there = _is_there(path)
                yield Observation(
                    f"system {system.name}: source {job.name}",
                    State.GOOD if is_there else State.PROBLEM,
                    str(path) if is_there else f"{path} is not there",
                )
    for path in system.plans:
        try:
            load_plan(path)
        except GovsecError as error:
            yield Observation(f"system {system.name}: plan", State.PROBLEM, str(error))
        else:
            yield Observation(f"system {system.name}: plan", State.GOOD, str(path))


def _examine_centers(site: Site, system: SystemConfig) -> Iterator[Observation]:
    for name in site.config.centers:
        where = f"system {system.name} at center {name}"
        try:
            info = site.read_store(system, name).head("config")
        except ObjectNotFoundError:
            yield Observation(where, State.WARNING, "reachable, no repository yet", "govsec center init")
        except GovsecError as error:
            yield Observation(where, State.PROBLEM, str(error))
        else:
            if info.modified is not None and info.modified > site.clock.now() + _SKEW_MAX:
                yield Observation(
                    where,
                    State.PROBLEM,
                    f"an object of {format_time(info.modified)} lies in the future",
                    "set the clock",
                )
            else:
                yield _examine_repository(site, system, name, where)


def _examine_repository(site: Site, system: SystemConfig, center: str, where: str) -> Observation:
    if system.password_file is None:
        return Observation(where, State.GOOD, "reachable, holds a repository; no password at this site")
    try:
        site.repository(system, center)
    except GovsecError as error:
        return Observation(where, State.PROBLEM, str(error))
    return Observation(where, State.GOOD, "reachable, opens with this site's password")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:  # there, as far as anybody can tell; whoever opens it says what is wrong
        return True
    return True


def worst(observations: Iterable[Observation]) -> State:
    """The worst state among them; nothing observed is a problem."""
    order = [State.GOOD, State.WARNING, State.PROBLEM]
    return max((observation.state for observation in observations), key=order.index, default=State.PROBLEM)
