"""The guard of this machine put together: baseline, looks, detectors; and the baseline accepted, shown and compared.

Nothing here judges: it reads the configuration and hands objects to each other. What a machine's guard keeps lies below
``STATE_DIR/guard``: the baseline, the list of canaries and the habits of accounts. What people dismissed lies with that
of the network sensor: a pattern says what it is about.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from govsec.assemble.monitorlearned import dismissals_of
from govsec.clock import Clock
from govsec.config import Config, Model, explain
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, IntegrityError, LimitError, TryAgainError
from govsec.findings.baseline import Baseline
from govsec.findings.engine import Engine
from govsec.findings.quiet import Quiet
from govsec.guard.allowances import allowances_of
from govsec.guard.api import GuardRecord, Observation
from govsec.guard.canaries import Canaries
from govsec.guard.drift_tables import DriftTablesSettings
from govsec.guard.drifttables import SPECS, rows_of
from govsec.guard.filescan import FileScanner
from govsec.guard.filestate import marks_of
from govsec.guard.hostbaseline import BaselineStore, HostBaseline, KnownFiles, Scope
from govsec.guard.integrity import Integrity
from govsec.guard.keyview import KeyView
from govsec.guard.logview import LogView
from govsec.guard.moduleview import ModuleView
from govsec.guard.packagefiles import DebianFiles, PackageFiles
from govsec.guard.processview import ProcessView
from govsec.guard.registry import Site, build_detectors, read_settings
from govsec.guard.rpmfiles import RpmFiles
from govsec.guard.sampling import Sampler, SamplingSettings
from govsec.guard.watch import DEGRADED, HostGuard, Intervals
from govsec.host.settings import SweepSettings
from govsec.host.snapshot import take
from govsec.host.tables import TableName, Unavailable
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import Progress, ProgressSink, silent
from govsec.records import Finding

#: The number of the baseline that was in force last, beside the folder that it lies in.
_USED = "baseline-in-force"
_USED_SIZE_MAX = 100
_Settings = TypeVar("_Settings", bound=Model)


def compared_tables(config: Config) -> frozenset[TableName]:
    """The tables that a baseline keeps: those that ``guard.detectors.drift_tables`` compares, and accounts always.

    Raises:
        ConfigurationError: a setting of a detector is wrong.
    """
    settings = read_settings(config.guard.detectors)["drift_tables"]
    assert isinstance(settings, DriftTablesSettings)  # the registry names its model
    return frozenset(settings.tables if settings.enabled else ()) | {TableName.ACCOUNTS}


def sampling_of(config: Config) -> SamplingSettings:
    """How much is read of what is written. Raises ``ConfigurationError``."""
    return _settings(SamplingSettings, config.guard.sampling, "guard.sampling")


def sweeps_of(config: Config) -> SweepSettings:
    """Where the machine's files are searched. Raises ``ConfigurationError``."""
    return _settings(SweepSettings, config.guard.sweeps, "guard.sweeps")


def _settings(model: type[_Settings], given: Mapping[str, JsonValue], where: str) -> _Settings:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {explain(error)}") from error


def guard_folder(config: Config) -> Path:
    """Where the guard keeps what it knows."""
    return config.state_dir / "guard"


def baseline_store(config: Config) -> BaselineStore:
    """The baseline of this machine."""
    return BaselineStore(guard_folder(config) / "baseline")


def canaries_of(config: Config) -> Canaries:
    """The canaries of this machine, as listed now."""
    canaries = Canaries(guard_folder(config) / "canaries.json")
    canaries.refresh()
    return canaries


