"""What is installed with the agents: units that systemd accepts and finds tight, a manual page that man renders."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import govsec_agents
import pytest

from govsec.assemble.dutyrules import placing_rules
from govsec.assemble.dutysources import sources_of
from govsec.cli.main import build_parser
from govsec.config import load_config
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk
from govsec.incident.rulepack import shipped_packs
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock
from tests.support.require import require

AGENTS = Path(govsec_agents.__path__[0])
UNITS = ("govsec-host", "govsec-network")
#: Root as well, and without any capability.
DUTY = "govsec-duty"
#: Exposure by `systemd-analyze security`, in tenths: 0 is none, 100 all. Both run as root, and say why; a change that
#: opens them further goes red.
EXPOSURE_MAX = 40
PAGE = AGENTS / "man" / "govsec-agent.8"


def copied(name: str, folder: Path) -> Path:
    """The unit with a program that is there, for systemd looks for it."""
    text = (AGENTS / "units" / f"{name}.service").read_text(encoding="utf-8")
    copy = folder / f"{name}.service"
    copy.write_text(text.replace("/opt/govsec/bin/govsec", "/bin/true"), encoding="utf-8")
    return copy


@pytest.mark.parametrize("name", [*UNITS, DUTY])
def test_systemd_understands_every_line_of_the_unit(name: str, tmp_path: Path) -> None:
    program = require("systemd-analyze")
    done = subprocess.run(
        [program, "verify", "--man=no", copied(name, tmp_path)], capture_output=True, text=True, check=False
    )

    assert [line for line in done.stderr.splitlines() if name in line] == []


@pytest.mark.parametrize("name", [*UNITS, DUTY])
def test_the_unit_exposes_no_more_than_it_must(name: str, tmp_path: Path) -> None:
    program = require("systemd-analyze")
    argv = [program, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*argv, copied(name, tmp_path)], capture_output=True, text=True, check=False)

    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", UNITS)
def test_every_capability_of_the_unit_is_explained_in_it(name: str) -> None:
    text = (AGENTS / "units" / f"{name}.service").read_text(encoding="utf-8")
    line = re.search(r"^CapabilityBoundingSet=(.+)$", text, re.M)
    assert line is not None
    comments = "\n".join(row for row in text.splitlines() if row.startswith("#"))

    assert [each for each in line[1].split() if each not in comments] == []
    assert "NoNewPrivileges=yes" in text
    assert re.search(r"^WatchdogSec=", text, re.M) and re.search(r"^MemoryMax=", text, re.M)


def test_the_duty_daemon_has_no_capability_and_its_configuration_is_one_that_it_takes() -> None:
    text = (AGENTS / "units" / f"{DUTY}.service").read_text(encoding="utf-8")
    assert re.search(r"^CapabilityBoundingSet=$", text, re.M) and "NoNewPrivileges=yes" in text
    config = load_config(AGENTS / "config" / "duty.yaml")
    desk = Desk(MemoryCases(), shipped_packs(), shipped_deadlines(), FakeClock())
    rules = placing_rules(config, desk)
    assert rules.services["portal"].down_field == "portal_down_h"
    assert [source.name for source in sources_of(config)] == ["host", "network"]


def test_man_renders_the_page_without_a_warning() -> None:
    program = require("man")
    done = subprocess.run(
        [program, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", PAGE], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_every_verb_and_option_of_the_program() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
    for verb in ("run", "status", "selftest", "reload", "findings"):
        assert build_parser().parse_args(["agent", verb, "host"]).agent == "host"
        assert f"govsec agent {verb}" in page
    assert "--limit" in page and "--after" in page


def test_the_page_and_the_units_are_installed_with_the_package() -> None:
    text = (AGENTS.parent / "pyproject.toml").read_text(encoding="utf-8")
    line = next(row for row in text.splitlines() if row.startswith("govsec_agents = ["))

    assert '"**/*.service"' in line and '"**/*.8"' in line
