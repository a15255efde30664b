"""The demo: a sample system, three directories as three centers, two lost, and a drill that proves the third.

Nothing here is special to the demo but the sample data and the losses: it writes a configuration, and then calls what
``govsec center init``, ``backup run``, ``center ship``, ``drill run`` and ``ledger verify`` call.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from govsec.assemble.backup import run_job
from govsec.assemble.centers import init_centers, ship_to
from govsec.assemble.drill import DrillRun, run_plan
from govsec.assemble.plans import find_plan
from govsec.assemble.sample import DATABASE, DOCUMENTS, write_day
from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import load_config
from govsec.drill.result import Reason
from govsec.errors import ConfigurationError, RefusedError, SourceError
from govsec.ledger.verify import LedgerReport, verify
from govsec.progress import ProgressSink, silent

SYSTEM = "permits"
_JOB = "files"
_NOT_ISOLATED = "unisolated"
#: The three centers of the demo and their roles.
CENTERS = {"main": "production", "near": "same_city", "far": "remote"}
_SITES = {"main": "主机房", "near": "同城机房", "far": "异地机房"}
T = TypeVar("T")


#: Tells a person how the story goes on: a key of the message catalogue ``demo`` and its facts.
Tell = Callable[[str, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo came to."""

    directory: Path
    verdict: str
    reasons: tuple[Reason, ...]
    recovery_point_age_s: float | None
    restore_time_s: float | None
    reports: tuple[Path, ...]
    ledger_is_clean: bool
    ledger_entries_count: int
    seconds: dict[str, float]

    @property
    def is_passed(self) -> bool:
        """True when the data came back, by a ledger that verifies.

        Who is not root cannot isolate what the plan starts; that makes a drill partial, and is no fault of the data.
        """
        is_proved = all(reason.code == _NOT_ISOLATED for reason in self.reasons)
        return self.verdict in ("pass", "partial") and is_proved and self.ledger_is_clean


def make_directory(directory: Path | None) -> Path:
    """A new directory for the demo: ``directory``, or one under the system's temporary directory.

    Raises:
        RefusedError: there is something in it already.
        ConfigurationError: it cannot be made.
    """
    try:
        if directory is None:
            return Path(tempfile.mkdtemp(prefix="govsec-demo-"))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RefusedError(f"{directory}: is not empty; the demo only takes a directory of its own")
        return directory.resolve()
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error


def write_site(directory: Path, centers: Mapping[str, object], source: Path) -> Path:
    """Write password, plan and configuration of the sample system into ``directory``; the configuration's path."""
    keys = directory / "keys"
    keys.mkdir(mode=0o700)
    _write_secret(keys / "password", secrets.token_urlsafe(24))
    config = {
        "organization": "示例市大数据局",
        "state_dir": "state",
        "centers": centers,
        "signing": {
            "commit_key_file": "keys/commit.key",
            "evidence_key_file": "keys/evidence.key",
            "roots_file": "roots.yaml",
        },
        "notify": {
            "channels": {"file": {"kind": "file", "path": "notices.jsonl"}},
            "routes": [{"channels": ["file"]}],
        },
        "systems": [
            {
                "name": SYSTEM,
                "title": "示例：行政许可系统",
                "password_file": "keys/password",
                "mode": "maximum-protection",
                "objectives": {"rpo_s": 3600, "rto_s": 600},
                "retention": {"keep_within": "30d"},
                "register": {
                    "kind": "service_hall",
                    "owner": "示例市大数据局",
                    "level": 3,
                    "s": 3,
                    "a": 3,
                    # This machine plays the system's only host.
                    "hosts": ["local"],
                    "data": [{"name": "许可档案", "level": "general", "jobs": [_JOB]}],
                },
                "backups": [{"name": _JOB, "source": {"kind": "files", "paths": [str(source)]}}],
                "plans": ["plan.yaml"],
            }
        ],
    }
    (directory / "state").mkdir(mode=0o700)
    (directory / "plan.yaml").write_text(_json(_plan(source)), encoding="utf-8")
    path = directory / "govsec.yaml"
    path.write_text(_json(config), encoding="utf-8")
    return path


def local_centers(directory: Path) -> dict[str, object]:
    """Three directories as three centers, made here, as the configuration writes them."""
    for name in CENTERS:
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    return {
        name: {
            "role": role,
            "store": {"kind": "local", "path": str(directory / name)},
            "site": _SITES[name],
            "region": "CN",
        }
        for name, role in CENTERS.items()
    }


def _plan(source: Path) -> dict[str, object]:
    """The recovery plan: everything back from remote, every file compared, the database asked."""
    database = f"{source}/{DATABASE}"
    return {
        "name": "lose-the-city",
        "title": "生产与同城同时丢失",
        "system": SYSTEM,
        "scenario": {"kind": "lose_production_and_same_city"},
        "expect": {"paths": [database, f"{source}/{DOCUMENTS}"], "files_min": 100, "bytes_min": 1 << 20},
        # Who is not root cannot take the network away from a program; the report says that nothing was isolated.
        "isolation": {"allow_unisolated": os.geteuid() != 0},
        "steps": [
            {"name": "restore", "kind": "restore", "timeout_s": 300},
            {"name": "content", "kind": "probe", "timeout_s": 300, "probe": {"kind": "content"}},
            {"name": "nonce", "kind": "probe", "timeout_s": 60, "probe": {"kind": "nonce"}},
            {
                "name": "database",
                "kind": "probe",
                "timeout_s": 60,
                "probe": {
                    "kind": "sqlite",
                    "path": database,
                    "query": "SELECT count(*) FROM permits WHERE day = 2",
                    "minimum": 1000,
                },
            },
        ],
    }