def trusted_keys(config: Config) -> TrustedKeys:
    """The keys that people pinned.

    Raises:
        ConfigurationError: no roots file is configured, or it cannot be read.
    """
    if config.signing.roots_file is None:
        raise ConfigurationError("signing.roots_file: without pinned keys no baseline can be verified")
    return TrustedKeys.load(config.signing.roots_file)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A baseline that was put in place."""

    baseline: HostBaseline
    digest: str
    left_out: Mapping[str, int]


def accept_baseline(
    config: Config, clock: Clock, *, by: str, root: Path = Path("/"), progress: ProgressSink = silent
) -> Accepted:
    """Take this machine as it is now for what it should be, signed.

    Raises:
        ConfigurationError: no key is configured, or it is no baseline key, or its public half is not pinned here.
        IntegrityError: a baseline lies there that was altered: remove it by hand, once you know why.
        TryAgainError: it cannot be written.
    """
    if config.signing.baseline_key_file is None:
        raise ConfigurationError(
            "signing.baseline_key_file: none is configured (govsec assess key --for baseline makes one)"
        )
    signer, trusted = Signer.load(config.signing.baseline_key_file, Purpose.BASELINE), trusted_keys(config)
    if all(key.key_id != signer.key_id or key.purpose is not Purpose.BASELINE for key in trusted):
        raise ConfigurationError(f"signing.roots_file: the baseline key {signer.key_id} is not pinned there")
    store = baseline_store(config)
    previous = store.digest()
    # Behind any that was in force: one that is taken away and accepted again is not taken for an older one.
    number = max(store.load(trusted).number if previous is not None else 0, _used_number(config)) + 1
    snapshot = take(clock, compared_tables(config), root=root, sweeps=sweeps_of(config))
    scanner = _scanner(config)
    packages = package_files(root)
    files = _read_files(scanner, packages, progress)
    keys = KeyView(config.guard.key_files, root)
    accounts = () if isinstance(snapshot.accounts, Unavailable) else snapshot.accounts
    preload = keys.preload(snapshot.time_ns)
    tables = {name.value: rows_of(snapshot, name) for name in SPECS}
    baseline = HostBaseline(
        host=snapshot.name,
        made=clock.now().replace(microsecond=0),
        made_by=by,
        number=number,
        previous=previous,
        scope=Scope(roots=config.guard.roots, exclude=config.guard.exclude),
        tables={name: rows for name, rows in tables.items() if not isinstance(rows, Unavailable)},
        unavailable={name: rows.reason for name, rows in tables.items() if isinstance(rows, Unavailable)},
        keys={
            file.path: tuple(fingerprint for fingerprint, _ in file.keys)
            for file in keys.look(snapshot.time_ns, accounts)
        },
        preload=preload.entries if preload is not None else (),
        packages=packages.versions() if packages is not None else {},
        left_out=dict(scanner.counts),
    )
    signed = store.save(baseline, files, signer)
    return Accepted(signed, store.digest() or "", dict(scanner.counts))


def drift(
    config: Config, clock: Clock, *, root: Path = Path("/"), progress: ProgressSink = silent
) -> tuple[HostBaseline, tuple[Finding, ...], Mapping[str, Mapping[str, int]]]:
    """This machine against its baseline, once: the baseline, what is not as accepted, and what was left out.

    Raises:
        ConfigurationError: there is no baseline, or no key to verify it with.
        IntegrityError: the baseline was altered.
    """
    store = baseline_store(config)
    baseline = store.load(trusted_keys(config))
    files = store.load_files(baseline)
    integrity = Integrity(baseline, files, _scanner(config, baseline.scope), package_files(root))
    site = Site(baseline=baseline, explain=integrity.explain)
    wanted = {"drift_tables", "drift_files", "authorized_keys", "preload", "root_account"}
    detectors = [one for one in build_detectors(config.guard.detectors, site) if one.name in wanted]
    engine = Engine(detectors, degraded_kind=DEGRADED, quiet=_quiet(config), findings_max=10_000)
    snapshot = take(clock, compared_tables(config), root=root, sweeps=sweeps_of(config))
    progress(Progress("files", 0, None, 0, len(files.states), "baseline"))
    look = integrity.everything(snapshot.time_ns)
    keys = KeyView(config.guard.key_files, root)
    accounts = () if isinstance(snapshot.accounts, Unavailable) else snapshot.accounts
    preload = keys.preload(snapshot.time_ns)
    records: tuple[GuardRecord, ...] = (
        snapshot,
        look,
        *keys.look(snapshot.time_ns, accounts),
        *([preload] if preload is not None else []),
    )
    findings = engine.observe(Observation(snapshot.time_ns, records))
    # What restarts is away for a moment: tables that want two snapshots are asked again.
    again = take(clock, {one for one in compared_tables(config) if SPECS[one].snapshots_min > 1}, root=root)
    findings += engine.observe(Observation(max(again.time_ns, snapshot.time_ns), (again,)))
    return baseline, findings, {"integrity": integrity.counters(), **engine.counters()}


def build_guard(
    config: Config, clock: Clock, *, habits: Baseline | None = None, followed: Sequence[Path] = ()
) -> HostGuard:
    """The guard of this machine, with its baseline when there is one. An altered one is a finding of its first step.

    ``followed``: logs that are read, and so must not lose what they hold, beside those of ``guard.logs``.

    Raises:
        ConfigurationError: a setting is wrong, or a baseline is there and no key to verify it with.
        FormatError, TryAgainError: what else is kept is damaged, or cannot be read now.
    """
    store, guard = baseline_store(config), config.guard
    canaries = canaries_of(config)
    baseline, integrity, refused = None, None, None
    if store.digest() is not None or _used_number(config):
        try:
            baseline = _in_force(config, store)
            integrity = Integrity(
                baseline, store.load_files(baseline), _scanner(config, baseline.scope), package_files()
            )
        except IntegrityError as error:
            baseline, refused = None, str(error)
    site = Site(
        canaries=canaries,
        habits=habits if habits is not None else open_habits(guard_folder(config) / "habits.sqlite"),
        baseline=baseline,
        **({"explain": integrity.explain} if integrity is not None else {}),
    )
    engine = Engine(build_detectors(guard.detectors, site), degraded_kind=DEGRADED, quiet=_quiet(config))
    return HostGuard(
        engine,
        Sampler(sampling_of(config)),
        canaries=canaries,
        integrity=integrity,
        logs=LogView(
            [*guard.logs, *(glob.escape(str(path)) for path in followed)],
            loose=guard.logs_rewritten,
            old_folders=guard.logs_old_folders,
            logs_max=guard.logs_max,
        ),
        keys=KeyView(guard.key_files),
        processes=ProcessView(),
        modules=ModuleView(),
        intervals=Intervals(guard.look_every_s, guard.pass_every_s),
        refused=refused,
        accepted=baseline.left_out if baseline is not None else {},
    )


def _in_force(config: Config, store: BaselineStore) -> HostBaseline:
    """The baseline, and none before the one that was in force last.

    Raises:
        IntegrityError: it was altered, taken away, or an older one was put in its place.
    """
    used = _used_number(config)
    if store.digest() is None:
        raise IntegrityError(f"baseline {used}, which was in force, is gone")
    baseline = store.load(trusted_keys(config))
    if baseline.number < used:
        raise IntegrityError(f"baseline {baseline.number} was put in the place of {used}, which was in force")
    if baseline.number > used:
        try:
            write_private(guard_folder(config) / _USED, f"{baseline.number}\n".encode())
        except OSError as error:
            raise TryAgainError(f"{guard_folder(config) / _USED}: {error.strerror}") from error
    return baseline


def _used_number(config: Config) -> int:
    """The number of the baseline that a guard used last; 0 before the first."""
    try:
        return int(read_bounded(guard_folder(config) / _USED, _USED_SIZE_MAX))
    except (OSError, LimitError, ValueError):
        return 0


def open_habits(path: Path) -> Baseline:
    """What is known of the habits of accounts, made when it is not there.

    Raises:
        FormatError: the file is none of ours. TryAgainError: it cannot be made or written.
    """
    try:
        make_private_directory(path.resolve().parent)
    except OSError as error:
        raise TryAgainError(f"{path.parent}: {error.strerror}") from error
    return Baseline(path)


def package_files(root: Path = Path("/")) -> PackageFiles | None:
    """The database of the packages that a system is made of; ``None`` where none is there that is read.

    Either manager can be installed as a mere tool on the other's systems: the one that has more packages made it.
    """
    found: list[PackageFiles] = [one for one in (DebianFiles(root), RpmFiles(root)) if one.is_there]
    if len(found) < 2:
        return found[0] if found else None
    most = max(found, key=lambda one: len(one.versions()))
    most.refresh()
    return most


def tables_for(config: Config, *, is_full: bool) -> frozenset[TableName]:
    """Which tables a guard wants in a snapshot: all it compares, or those that change by the minute."""
    quick = {TableName.PROCESSES, TableName.LISTENERS, TableName.ACCOUNTS, TableName.MODULES, TableName.TASKS}
    return compared_tables(config) | quick if is_full else frozenset(quick)


def _quiet(config: Config) -> Quiet:
    return Quiet(dismissals_of(config).read(), allowances_of(config.guard.allow))


def _scanner(config: Config, scope: Scope | None = None) -> FileScanner:
    """``scope``: what was accepted decides what is compared; a root that left the configuration is still guarded."""
    guard, own = config.guard, str(config.state_dir)
    roots, exclude = (guard.roots, guard.exclude) if scope is None else (scope.roots, scope.exclude)
    return FileScanner(
        roots,
        (*exclude, own, f"{own}/*"),
        files_max=guard.files_max,
        hash_size_max=guard.hash_size_max_mb << 20,
        pass_size_max=guard.pass_size_max_mb << 20,
    )


def _read_files(scanner: FileScanner, packages: PackageFiles | None, progress: ProgressSink) -> KnownFiles:
    states: dict[str, bytes] = {}
    size = 0
    for count, (path, status) in enumerate(scanner.walk()):
        states[path] = marks_of(status) + scanner.digest(path, status)
        size += status.st_size
        if not count % 1000:
            progress(Progress("files", size, None, count, None, path))
    return KnownFiles(states, packages.owners(states) if packages is not None else {})
