"""govsec: backup over three centers, drills, monitoring, graded protection and incidents for government clouds.

The public interface is what ``docs/api.md`` lists. A name is loaded when it is first asked for, so that
``import govsec`` costs nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from govsec.assemble.centers import commit_result as commit_result
    from govsec.assemble.hostview import host_snapshot as host_snapshot
    from govsec.assemble.incidentboard import IncidentBoard as IncidentBoard
    from govsec.assemble.inventory import match_packages as match_packages
    from govsec.assemble.inventory import read_inventory as read_inventory
    from govsec.assemble.inventory import sbom_of as sbom_of
    from govsec.assemble.monitor import Sensor as Sensor
    from govsec.assemble.monitor import replay as replay
    from govsec.assemble.services import SiteServices as SiteServices
    from govsec.backup.archive import archive as archive
    from govsec.backup.restore import restore as restore
    from govsec.backup.sources import CommandSource as CommandSource
    from govsec.backup.sources import FileSource as FileSource
    from govsec.backup.sources import StreamSource as StreamSource
    from govsec.backup.witness import observe as observe
    from govsec.backup.witness import save_witness as save_witness
    from govsec.centers.commits import SnapshotRef as SnapshotRef
    from govsec.centers.init import initialise as initialise
    from govsec.centers.near import Change as Change
    from govsec.centers.near import Near as Near
    from govsec.centers.ship import ship as ship
    from govsec.centers.state import States as States
    from govsec.clock import SystemClock as SystemClock
    from govsec.config import Config as Config
    from govsec.config import Mode as Mode
    from govsec.config import MonitorConfig as MonitorConfig
    from govsec.config import Role as Role
    from govsec.config import load_config as load_config
    from govsec.crypto.signing import Purpose as Purpose
    from govsec.crypto.signing import Signer as Signer
    from govsec.crypto.signing import TrustedKeys as TrustedKeys
    from govsec.drill.centers import DrillCenter as DrillCenter
    from govsec.drill.plan import Plan as Plan
    from govsec.drill.plan import load_plan as load_plan
    from govsec.drill.result import Verdict as Verdict
    from govsec.drill.run import Desk as Desk
    from govsec.drill.run import run_drill as run_drill
    from govsec.errors import GovsecError as GovsecError
    from govsec.host.record import host_record as host_record
    from govsec.host.tables import HostSnapshot as HostSnapshot
    from govsec.host.tables import Unavailable as Unavailable
    from govsec.ledger.ledger import Ledger as Ledger
    from govsec.net.capturefile import CaptureFile as CaptureFile
    from govsec.notice.inbox import WebhookInbox as WebhookInbox
    from govsec.records import Evidence as Evidence
    from govsec.records import Finding as Finding
    from govsec.records import Notice as Notice
    from govsec.records import Severity as Severity
    from govsec.repo.repository import Repository as Repository
    from govsec.repo.repository import WritableRepository as WritableRepository
    from govsec.store.local import LocalStore as LocalStore
    from govsec.store.memory import MemoryStore as MemoryStore
    from govsec.store.s3 import S3Store as S3Store

#: Where each public name lives.
_HOMES = {
    "CaptureFile": "govsec.net.capturefile",
    "Change": "govsec.centers.near",
    "CommandSource": "govsec.backup.sources",
    "Config": "govsec.config",
    "Desk": "govsec.drill.run",
    "DrillCenter": "govsec.drill.centers",
    "Evidence": "govsec.records",
    "FileSource": "govsec.backup.sources",
    "Finding": "govsec.records",
    "GovsecError": "govsec.errors",
    "HostSnapshot": "govsec.host.tables",
    "IncidentBoard": "govsec.assemble.incidentboard",
    "Ledger": "govsec.ledger.ledger",
    "LocalStore": "govsec.store.local",
    "MemoryStore": "govsec.store.memory",
    "Mode": "govsec.config",
    "MonitorConfig": "govsec.config",
    "Near": "govsec.centers.near",
    "Notice": "govsec.records",
    "Plan": "govsec.drill.plan",
    "Purpose": "govsec.crypto.signing",
    "Repository": "govsec.repo.repository",
    "Role": "govsec.config",
    "S3Store": "govsec.store.s3",
    "Sensor": "govsec.assemble.monitor",
    "Severity": "govsec.records",
    "Signer": "govsec.crypto.signing",
    "SiteServices": "govsec.assemble.services",
    "SnapshotRef": "govsec.centers.commits",
    "States": "govsec.centers.state",
    "StreamSource": "govsec.backup.sources",
    "SystemClock": "govsec.clock",
    "TrustedKeys": "govsec.crypto.signing",
    "Unavailable": "govsec.host.tables",
    "Verdict": "govsec.drill.result",
    "WebhookInbox": "govsec.notice.inbox",
    "WritableRepository": "govsec.repo.repository",
    "archive": "govsec.backup.archive",
    "commit_result": "govsec.assemble.centers",
    "host_record": "govsec.host.record",
    "host_snapshot": "govsec.assemble.hostview",
    "initialise": "govsec.centers.init",
    "load_config": "govsec.config",
    "load_plan": "govsec.drill.plan",
    "match_packages": "govsec.assemble.inventory",
    "observe": "govsec.backup.witness",
    "read_inventory": "govsec.assemble.inventory",
    "replay": "govsec.assemble.monitor",
    "restore": "govsec.backup.restore",
    "run_drill": "govsec.drill.run",
    "save_witness": "govsec.backup.witness",
    "sbom_of": "govsec.assemble.inventory",
    "ship": "govsec.centers.ship",
}

__all__ = sorted(_HOMES)

# Without it Python prints warnings of a library whose user has not configured logging. `govsec -v` shows the log.
logging.getLogger("govsec").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'govsec' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