def run_demo(
    config_path: Path,
    source: Path,
    clock: Clock,
    *,
    tell: Tell,
    lose: Callable[[], None],
    operator: str = "govsec demo",
    documents_count: int = 3000,
    progress: ProgressSink = silent,
) -> DemoResult:
    """Tell the whole story for the site that :func:`write_site` wrote; ``lose`` takes the near centers away.

    Raises:
        GovsecError: as whatever step raises; what was made so far is left for a person to look at.
    """
    story = _Story(Site(load_config(config_path), clock), source, tell, progress)
    story.step("sample", lambda: story.work(1, documents_count))
    story.step("init", story.init)
    story.step("backup", lambda: story.back_up(1))
    story.step("ship", story.ship)
    story.step("second_day", lambda: story.work(2, documents_count // 15))
    story.step("second_backup", lambda: story.back_up(2))
    story.step("second_ship", story.ship)
    lose()
    tell("loss", {})
    drill = story.step("drill", lambda: story.drill(operator))
    measures = drill.result.measures
    if measures.recovery_point_age_s is not None and measures.restore_time_s is not None:
        tell("measured", measures.model_dump(include={"recovery_point_age_s", "restore_time_s"}))
    tell(f"drill_{drill.result.verdict.value}", {})
    report = story.step("ledger", story.verify_ledger)
    return DemoResult(
        directory=config_path.parent,
        verdict=drill.result.verdict.value,
        reasons=drill.result.reasons,
        recovery_point_age_s=measures.recovery_point_age_s,
        restore_time_s=measures.restore_time_s,
        reports=tuple(path for path in drill.files if path.suffix == ".html"),
        ledger_is_clean=report.is_clean,
        ledger_entries_count=report.entries_count,
        seconds=story.seconds,
    )


def lose_directories(directory: Path) -> None:
    """Take production, same-city and the system itself away, so that nothing can be read from where it was.

    Raises:
        SourceError: one of them cannot be renamed.
    """
    for name in ("main", "near", "system"):
        try:
            (directory / name).rename(directory / f"{name}.lost")
        except OSError as error:
            raise SourceError(f"{directory / name}: {error.strerror}") from error


class _Story:
    """The steps, with what they have in common: the site, the system, and how long each took."""

    def __init__(self, site: Site, source: Path, tell: Tell, progress: ProgressSink) -> None:
        self.site = site
        self.system = site.system(SYSTEM)
        self.source = source
        self.tell = tell
        self.progress = progress
        self.seconds: dict[str, float] = {}

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Do ``work`` and note how long it took."""
        began = self.site.clock.monotonic()
        result = work()
        self.seconds[name] = round(self.site.clock.monotonic() - began, 3)
        return result

    def work(self, day: int, documents_count: int) -> None:
        """Let the sample system work for a day."""
        sample = write_day(self.source, day, documents_count=documents_count, progress=self.progress)
        facts = {"files_count": sample.files_count, "content_bytes": sample.size_bytes, "rows_count": sample.rows_count}
        self.tell("sample" if day == 1 else "work", facts)

    def init(self) -> None:
        """Signing keys, roots, and one repository at every center."""
        init_centers(self.site, self.system)
        self.tell("init", {"system": self.system.name})

    def back_up(self, number: int) -> None:
        """Back up to production and same-city; the mode asks for both."""
        began = self.site.clock.monotonic()
        report = run_job(self.site, self.system, self.system.backups[0], progress=self.progress)
        assert report.receipt is not None  # run_job gives one for every configured system
        facts = {
            "number": number,
            "snapshot": report.result.snapshot.short_id,
            "elapsed_s": self.site.clock.monotonic() - began,
            "centers": ", ".join(report.receipt.held_by),
        }
        self.tell("backup", facts)

    def ship(self) -> None:
        """The remote side pulls."""
        report = ship_to(self.site, self.system, "far", progress=self.progress).report
        facts = {
            "objects_count": report.objects_count,
            "content_bytes": report.bytes_count,
            "elapsed_s": report.seconds,
        }
        self.tell("ship", facts)

    def drill(self, operator: str) -> DrillRun:
        """Follow the plan, sign the record, write the reports."""
        plan = find_plan(self.site, None)
        output = self.site.config.state_dir.parent / "reports"
        return run_plan(self.site, plan, operator=operator, output=output, progress=self.progress)

    def verify_ledger(self) -> LedgerReport:
        """Verify the evidence at the center that is left."""
        report = verify([self.site.read_store(self.system, "far")], self.site.trusted())
        if report.is_clean:
            self.tell("ledger", {"entries_count": report.entries_count})
        return report


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")


def _json(value: object) -> str:
    # JSON is YAML; keys keep the order that a reader expects.
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
