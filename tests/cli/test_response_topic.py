"""``govsec response``: from a finding to a deed and back, on a site with three centers."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.assemble.response import FreezeActor, open_responses, waiting_notices
from govsec.assemble.systems import Site as open_site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import TryAgainError
from govsec.report.notice import notice_words
from govsec.response.runs import State
from govsec.testing.clock import FakeClock
from tests.cli.conftest import Site
from tests.response.far import helper_running, write_settings
from tests.support.namespaces import cable
from tests.support.require import require

_FINDING = {
    "kind": "host.ransomware.canary",
    "severity": 50,
    "time": "2026-11-22T09:00:00Z",
    "subject": "/srv/share/.a.docx",
    "summary": "for a test",
    "facts": {"processes": [{"pid": 4_000_000, "start_ticks": 12345, "name": "evil\n[31m"}]},
}


@pytest.fixture
def answer(site: Site, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(*argv: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert site.run(*argv, "--json", "-q") == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ask


def test_ransomware_freezes_backups_at_once_and_the_rest_waits_for_people(
    site: Site, answer: Any, tmp_path: Path
) -> None:
    finding = tmp_path / "finding.json"
    finding.write_text(json.dumps(_FINDING), encoding="utf-8")
    case = answer("incident", "new", "文件被加密", "--by", "zhang")["id"]

    (planned,) = answer("response", "plan", "--finding", str(finding), "--case", case)["runs"]
    answer("response", "run")

    run = answer("response", "status", planned["id"])
    assert {deed["verb"]: deed["state"] for deed in run["deeds"]} == {
        "backup.freeze": "verified",
        # No helper listens here: what it would hit is asked again later.
        "process.suspend": "proposed",
        "host.isolate": "proposed",
    }
    assert {row["frozen_until"] is not None for row in answer("center", "status")["systems"][0]["centers"]} == {True}
    refused = answer("repo", "prune", code=5)
    assert "frozen by govsec response" in refused["error"]["message"]

    freeze = next(deed for deed in run["deeds"] if deed["verb"] == "backup.freeze")
    undone = answer("response", "undo", freeze["deed"][:12], "--by", "li")

    assert undone["state"] == "undone"
    assert answer("repo", "prune") is not None
    timeline = answer("incident", "show", case)["timeline"]
    actions = [entry for entry in timeline if entry["kind"] == "action"]
    assert [(entry["action"], entry["outcome"]) for entry in actions][-2:] == [
        ("backup.freeze", "done"),
        ("backup.freeze", "undone"),
    ]


def test_a_helper_that_listens_does_it_and_the_case_gets_actions_and_evidence(site: Site, answer: Any) -> None:
    require("nft")
    keys = pin_people(site)
    folder = site.directory / "helper"
    folder.mkdir(mode=0o700)
    shutil.copy(site.directory / "roots.yaml", folder / "roots.yaml")
    live(site, "nft.block", helper=folder / "s", host="web1")
    case = answer("incident", "new", "扫描", "--by", "zhang")["id"]
    finding = {**_FINDING, "kind": "net.scan.vertical", "facts": {"originators": ["192.0.2.66"]}}
    (site.directory / "f.json").write_text(json.dumps(finding), encoding="utf-8")
    with cable() as (here, _), helper_running(write_settings(folder), "ip", "netns", "exec", here.name):
        (run,) = answer("response", "plan", "--finding", str(site.directory / "f.json"), "--case", case)["runs"]
        name = run["deeds"][0]["deed"]
        answer("response", "run")
        assert answer("response", "approve", name[:10], "--key", str(keys["li"]))["state"] == "approved"
        answer("response", "run")
        done = answer("response", "status", name)
        undone = answer("response", "undo", name, "--by", "li")

    assert done["state"] == "verified" and undone["state"] == "undone"
    entries = answer("incident", "show", case)["timeline"]
    assert [entry["outcome"] for entry in entries if entry["kind"] == "action"] == ["done", "undone"]
    (evidence,) = [entry for entry in entries if entry["kind"] == "evidence"]
    assert evidence["digest"] == f"sha256:{done['facts']['pack_sha256']}" and evidence["holder"] == "root@web1"


def test_a_freeze_is_not_gone_because_no_center_answers_and_one_that_was_away_is_frozen_later(
    site: Site, answer: Any
) -> None:
    (site.directory / "near").rename(site.directory / "away")
    (run,) = answer(
        "response", "plan", "--verb", "backup.freeze", "--argument", "system=*", "--argument", "ttl_s=86400"
    )["runs"]
    answer("response", "run")
    name = run["deeds"][0]["deed"]
    assert answer("response", "status", name)["state"] == "verified"
    (site.directory / "away").rename(site.directory / "near")
    with open_responses(load_config(site.config), SystemClock()) as engine:
        deed = engine.runs.deed(name)
        assert deed is not None
        actor = FreezeActor(open_site(load_config(site.config), SystemClock()))
        assert len(actor.check(deed.order).facts["frozen"]) == 3  # type: ignore[arg-type]  # a list
        for center in ("main", "near", "far"):
            (site.directory / center).rename(site.directory / f"{center}-away")

        with pytest.raises(TryAgainError, match="no center answers"):
            actor.check(deed.order)


def test_people_are_told_of_a_deed_that_failed_when_it_failed(site: Site) -> None:
    pin_people(site)
    live(site, "nft.block")
    clock = FakeClock(datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
    with open_responses(load_config(site.config), clock) as engine:
        run = engine.plan("backup.freeze", {"system": "*", "ttl_s": 600}, by="zhang")
        (deed,) = engine.runs.deeds(run)
        clock.advance(5 * 86_400)
        engine.runs.move(deed, State.FAILED, "failed", clock.now(), "", error="the disk is gone")

        (notice,) = waiting_notices(engine, clock.now())

        assert notice.kind == "response.failed" and notice.facts["error"] == "the disk is gone"
        clock.advance(86_400)
        assert waiting_notices(engine, clock.now()) == []


def test_people_are_told_what_waits_for_them_and_of_nothing_else(site: Site, answer: Any) -> None:
    pin_people(site)
    live(site, "nft.block", "host.isolate")
    block = ("--argument", "address=192.0.2.66", "--argument", "ttl_s=600")
    answer("response", "plan", "--verb", "nft.block", *block)
    answer("response", "plan", "--verb", "account.disable", "--argument", "account=ann", "--argument", "ttl_s=600")
    config, clock = load_config(site.config), SystemClock()
    with open_responses(config, clock) as engine:
        assert waiting_notices(engine, clock.now()) == [], "what it would hit is not known yet"
        for run in engine.runs.runs(10):
            (deed,) = engine.runs.deeds(run.id)
            engine.runs.note(deed, "tried", {"sessions": 3, "tried": "x"}, clock.now(), deed.order.expires)

        (notice,) = waiting_notices(engine, clock.now())

        assert waiting_notices(engine, clock.now())[0].key == notice.key
        for lang, word, hit in (("zh", "待批准", "会断开的会话 3"), ("en", "waits for approval", "sessions cut 3")):
            title, lines = notice_words(notice, lang)  # type: ignore[arg-type]  # one of both
            assert word in title and "192.0.2.66" in title and hit in lines[0]


def test_two_persons_approve_on_their_own_machines(site: Site, answer: Any, tmp_path: Path) -> None:
    keys = pin_people(site)
    live(site, "nft.block")
    (run,) = answer(
        "response", "plan", "--verb", "nft.block", "--argument", "address=192.0.2.66", "--argument", "ttl_s=600"
    )["runs"]
    name = run["deeds"][0]["deed"]
    order = tmp_path / "order.json"
    order.write_text(json.dumps(answer("response", "status", name)), encoding="utf-8")

    signed = answer("response", "sign", str(order), "--key", str(keys["zhang"]), "--output", str(tmp_path / "approval"))
    taken = answer("response", "approve", "--document", str(tmp_path / "approval"))

    assert signed["address"] == "192.0.2.66" and signed["verb"] == "nft.block"
    assert taken["approved_by"] == ["zhang"]
    # It goes on as soon as a helper has said what it would hit; none listens here.
    assert taken["state"] == "proposed"
    (tmp_path / "approval").write_bytes((tmp_path / "approval").read_bytes().replace(b"192.0.2.66", b"192.0.2.67"))
    answer("response", "approve", "--document", str(tmp_path / "approval"), code=6)


def test_a_playbook_of_the_site_must_be_signed_and_unaltered(site: Site, answer: Any) -> None:
    book = site.directory / "ours.yaml"
    book.write_text(
        "version: 3\nid: ours\ntitle: {zh: 我们的, en: ours}\nwhy: {zh: 试, en: test}\n"
        "when: {kinds: [net.beacon.periodic]}\n"
        "actions: [{verb: nft.block, arguments: {address: {fact: responders}, ttl_s: 60}}]\n",
        encoding="utf-8",
    )
    edit(site, lambda config: config.update(response={"playbooks": [str(book)]}))
    answer("response", "playbooks", code=3)
    signer = Signer.generate(Purpose.PACK)
    signer.save(site.directory / "pack.key")
    signature = f"{book}.signature"
    sign = ("response", "sign", str(book), "--playbook", "--key", str(site.directory / "pack.key"))
    answer(*sign, "--output", signature)
    answer("response", "playbooks", code=6)
    pin(site, signer, "publisher")

    found = answer("response", "playbooks")["playbooks"]

    assert next(each for each in found if each["id"] == "ours")["signed_by"] == signer.key_id
    book.write_text(book.read_text(encoding="utf-8").replace("ttl_s: 60", "ttl_s: 61"), encoding="utf-8")
    refused = answer("response", "playbooks", code=6)
    assert "altered" in refused["error"]["message"]


def test_words_of_a_finding_cannot_forge_a_line(site: Site, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (site.directory / "f.json").write_text(json.dumps({**_FINDING, "subject": "a\nRUN 1  forged"}), encoding="utf-8")
    answer("response", "plan", "--finding", str(site.directory / "f.json"))
    for lang, word in (("zh", "预案"), ("en", "PLAYBOOK")):
        assert site.run("response", "list", "--lang", lang) == 0
        out = capsys.readouterr().out
        assert word in out and "\nRUN 1" not in out


@pytest.mark.parametrize(
    "argv",
    [
        ("plan",),
        ("plan", "--verb", "nft.block", "--argument", "address"),
        ("status", "ffff"),
        ("approve",),
        ("undo", "ffff"),
        ("list", "--limit", "0"),
    ],
)
def test_what_cannot_be_understood_is_an_error_of_usage(answer: Any, argv: tuple[str, ...]) -> None:
    assert answer("response", *argv, code=2)["error"]["kind"] == "usage"


@pytest.mark.parametrize("argument", ["address=not-an-address", "address=::1%eth0", "ttl_s=0", "account=root"])
def test_a_deed_with_arguments_that_its_verb_does_not_take_is_refused(answer: Any, argument: str) -> None:
    given = ["--argument", "address=192.0.2.1", "--argument", "ttl_s=60"]
    given = [each for each in given if each.split("=")[0] != argument.split("=")[0]]
    words = [each for each in given if each != "--argument"]
    argv = [part for word in [*words, argument] for part in ("--argument", word)]
    answer("response", "plan", "--verb", "nft.block", *argv, code=5)


def edit(site: Site, change: Any) -> None:
    config = yaml.safe_load(site.config.read_text(encoding="utf-8"))
    change(config)
    site.config.write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")


def live(site: Site, *verbs: str, helper: Path | None = None, host: str = "") -> None:
    said = {"live": list(verbs), "helper": str(helper or site.directory / "none"), "host": host}
    edit(site, lambda config: config.update(response=said))


def pin(site: Site, signer: Signer, name: str) -> None:
    roots = site.directory / yaml.safe_load(site.config.read_text(encoding="utf-8"))["signing"]["roots_file"]
    TrustedKeys.load(roots).with_key(signer.public(name)).save(roots)


def pin_people(site: Site) -> dict[str, Path]:
    """Two persons whose keys approve responses."""
    keys = {}
    for name in ("zhang", "li"):
        signer = Signer.generate(Purpose.RESPONSE)
        keys[name] = site.directory / f"{name}.key"
        signer.save(keys[name])
        pin(site, signer, name)
    return keys


def test_the_owner_of_a_center_ends_a_freeze_there_and_the_ledger_says_who_and_why(site: Site, answer: Any) -> None:
    planned = answer("response", "plan", "--verb", "backup.freeze", "--argument", "system=*", "--argument", "ttl_s=600")
    answer("response", "run")
    thaw = ("center", "thaw", "same_city", "--by", "王五", "--reason", "误报")

    (ended,) = answer(*thaw)["ended"]

    rows = answer("center", "status")["systems"][0]["centers"]
    assert {row["role"]: row["frozen_until"] is not None for row in rows} == {
        "production": True,
        "same_city": False,
        "remote": True,
    }
    assert ended["id"] == planned["runs"][0]["deeds"][0]["deed"]
    entries = [one for one in answer("ledger", "show")["entries"] if one["evidence"]["kind"] == "center.thawed"]
    assert [(one["evidence"]["facts"]["by"], one["evidence"]["facts"]["reason"]) for one in entries] == [
        ("王五", "误报")
    ]
    assert "nothing is frozen" in answer(*thaw, code=5)["error"]["message"]


def test_what_cannot_be_put_on_record_stays_frozen(site: Site, answer: Any) -> None:
    answer("response", "plan", "--verb", "backup.freeze", "--argument", "system=*", "--argument", "ttl_s=600")
    answer("response", "run")
    value = yaml.safe_load(site.config.read_text(encoding="utf-8"))
    del value["signing"]["evidence_key_file"]
    site.config.write_text(yaml.safe_dump(value), encoding="utf-8")

    assert "evidence" in answer("center", "thaw", "same_city", "--by", "x", "--reason", "y", code=3)["error"]["message"]
    assert all(row["frozen_until"] for row in answer("center", "status")["systems"][0]["centers"])
