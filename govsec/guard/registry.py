"""All detectors of a host, by the name that the configuration gives them, with their settings.

One idea: this table is the only place that knows which detectors there are. A new detector is a file and a line here;
its settings are then read, checked and printed with all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from govsec.findings.api import Settings
from govsec.findings.baseline import Baseline
from govsec.findings.configured import read_settings as configured_settings
from govsec.findings.configured import settings_schema as schema_of
from govsec.guard.api import Detector, Explanation
from govsec.guard.authorized_keys import AuthorizedKeys, AuthorizedKeysSettings
from govsec.guard.baseline_refused import BaselineRefusedSettings, RefusedBaseline
from govsec.guard.drift_files import DriftFiles, DriftFilesSettings
from govsec.guard.drift_tables import DriftTables, DriftTablesSettings
from govsec.guard.events_lost import EventsLostSettings, LostEvents
from govsec.guard.hidden_module import HiddenModules, HiddenModuleSettings
from govsec.guard.hidden_process import HiddenProcesses, HiddenProcessSettings
from govsec.guard.hostbaseline import HostBaseline
from govsec.guard.log_truncated import LogTruncated, LogTruncatedSettings
from govsec.guard.login_guessing import LoginGuessing, LoginGuessingSettings
from govsec.guard.login_habits import LoginHabits, LoginHabitsSettings
from govsec.guard.loose_image import LooseImages, LooseImageSettings
from govsec.guard.preload import Preload, PreloadSettings
from govsec.guard.ransom_canary import RansomCanary, RansomCanarySettings
from govsec.guard.ransom_deletes import RansomDeletes, RansomDeletesSettings
from govsec.guard.ransom_entropy import RansomEntropy, RansomEntropySettings
from govsec.guard.ransom_renames import RansomRenames, RansomRenamesSettings
from govsec.guard.root_account import RootAccount, RootAccountSettings


def _unexplained(path: str) -> Explanation | None:
    return None


@dataclass(frozen=True, slots=True)
class Site:
    """What detectors need to know of the machine that they work for."""

    canaries: Sized = ()
    habits: Baseline = field(default_factory=Baseline)
    #: ``None``: nothing was accepted yet, so nothing can drift from it.
    baseline: HostBaseline | None = None
    explain: Callable[[str], Explanation | None] = _unexplained


@dataclass(frozen=True, slots=True)
class Entry:
    """A detector: the model of its settings, and how it is made."""

    settings: type[Settings]
    build: Callable[[Any, Site], Detector | None]


def _drift_tables(settings: DriftTablesSettings, site: Site) -> Detector | None:
    return DriftTables(settings, site.baseline, site.explain) if site.baseline is not None else None


def _root_account(settings: RootAccountSettings, site: Site) -> Detector:
    accounts = site.baseline.tables.get("accounts") if site.baseline is not None else None
    if accounts is None:
        return RootAccount(settings)
    known = {name for name, row in accounts.items() if row.get("uid") == 0}
    for name, row in accounts.items():
        groups = row.get("groups")
        known |= (
            {f"{name}:{group}" for group in groups if group in settings.groups} if isinstance(groups, list) else set()
        )
    return RootAccount(settings, known)


def _keys(settings: AuthorizedKeysSettings, site: Site) -> Detector:
    if site.baseline is None:
        return AuthorizedKeys(settings)
    return AuthorizedKeys(settings, {path: frozenset(keys) for path, keys in site.baseline.keys.items()})


def _preload(settings: PreloadSettings, site: Site) -> Detector:
    return Preload(settings, site.baseline.preload if site.baseline is not None else None)


DETECTORS: Mapping[str, Entry] = {
    "ransom_canary": Entry(RansomCanarySettings, lambda settings, site: RansomCanary(settings, site.canaries)),
    "ransom_renames": Entry(RansomRenamesSettings, lambda settings, _: RansomRenames(settings)),
    "ransom_entropy": Entry(RansomEntropySettings, lambda settings, _: RansomEntropy(settings)),
    "ransom_deletes": Entry(RansomDeletesSettings, lambda settings, _: RansomDeletes(settings)),
    "log_truncated": Entry(LogTruncatedSettings, lambda settings, _: LogTruncated(settings)),
    "hidden_process": Entry(HiddenProcessSettings, lambda settings, _: HiddenProcesses(settings)),
    "hidden_module": Entry(HiddenModuleSettings, lambda settings, _: HiddenModules(settings)),
    "preload": Entry(PreloadSettings, _preload),
    "root_account": Entry(RootAccountSettings, _root_account),
    "authorized_keys": Entry(AuthorizedKeysSettings, _keys),
    "loose_image": Entry(LooseImageSettings, lambda settings, _: LooseImages(settings)),
    "login_guessing": Entry(LoginGuessingSettings, lambda settings, _: LoginGuessing(settings)),
    "login_habits": Entry(LoginHabitsSettings, lambda settings, site: LoginHabits(settings, site.habits)),
    "drift_tables": Entry(DriftTablesSettings, _drift_tables),
    "drift_files": Entry(DriftFilesSettings, lambda settings, _: DriftFiles(settings)),
    "baseline_refused": Entry(BaselineRefusedSettings, lambda settings, _: RefusedBaseline(settings)),
    "events_lost": Entry(EventsLostSettings, lambda settings, _: LostEvents(settings)),
}


_MODELS = {name: entry.settings for name, entry in DETECTORS.items()}


def read_settings(configured: Mapping[str, Mapping[str, JsonValue]]) -> dict[str, Settings]:
    """The settings of all detectors, ``configured`` in place of defaults.

    Raises:
        ConfigurationError: no such detector, no such setting, or a value out of its bounds; names it.
    """
    return configured_settings("guard.detectors", _MODELS, configured)


def build_detectors(configured: Mapping[str, Mapping[str, JsonValue]], site: Site) -> list[Detector]:
    """All enabled detectors that have what they need, in the order of the table.

    Raises:
        ConfigurationError: as :func:`read_settings`.
    """
    settings = read_settings(configured)
    made = [DETECTORS[name].build(settings[name], site) for name in DETECTORS if settings[name].enabled]
    return [detector for detector in made if detector is not None]


def settings_schema() -> dict[str, Any]:
    """JSON Schema of ``guard.detectors``."""
    return schema_of(_MODELS)
