"""``govsec assess`` on a small real site: what a run says, what is stored, and that nobody can change it unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble import demo
from govsec.assemble.assess import run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.bare import site_or_bare
from govsec.assemble.runs import entry_of
from govsec.assemble.systems import Site
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.collect.facts import load_facts
from govsec.config import Config, load_config
from govsec.errors import ConfigurationError
from govsec.policy.results import Verdict
from govsec.policy.runfolder import open_run, read_assessment

# Captured once: the facts of this machine are asked for by the first run alone, all others judge what it stored.
ITEM = "8.1.4.9.a"


@dataclass(frozen=True)
class Assessed:
    directory: Path
    code: int
    facts: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.directory / "govsec.yaml"

    @property
    def stored(self) -> Path:
        return Path(self.facts["directory"])

    @property
    def host_facts(self) -> Path:
        return next((self.directory / "facts").glob("*.json"))

    def run(self, *argv: str) -> int:
        return main(["assess", *argv, "--config", str(self.config)])


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> Assessed:
    directory = tmp_path_factory.mktemp("assessed")
    source = directory / "system"
    source.mkdir()
    config = demo.write_site(directory, demo.local_centers(directory), source)
    demo.run_demo(config, source, SystemClock(), tell=lambda key, facts: None, lose=lambda: None, documents_count=120)
    site = Site(load_config(config), SystemClock())
    run = run_assessment(site, Request())
    (directory / "facts").mkdir()
    host = next(name for name, row in run.assessment.objects.items() if row.kind == "host")
    digest = next(row.sha256 for row in run.stored.manifest.files if row.name == f"facts/{host}")
    shutil.copy(run.stored.directory / "files" / digest, directory / "facts" / "host.json")
    facts = {"directory": str(run.stored.directory), "run": run.assessment.id, "ledger_error": run.ledger_error}
    return Assessed(directory, 0, facts)


def output(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_the_drill_of_the_ledger_decides_local_backup_and_restore(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assessed.facts["ledger_error"] == ""
    assert assessed.run("show", "--item", ITEM, "--json") == 0

    shown = output(capsys)
    statuses = {result["check"]: result["status"] for result in shown["results"]}
    assert statuses["continuity.local-restore"] == "pass"
    # A database that happens to run on this machine may lack its own backups, which makes conform partial.
    assert shown["item"]["verdict"] in ("conform", "partial")
    assert shown["item"]["evidence"], "the drill is named by its digest"


def test_a_run_is_its_owners_alone(assessed: Assessed) -> None:
    paths = [assessed.stored, *assessed.stored.rglob("*")]

    assert len(paths) > 3
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_words_of_an_item_name_what_was_asked_and_what_came(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assessed.run("show", "latest", "--item", "8.1.4.1.d", "--lang", "en") == 0

    shown = capsys.readouterr().out
    assert "$ " in shown, "the command that was asked"


def test_judging_stored_facts_again_ends_with_findings_and_a_figure_with_its_coverage(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    code = assessed.run("import", str(assessed.host_facts), "--json", "--no-ledger", "--operator", "Zhang Wei")

    facts = output(capsys)
    assert code == 1
    assert facts["coverage"]["items"] == 211
    assert {rate["strategy"] for rate in facts["rates"]} == {"rate-2025", "score-2021"}
    assert not any(rate["is_confirmed"] for rate in facts["rates"])
    assert facts["ledger"] is None
    assert facts["difference"]["earlier"] == assessed.facts["run"]
    assert [change for change in facts["difference"]["items"] if change["direction"] == "worse"] == []
    stored = json.loads((Path(facts["directory"]) / "manifest.json").read_text(encoding="utf-8"))
    digest = next(row["sha256"] for row in stored["files"] if row["name"] == "assessment.json")
    objects = json.loads((Path(facts["directory"]) / "files" / digest).read_text(encoding="utf-8"))["objects"]
    assert {row["kind"] for row in objects.values()} == {"file", "system"}, "nobody signed what was carried here"


def test_too_little_decided_ends_with_7(assessed: Assessed, capsys: pytest.CaptureFixture[str]) -> None:
    assert assessed.run("import", str(assessed.host_facts), "--coverage-min", "0.9", "--no-ledger", "-q") == 7


def test_what_a_pack_decides_stays_open_when_the_pack_is_left_out(assessed: Assessed, tmp_path: Path) -> None:
    from govsec.assemble.hostfiles import import_facts

    site = Site(Config(state_dir=tmp_path), SystemClock())
    request = Request(packs=("linux-system",))
    run = run_assessment(site, request, collected=lambda _: import_facts(site, [assessed.host_facts]))

    # Plain-text log-in is looked at by linux-system, the strength of ssh by sshd.
    item = next(item for item in run.assessment.items if item.key == "GEN-CES-1-c")
    assert item.verdict not in (Verdict.CONFORM, Verdict.PARTIAL)
    assert any("sshd-ciphers" in reason.en for reason in item.reasons)


def test_an_s2a3_system_is_held_to_other_lines(assessed: Assessed, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["import", str(assessed.host_facts), "--s", "2", "--a", "3", "--no-ledger", "--compare", "none", "--json"]
    assessed.run(*argv)

    facts = output(capsys)
    assert facts["level"] == "S2A3G3"
    assert facts["coverage"]["items"] < 211
    assert facts["difference"] is None


def test_a_run_on_record_verifies_here_and_offline(assessed: Assessed, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    roots = str(assessed.directory / "roots.yaml")
    folder = tmp_path / assessed.stored.name
    shutil.copytree(assessed.stored, folder)

    assert assessed.run("verify", assessed.facts["run"]) == 0
    assert main(["ledger", "export", "--output", str(ledger), "--config", str(assessed.config)]) == 0
    assert main(["assess", "verify", str(folder), "--ledger", str(ledger), "--roots", roots]) == 0


def test_the_latest_run_that_was_taken_away_is_missed(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = assessed.facts["run"]
    assert assessed.run("import", str(assessed.host_facts), "-q", "--json") == 1
    later = Path(output(capsys)["directory"])
    assert assessed.run("verify", before) == 0
    capsys.readouterr()
    shutil.move(later, tmp_path / later.name)

    assert assessed.run("verify", "--json") == 6
    assert output(capsys)["vanished"] == [later.name]
    assert assessed.run("verify", "--lang", "en") == 6
    assert f"later run {later.name}" in capsys.readouterr().out
    shutil.move(tmp_path / later.name, later)
    assert assessed.run("verify", before) == 0


def test_a_replay_of_what_the_host_gave_before_is_refused(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = load_facts(assessed.host_facts.read_bytes())
    newer = facts.model_copy(update={"collected": facts.collected + timedelta(seconds=5)})
    (tmp_path / "newer.json").write_bytes(newer.dump())
    config = tmp_path / "bare.yaml"
    config.write_text(f"state_dir: {tmp_path}\n", encoding="utf-8")

    assert main(["assess", "import", str(tmp_path / "newer.json"), "--config", str(config), "--lang", "en"]) == 1
    assert "newer ones" not in capsys.readouterr().out
    assert main(["assess", "import", str(assessed.host_facts), "--config", str(config), "--lang", "en"]) == 4
    assert "newer ones" in capsys.readouterr().out


def _alter_a_file(folder: Path) -> None:
    path = max((folder / "files").iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes().replace(b'"not_conform"', b'"conform"    '))


def _alter_the_manifest_too(folder: Path) -> None:
    from govsec import canonical
    from govsec.policy.runfolder import open_run

    manifest = open_run(folder).manifest.canonical()
    verdicts = manifest["verdicts"]
    assert isinstance(verdicts, dict)
    manifest["verdicts"] = dict.fromkeys(verdicts, "conform")
    (folder / "manifest.json").write_bytes(canonical.dumps(manifest))


def _plant_a_file(folder: Path) -> None:
    (folder / "files" / ("0" * 64)).write_bytes(b"better facts")


@pytest.mark.parametrize("alter", [_alter_a_file, _alter_the_manifest_too, _plant_a_file])
def test_what_was_altered_after_the_run_is_found(
    assessed: Assessed, tmp_path: Path, alter: Callable[[Path], None]
) -> None:
    folder = tmp_path / assessed.stored.name
    shutil.copytree(assessed.stored, folder)
    alter(folder)

    assert assessed.run("verify", str(folder)) == 6


def test_a_run_that_nobody_signed_is_intact_and_no_evidence(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    assessed.run("import", str(assessed.host_facts), "--no-ledger", "--json")
    run = output(capsys)["run"]

    assert assessed.run("verify", run, "--json") == 1
    assert output(capsys)["is_intact"] is True


@pytest.mark.parametrize(("lang", "words"), [("zh", "没有可读的中心"), ("en", "reads no center")])
def test_a_site_without_centers_is_told_that_there_is_no_ledger_in_its_own_language(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str], lang: str, words: str
) -> None:
    value = {"state_dir": str(tmp_path), "systems": [{"name": demo.SYSTEM, "register": {"level": 3}}]}
    config = tmp_path / "govsec.yaml"
    config.write_text(json.dumps(value), encoding="utf-8")
    folder = tmp_path / "assessments" / assessed.stored.name
    shutil.copytree(assessed.stored, folder)

    assert main(["assess", "verify", "--config", str(config), "--lang", lang]) == 1
    assert words in capsys.readouterr().out
    _alter_a_file(folder)
    assert main(["assess", "verify", "--config", str(config), "--lang", lang]) == 6


def test_a_report_names_the_entry_of_the_ledger_that_vouches_for_the_run(assessed: Assessed, tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    manifest = open_run(assessed.stored).manifest
    # By its id: another test may have stored a run since that nobody signed.
    assert assessed.run("report", manifest.id, "--output", str(target), "--lang", "en", "-q") == 0
    said = target.read_text(encoding="utf-8")
    site = Site(load_config(assessed.config), SystemClock())
    entry, why = entry_of(site, open_run(assessed.stored))

    assert entry is not None and not why and entry.evidence.facts["id"] == manifest.id
    assert entry.digest in said and "Not in the ledger" not in said

    shutil.copytree(assessed.stored, tmp_path / "altered")
    file = next((tmp_path / "altered" / "files").iterdir())
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b" ")
    entry, why = entry_of(site, open_run(tmp_path / "altered"))
    assert entry is None and "not what was put on record" in why


@pytest.mark.parametrize(
    ("name", "begins"),
    [("r.html", b"<!doctype html>"), ("r.xlsx", b"PK"), ("r.json", b'{"a":'), ("r.text", b""), ("r.oscal", b"{")],
)
def test_reports_are_written_in_the_format_of_their_ending(
    assessed: Assessed, tmp_path: Path, name: str, begins: bytes
) -> None:
    assert assessed.run("report", "--output", str(tmp_path / name), "--lang", "en") == 0

    data = (tmp_path / name).read_bytes()
    assert data.lower().startswith(begins.lower())
    assert len(data) > 1000
    assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_an_ending_that_names_no_format_is_refused_and_nothing_written(assessed: Assessed, tmp_path: Path) -> None:
    assert assessed.run("report", "--output", str(tmp_path / "r.pdf"), "-q") == 2
    assert not (tmp_path / "r.pdf").exists()


def test_a_word_report_is_filled_in_from_a_form_of_ones_own(assessed: Assessed, tmp_path: Path) -> None:
    form, report = str(tmp_path / "form.docx"), tmp_path / "report.docx"
    assert assessed.run("report", "--write-template", form) == 0
    assert assessed.run("report", "--output", str(report), "--template", form) == 0

    assert report.read_bytes().startswith(b"PK")
    assert assessed.run("report", "--output", str(tmp_path / "r.html"), "--template", form, "-q") == 2
    assert assessed.run("report", "-q") == 2


def test_fix_prints_a_plan_and_carries_out_none(assessed: Assessed, capsys: pytest.CaptureFixture[str]) -> None:
    assert assessed.run("fix", "-q") == 2
    assert assessed.run("fix", "--dry-run", "--lang", "en") == 0

    assert len(capsys.readouterr().out.splitlines()) > 5


def test_two_people_vouch_for_an_item_and_one_alone_does_not_count(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = str(assessed.directory / "roots.yaml")
    keys = {}
    for purpose, name in (("attestation", "Zhang Wei"), ("approval", "Zhang Wei"), ("approval", "Li Na")):
        keys[purpose, name] = str(tmp_path / f"{purpose}-{name}.key")
        argv = ["key", "--for", purpose, "--name", name, "--output", keys[purpose, name], "--pin", roots]
        assert assessed.run(*argv, "-q") == 0
    shown = tmp_path / "rota.txt"
    shown.write_text("who administers what", encoding="utf-8")
    item = "8.1.7.2.a"
    words = ["--statement", "Administrators are appointed, see the rota", "--evidence", str(shown)]
    signed = ["--by", "Zhang Wei", "--key", keys["attestation", "Zhang Wei"]]
    capsys.readouterr()
    assert assessed.run("attest", "--item", item, "--verdict", "conform", *words, *signed, "--json") == 0
    record = output(capsys)["record"]

    def verdict() -> tuple[str, str]:
        assessed.run("import", str(assessed.host_facts), "--no-ledger", "-q")
        capsys.readouterr()
        assert assessed.run("show", "--item", item, "--json") == 0
        found = output(capsys)["item"]
        return found["verdict"], found["basis"]

    assert verdict() == ("undecided", "none")
    assert assessed.run("expiring") == 1, "it waits for approval"
    own = ["--by", "Zhang Wei", "--key", keys["approval", "Zhang Wei"]]
    assert assessed.run("approve", record, *own) == 5
    assert assessed.run("approve", record[:8], "--by", "Li Na", "--key", keys["approval", "Li Na"]) == 0
    assert verdict() == ("conform", "attestation")
    assert assessed.run("diff", assessed.facts["run"], "latest", "--json") == 0
    evidence = next((assessed.directory / "state" / "attestations" / "permits" / "evidence").iterdir())
    evidence.chmod(0o600)
    evidence.write_text("something else", encoding="utf-8")
    assert verdict() == ("undecided", "none")
    assert assessed.run("import", str(assessed.host_facts), "--no-ledger", "-q") == 6
    assert record in capsys.readouterr().err
    evidence.write_text("who administers what", encoding="utf-8")
    assert assessed.run("import", str(assessed.host_facts), "--no-ledger", "-q") == 1
    kept = assessed.directory / "state" / "attestations" / "permits" / f"{record}.json"
    kept.rename(tmp_path / "taken-away.json")
    for _ in range(2):  # whoever takes it away is not told of once
        assert assessed.run("import", str(assessed.host_facts), "--no-ledger", "-q") == 6
        assert record in capsys.readouterr().err
    (tmp_path / "taken-away.json").rename(kept)
    assert assessed.run("import", str(assessed.host_facts), "--no-ledger", "-q") == 1


def _notes(assessed: Assessed, capsys: pytest.CaptureFixture[str], facts: Path) -> tuple[int, str]:
    capsys.readouterr()
    code = assessed.run("import", str(facts), "--no-ledger", "--json")
    found = json.loads(capsys.readouterr().out)
    if "run" not in found:
        return code, found["error"]["message"]
    stored = next((assessed.directory / "state" / "assessments").glob(f"**/{found['run']}"))
    return code, json.dumps(read_assessment(open_run(stored)).canonical(), ensure_ascii=False)


def test_facts_that_are_handed_in_are_signed_or_told_as_unsigned(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = str(assessed.directory / "roots.yaml")
    key, other = str(tmp_path / "chen.key"), str(tmp_path / "other.key")
    argv = ["key", "--for", "attestation", "--name", "Chen Yu"]
    assert assessed.run(*argv, "--output", key, "--pin", roots, "-q") == 0
    assert assessed.run(*argv, "--output", other, "-q") == 0
    facts = tmp_path / "host.json"
    shutil.copy(assessed.host_facts, facts)

    def sign(by: str, key_file: str) -> None:
        assert assessed.run("sign", str(facts), "--by", by, "--key", key_file, "-q") == 0

    assert "in a file that nobody signed" in _notes(assessed, capsys, facts)[1]
    sign("Chen Yu", key)
    code, told = _notes(assessed, capsys, facts)
    assert (code, "in a file that Chen Yu signed" in told, '"signed_by": "Chen Yu"' in told) == (1, True, True)
    sign("Li Na", key)
    assert _notes(assessed, capsys, facts)[0] == 6, "a key speaks for the name that it is pinned under"
    sign("Chen Yu", other)
    assert _notes(assessed, capsys, facts)[0] == 6, "nobody pinned this one"
    sign("Chen Yu", key)
    facts.write_bytes(facts.read_bytes() + b" ")
    assert _notes(assessed, capsys, facts)[0] == 6


def test_risks_are_told_with_their_reasons_and_the_next_report_compares(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assessed.run("risk", "--json") == 1, "a risk is open"
    first = output(capsys)
    rows = first["report"]["rows"]
    assert len(rows) > 3
    assert all(row["reasons"] for row in rows)
    assert first["ledger"] is not None
    assert assessed.run("risk", "--why", rows[0]["threat"], "--no-ledger", "--lang", "en") == 1

    assert "asset" in capsys.readouterr().out
    assert assessed.run("risk", "--why", "nothing", "--no-ledger", "-q") == 2


def test_the_plan_says_what_would_be_asked_and_the_script_only_reads(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assessed.run("plan", "--json") == 0
    assert output(capsys)["items"] == 211
    assert assessed.run("plan", "--show-script") == 0
    assert capsys.readouterr().out.startswith("#!/bin/sh\n")


def test_a_script_for_an_air_gapped_host_is_bound_to_its_output(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assessed.run("collect", "--script", "--output", str(tmp_path / "usb")) == 0
    script = next((tmp_path / "usb").glob("*.sh"))
    half = tmp_path / "half.out"
    half.write_bytes(b"")

    assert assessed.run("import", "--script", str(script), str(half), "-q") == 4
    script.write_text(script.read_text(encoding="utf-8").replace("umask 077", "umask 022"), encoding="utf-8")
    assert assessed.run("import", "--script", str(script), str(half), "-q") == 3


def test_a_host_that_cannot_be_reached_ends_with_4_and_makes_nothing_better(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("", encoding="utf-8")
    config = json.loads(assessed.config.read_text(encoding="utf-8"))
    config["hosts"] = {"gone": {"address": "127.0.0.1", "port": 9, "user": "x", "known_hosts_file": str(known)}}
    config["state_dir"] = str(tmp_path / "state")
    path = tmp_path / "govsec.yaml"
    path.write_text(json.dumps(config).replace('"keys/', f'"{assessed.directory}/keys/'), encoding="utf-8")
    argv = ["assess", "run", "--host", "gone", "--config", str(path), "--no-ledger", "--json"]

    code = main(argv)

    facts = output(capsys)
    assert code == 4
    assert facts["objects"]["gone"]["state"] == "unreachable"
    assert facts["coverage"]["by_checks"] == 0


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["run", "--host", "nowhere"], 2),
        (["run", "--pack", "nothing"], 2),
        (["run", "--system", "nothing"], 2),
        (["show", "nothing"], 2),
        (["show", "--item", "8.9.9.9"], 2),
        (["report", "--output", "/dev/null/x"], 3),
        (["import", "/nonexistent"], 3),
        (["pack", "verify", "/nonexistent"], 3),
        (["attest", "--item", "8.1.99.1", "--verdict", "conform", "--statement", "x", "--by", "x", "--key", "x"], 2),
    ],
)
def test_what_is_wrong_on_the_command_line_is_told_by_the_exit_code(
    assessed: Assessed, argv: list[str], code: int
) -> None:
    assert assessed.run(*argv, "-q") == code


def test_an_unsigned_pack_from_elsewhere_stops_the_run(assessed: Assessed, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.yaml").write_text("schema: 1\n", encoding="utf-8")
    config = json.loads(assessed.config.read_text(encoding="utf-8"))
    config["assessment"] = {"packs": [str(tmp_path / "pack")]}
    path = assessed.directory / "packs.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")

    assert main(["assess", "plan", "--config", str(path), "-q"]) == 3


def test_a_signed_pack_is_used_and_an_altered_one_refused(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from govsec.policy.packload import shipped_packs
    from govsec.shipped import shipped

    pack_id = shipped_packs()[0]
    folder = tmp_path / pack_id
    shutil.copytree(str(shipped(pack_id)), folder)
    roots, key = str(tmp_path / "roots.yaml"), str(tmp_path / "pack.key")
    assert assessed.run("key", "--for", "pack", "--name", "Li Na", "--output", key, "--pin", roots, "-q") == 0
    assert assessed.run("pack", "verify", str(folder), "--roots", roots, "-q") == 3
    assert assessed.run("pack", "sign", str(folder), "--key", key, "-q") == 0
    assert assessed.run("pack", "verify", str(folder), "--roots", roots, "-q") == 0
    with (folder / "pack.yaml").open("a", encoding="utf-8") as file:
        file.write("# later\n")
    assert assessed.run("pack", "verify", str(folder), "--roots", roots, "-q") == 6


def test_an_altered_run_before_is_told_and_stops_no_new_one(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bare.yaml"
    config.write_text(f"state_dir: {tmp_path}\n", encoding="utf-8")
    argv = ["assess", "import", str(assessed.host_facts), "--config", str(config), "--json"]
    assert main(argv) == 1
    folder = Path(output(capsys)["directory"])
    _alter_a_file(folder)

    assert main(argv) == 6
    assert output(capsys)["difference"] is None
    assert main(argv) == 1, "the next one is compared with one that is whole"


def test_a_host_without_configuration_gets_every_item_and_no_evidence_of_backups(
    assessed: Assessed, tmp_path: Path
) -> None:
    from govsec.assemble.hostfiles import import_facts

    site = Site(Config(state_dir=tmp_path), SystemClock())

    run = run_assessment(site, Request(), collected=lambda _: import_facts(site, [assessed.host_facts]))

    items = {item.id: item for item in run.assessment.items}
    assert len(items) == 211
    assert (items[ITEM].verdict, items[ITEM].basis) == ("undecided", "none")
    assert (run.entry, run.ledger_error) == (None, "")


def test_without_any_configuration_this_machine_is_looked_at_alone(tmp_path: Path) -> None:
    def missing() -> Config:
        raise ConfigurationError("no such file")

    bare = site_or_bare(tmp_path / "none.yaml", SystemClock(), load=missing, is_default=True)

    assert (bare.config.systems, bare.config.centers) == ((), {})
    with pytest.raises(ConfigurationError):
        site_or_bare(tmp_path / "none.yaml", SystemClock(), load=missing, is_default=False)


def test_the_catalog_counts_are_those_of_the_standard(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {}
    for level in (1, 2, 3, 4):
        assert main(["assess", "catalog", "--level", str(level), "--json"]) == 0
        counts[level] = len(output(capsys)["items"])

    assert counts == {1: 55, 2: 135, 3: 211, 4: 228}


def test_a_waiver_of_a_check_that_no_run_asked_is_told_before_it_is_signed(
    assessed: Assessed, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--reason", "a reason that is long enough", "--compensation", "what is done in its place"]

    assert assessed.run("waive", "--check", "sshd-no-such-check", *words, "--by", "x", "--key", "x", "-q") == 2
    assert "no check 'sshd-no-such-check'" in capsys.readouterr().err


def test_a_scripts_output_without_its_script_is_told_by_name(
    assessed: Assessed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vm.out").write_text("@0 1 2 3 4\n", encoding="utf-8")

    assert assessed.run("import", str(tmp_path / "vm.out"), "-q") == 6
    told = capsys.readouterr().err
    assert "vm.out" in told
    assert "--script" in told
