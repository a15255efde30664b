"""``monitor host``: a recorded machine and this one, as words in both languages and as data."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

import govsec
from govsec.cli.main import main
from govsec.report.catalog import Catalogue
from govsec.report.hostwords import reason_words
from govsec.testing.dercertificates import make_certificate
from tests.host.machines import RecordedMachine, record


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    made = record(tmp_path)
    made.write("/var/lib/dpkg/status", "Package: acl\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
    made.process(666, b"evil\x1b]0;\xff", command=b"mysql\0-psecret99\0\x1b[2J\0", parent=40)
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["monitor", "host", *words]) == 0
    return capsys.readouterr().out


def test_the_overview_names_what_matters_in_both_languages(
    machine: RecordedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    english = said(capsys, "--root", str(machine.root), "--lang", "en")
    chinese = said(capsys, "--root", str(machine.root), "--lang", "zh")

    assert "portal-3 · Debian 12 · kernel 6.1.0-18-amd64" in english
    assert "Listening (3, 2 reachable from other machines)" in english
    assert re.search(r"tcp +\[::\]:22 +yes +sshd \(40\) +root", english)
    assert "with the rights of root: root" in english
    assert "not signed: rootkit" in english
    assert "file systems: network or user-space file system, not asked (2)" in english
    assert "监听（3 个，其中 2 个其他机器可达）" in chinese
    assert "文件系统：网络或用户态文件系统，未查询（2）" in chinese


def test_certificates_are_searched_where_the_configuration_says(
    machine: RecordedMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begins, ends = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 5, 6, tzinfo=UTC)
    der = make_certificate(Random(1), subject="portal", issuer="ca", not_before=begins, not_after=ends)
    machine.write("/srv/tls/portal.cer", der)
    config = tmp_path / "govsec.yaml"
    config.write_text(
        f"version: 1\nstate_dir: {tmp_path}/state\nguard: {{sweeps: {{certificate_folders: [/srv/tls]}}}}\n"
    )
    words = ["--root", str(machine.root), "--table", "certificates", "--json"]

    assert "portal.cer" not in said(capsys, *words)
    assert "portal.cer" in said(capsys, *words, "--config", str(config))


def test_nothing_of_a_hostile_process_steers_the_terminal_and_no_secret_is_printed(
    machine: RecordedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(machine.root)]
    table = said(capsys, *root, "--table", "processes", "--lang", "en")
    data = said(capsys, *root, "--table", "processes", "--json")

    assert "\x1b" not in table + data
    assert "secret99" not in table + data
    assert "evil" in table and "[cut]" in table
    hostile = next(row for row in json.loads(data)["tables"]["processes"] if row["key"]["pid"] == 666)
    assert hostile["name"] == "evil\x1b]0;\\xff"
    assert hostile["command"].startswith("mysql -p[cut]")


def test_tables_are_printed_whole_or_as_many_rows_as_asked_for(
    machine: RecordedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    every = said(capsys, "--root", str(machine.root), "--table", "processes", "--table", "disks", "--lang", "en")
    few = said(capsys, "--root", str(machine.root), "--table", "processes", "--count", "2", "--lang", "en")

    assert "# processes" in every and "# file systems" in every
    assert "5 of 5 rows" in every
    assert "2 of 5 rows" in few
    assert main(["monitor", "host", "--table", "secrets"]) == 2
    assert main(["monitor", "host", "--count", "0"]) == 2
    assert main(["monitor", "host", "--root", str(machine.root / "etc/passwd")]) == 3


def test_every_table_can_be_printed_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    from govsec.host.snapshot import QUICK_TABLES

    words = [word for table in sorted(QUICK_TABLES) for word in ("--table", table)]
    printed = said(capsys, *words, "--count", "3", "--lang", "en")

    assert printed.count("\n# ") + 1 + len(re.findall(r"^[a-z -]+: ", printed, re.MULTILINE)) >= len(QUICK_TABLES)
    data = json.loads(said(capsys, "--json"))
    assert data["format"] == "govsec.host.v1"
    assert isinstance(data["tables"]["processes"], list)
    assert data["tables"]["privileged"] == {"unavailable": "not asked for"}


def test_the_library_gives_the_same_machine(machine: RecordedMachine) -> None:
    snapshot = govsec.host_snapshot(["listeners"], root=machine.root)
    value: Any = govsec.host_record(snapshot)

    assert not isinstance(snapshot.listeners, govsec.Unavailable)
    assert [listener.port for listener in snapshot.listeners] == [22, 68, 5432]
    assert [listener["name"] for listener in value["tables"]["listeners"]] == ["sshd", None, "postgres"]
    with pytest.raises(govsec.GovsecError, match="no table"):
        govsec.host_snapshot(["secrets"])


def test_every_reason_of_a_gap_has_words_in_chinese() -> None:
    words = Catalogue("host", "zh")
    found = set()
    for path in (Path(govsec.__file__).parent / "host").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("gaps.add", "count_gap")):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        found.add(argument.value)
                    elif isinstance(argument, ast.JoinedStr):
                        first, *rest = argument.values
                        assert isinstance(first, ast.Constant)
                        found.add(
                            f"{first.value}77" + "".join(str(v.value) for v in rest if isinstance(v, ast.Constant))
                        )

    assert len(found) > 25, "hardly any reason was found"
    assert {reason for reason in found if reason_words(reason, words).isascii()} == set()


def test_the_posture_is_written_as_a_page_that_only_its_owner_reads(
    machine: RecordedMachine, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path_factory.mktemp("out") / "posture.html"
    said(capsys, "--root", str(machine.root), "--html", str(out), "--lang", "en")

    assert out.stat().st_mode & 0o777 == 0o600
    page = out.read_text(encoding="utf-8")
    assert "Host Posture Report" in page and "portal-3" in page
    assert "no vulnerability data were given" in page
    assert main(["monitor", "host", "--data", "x.json"]) == 2
    assert main(["monitor", "host", "--root", str(machine.root), "--html", "/proc/none/x.html"]) == 3
