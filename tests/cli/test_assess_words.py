"""Tables of ``govsec assess`` and ``govsec system`` speak the reader's language, and levels are read as written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from govsec.assemble.assess import Assessor, run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.hosts import Collected
from govsec.assemble.systems import Site
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.policy.attest import Standing
from govsec.policy.riskreport import RiskChange
from govsec.records import Severity
from govsec.registerentry import Stage
from govsec.report.catalog import Catalogue


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a system of two hosts, and a stored run of one of them that did not answer."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "state").mkdir(mode=0o700)
    backups = [{"name": "files", "source": {"kind": "files", "paths": ["/srv"]}}]
    register = {"hosts": ["web-1", "db-1"], "level": 3, "s": 3, "a": 3, "stage": "running"}
    value = {
        "state_dir": str(folder / "state"),
        "hosts": {"web-1": {"address": "192.0.2.1"}, "db-1": {"address": "192.0.2.2"}},
        "systems": [{"name": "permits", "title": "审批系统", "register": register, "backups": backups}],
    }
    path = folder / "govsec.yaml"
    path.write_text(json.dumps(value), encoding="utf-8")
    site = Site(load_config(path), SystemClock())

    def silent(assessor: Assessor) -> list[Collected]:
        return [
            Collected(target, site.clock.now(), error="the host answered nothing") for target in assessor.scope.targets
        ]

    request = Request(hosts=("db-1",), packs=("sshd",), compare="", is_recorded=False)
    run_assessment(site, request, collected=silent)
    return path


def _shown(config: Path, capsys: pytest.CaptureFixture[str], *argv: str, lang: str = "zh") -> str:
    main([*argv, "--config", str(config), "--lang", lang, "-q"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "zh", "en"),
    [
        (("assess", "list"), ("编号", "范围", "部分主机、部分检查包", "未核对"), ("extent", "some hosts")),
        (("assess", "show"), ("未评估 web-1", "主机没有任何回答"), ("web-1 not assessed", "answered nothing")),
        (("assess", "expiring"), ("没有即将到期",), ("nothing ends soon",)),
        (("assess", "plan"), ("项探测", "检查包", "主机"), ("probes in one script",)),
        (("assess", "pack", "list"), ("检查包", "来源"), ("trust",)),
        (("assess", "catalog", "--item", "8.1.4.9"), ("可否自动判定",), ("program decides",)),
        (("system", "list"), ("责任单位", "运行"), ("owner", "running")),
        (("system", "launch"), ("不能上线", "没有这些主机的事实：web-1, db-1"), ("may NOT go into service",)),
        (("system", "findings"), ("级别", "摘要"), ("severity",)),
    ],
)
def test_tables_speak_the_readers_language(
    config: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], zh: tuple[str, ...], en: tuple[str, ...]
) -> None:
    chinese, english = (_shown(config, capsys, *argv, lang=lang) for lang in ("zh", "en"))

    assert [words for words in zh if words not in chinese] == []
    assert [words for words in en if words not in english] == []
    assert not re.search(r"\b(run|system|level|owner|coverage|probes|record|severity)\b", chinese.splitlines()[0])


def test_a_run_that_no_ledger_vouches_for_is_told_so(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text(json.dumps({"state_dir": str(config.parent / "state")}), encoding="utf-8")

    assert "未存证" in _shown(bare, capsys, "assess", "verify")
    assert "NOT on record" in _shown(bare, capsys, "assess", "verify", lang="en")


def test_every_code_that_is_printed_has_words() -> None:
    changes = RiskChange.model_fields["direction"].annotation
    codes = {
        "standing": [one.value for one in Standing],
        "severity": [one.name.lower() for one in Severity],
        "stage": [one.value for one in Stage],
        "direction": list(changes.__args__),  # type: ignore[union-attr]
        "flaw": ["altered", "missing", "strange"],
    }
    for lang in ("zh", "en"):
        words = Catalogue("assess", lang)  # type: ignore[arg-type]
        assert [
            f"{part}.{code}" for part, names in codes.items() for code in names if not words.has(f"{part}.{code}")
        ] == []
    assert Catalogue("assess", "zh").keys() == Catalogue("assess", "en").keys()


@pytest.mark.parametrize("level", ["第二级", "二级", "2", "S2A1", "S2A1G2", "第二级（S2A1）"])
def test_levels_are_taken_as_people_write_them(config: Path, capsys: pytest.CaptureFixture[str], level: str) -> None:
    shown = json.loads(_shown(config, capsys, "assess", "catalog", "--level", level, "--json"))

    assert {item["id"].split(".")[0] for item in shown["items"]} <= {"6", "7"}
    assert any(item["id"].startswith("7.") for item in shown["items"])


def test_what_is_no_level_is_a_slip_of_the_pen(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assess", "plan", "--level", "第五级", "--config", str(config)]) == 2
    assert "第五级" in capsys.readouterr().err
