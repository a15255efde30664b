"""A trial from end to end: real agents, spools, outbox, a program as channel, a signed ledger, people with keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.agent.control import ask_agent
from govsec.agent.plans import control_path
from govsec.assemble.assess import run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.ledger import open_ledger
from govsec.assemble.systems import Site
from govsec.assemble.trial import acknowledge, run_trial
from govsec.assemble.trialrecord import past_trials
from govsec.assemble.watching import watching_facts
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.crypto.document import sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, RefusedError
from govsec.incident.entries import LevelConfirmed, Opened
from govsec.notice.trial import ACKNOWLEDGED_KIND, Acknowledgement
from govsec.policy.watching import judge_watching
from govsec.records import Evidence

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60
LINES = ("8.1.3.3.d", "8.1.5.4.c", "8.1.5.4.f")


class _Town:
    """A gateway that is the system's only host, with both agents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = folder / "told"
        self.config = folder / "govsec.yaml"
        (folder / "main" / "permits").mkdir(mode=0o700, parents=True)
        keys = TrustedKeys()
        for purpose, name in (
            (Purpose.EVIDENCE, "site"), (Purpose.ATTESTATION, "Zhang Wei"), (Purpose.ATTESTATION, "Li Na"),
        ):  # fmt: skip
            signer = Signer.generate(purpose)
            signer.save(folder / f"{name}.key")
            keys = keys.with_key(signer.public(name))
        keys.save(folder / "roots.yaml")
        self.write()
        self._agents: list[subprocess.Popen[bytes]] = []

    def write(self, *, argv: tuple[str, ...] | None = None, routes: bool = True, **register: Any) -> None:
        whole = {"hosts": ["gate"], "borders": ["gate"], "borders_are_all": True, "security_are_all": True, "level": 3}
        value = {
            "state_dir": str(self.folder / "state"),
            "agent": {"run_dir": str(self.folder / "run")},
            "centers": {"main": {"role": "production", "store": {"kind": "local", "path": str(self.folder / "main")}}},
            "signing": {
                "evidence_key_file": str(self.folder / "site.key"), "roots_file": str(self.folder / "roots.yaml"),
            },
            "hosts": {"gate": {"kind": "local"}, "web": {"address": "192.0.2.10"}},
            "notify": {
                "channels": {"duty": {"kind": "command", "argv": argv or ["/usr/bin/tee", "-a", str(self.told)]}},
                "routes": [{"channels": ["duty"], "severity_min": "high"}] if routes else [],
            },
            "systems": [{"name": "permits", "register": whole | register}],
        }  # fmt: skip
        self.config.write_text(json.dumps(value), encoding="utf-8")

    def start(self, *names: str, module: str = "services") -> None:
        for name in names:
            argv = [sys.executable, "-m", "tests.support.smallagent", str(self.config), name, module]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._agents.append(subprocess.Popen(argv, cwd=ROOT, env=environment))
            self._await(name)

    def _await(self, name: str) -> None:
        """Until its module runs, and its first finding is on the disk."""
        limit = time.monotonic() + WAIT_S
        while time.monotonic() < limit:
            try:
                status = ask_agent(control_path(self.folder / "run", name), {"ask": "status"})
            except GovsecError:
                time.sleep(0.05)
                continue
            modules, spool = status["modules"], status["spool"]
            assert isinstance(modules, dict) and isinstance(spool, dict)
            is_up = all(isinstance(one, dict) and one["state"] == "running" for one in modules.values())
            if is_up and (name == "host" or spool["records"]):
                return
            time.sleep(0.05)
        raise AssertionError(f"agent {name} did not come up in {WAIT_S} s")

    def end(self) -> None:
        for agent in self._agents:
            agent.terminate()
        for agent in self._agents:
            agent.wait(WAIT_S)

    @property
    def site(self) -> Site:
        return Site(load_config(self.config), SystemClock())

    def trial(self, agent: Any) -> str:
        site = self.site
        return run_trial(site, site.system(), agent, host="gate", limit_s=120).trial.id

    def code(self, trial: str) -> str:
        """What the person on duty reads."""
        told = self.told.read_text(encoding="utf-8")
        decoder, notices, at = json.JSONDecoder(), [], 0
        while at < len(told):
            value, at = decoder.raw_decode(told, at)
            notices.append(value)
        return str(next(one["facts"]["code"] for one in notices if one["facts"]["trial"] == trial))

    def take_on(self, trial: str, by: str = "Zhang Wei", *, code: str = "", key: str = "", case: str = "") -> None:
        site = self.site
        key_file = self.folder / f"{key or by}.key"
        acknowledge(
            site, site.system(), trial, code or self.code(trial), by=by, key_file=key_file, case_id=case or None
        )

    def case(self) -> str:
        """A case whose level a person has confirmed."""
        site = self.site
        now = site.clock.now()
        with open_cases(site.config) as store:
            desk = build_desk(site.config, store, site.clock)
            case = desk.open(
                Opened(
                    time=now,
                    by="Li Na",
                    title="test attack",
                    system="permits",
                    aware_at=now,
                    roles=("other_operator",),
                    is_exercise=True,
                )
            ).case
            desk.add(
                case.id,
                LevelConfirmed(
                    time=site.clock.now(),
                    by="Li Na",
                    level="general",
                    reason="a test attack",
                    suggested="general",
                    highest_possible="general",
                ),
            )
        return str(case.id)

    def statuses(self) -> dict[str, str]:
        site = self.site
        judged = judge_watching(watching_facts(site, site.system(), 3))
        return {one.result.check.removeprefix("watching."): one.result.status.value for one in judged}


@pytest.fixture
def town() -> Iterator[_Town]:
    # Not below tmp_path: the names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="gst-") as folder:
        made = _Town(Path(folder))
        yield made
        made.end()


def test_trials_that_reached_a_person_decide_three_lines_and_nothing_is_decided_before(town: _Town) -> None:
    town.start("host", "network")
    assert town.statuses() == {}  # nobody tried anything: the lines are a person's

    host, network = town.trial("host"), town.trial("network")
    assert set(town.statuses().values()) == {"fail"}  # told, and nobody took it on
    town.take_on(network)
    assert town.statuses() == {"intrusions-told": "pass", "events-handled": "fail", "running-state": "fail"}
    town.take_on(host, case=town.case())
    assert town.statuses() == {"intrusions-told": "pass", "events-handled": "pass", "running-state": "pass"}

    run = run_assessment(town.site, Request(), collected=lambda _: ())
    items = {item.id: item for item in run.assessment.items}
    assert {items[line].verdict.value for line in LINES} == {"conform"}
    assert {items[line].basis.value for line in LINES} == {"evidence"}
    known = {row.digest: row.kind for row in run.assessment.evidence}
    assert {known[digest] for line in LINES for digest in items[line].evidence} == {"trial", "watch"}
    # Nobody answers for it that these are all borders and devices: what it decided is left to a person again.
    town.write(borders_are_all=False, security_are_all=False)
    run = run_assessment(town.site, Request(compare=""), collected=lambda _: ())
    assert {item.verdict.value for item in run.assessment.items if item.id in LINES} == {"undecided"}

    town.end()
    assert town.statuses()["running-state"] == "fail"  # nobody asks any more


def test_an_acknowledgement_needs_the_code_the_key_and_its_name(town: _Town) -> None:
    town.start("host")
    trial, other = town.trial("host"), town.trial("host")

    with pytest.raises(RefusedError, match="not the code"):
        town.take_on(trial, code=town.code(other))
    with pytest.raises(IntegrityError, match="Li Na"):
        town.take_on(trial, key="Li Na")
    Signer.generate(Purpose.ATTESTATION).save(town.folder / "Nobody.key")
    with pytest.raises(IntegrityError):
        town.take_on(trial, by="Nobody")
    with pytest.raises(ConfigurationError, match="attestation"):
        town.take_on(trial, key="site")
    assert all(past.acknowledgement is None for past in past_trials(town.site, town.site.system()))

    town.take_on(trial, code=town.code(trial).lower().replace("-", " "))
    with pytest.raises(RefusedError, match="Zhang Wei already"):
        town.take_on(trial, by="Li Na")


def test_what_is_written_by_hand_or_altered_helps_nobody(town: _Town) -> None:
    town.start("host")
    trial = town.trial("host")
    site = town.site
    system = site.system()
    past = past_trials(site, system)[0]

    # Whoever holds the evidence key of the site writes acknowledgements: signed by a key that nobody pinned, without
    # the code, and one that a person signed for another trial.
    ledger = open_ledger(site, system)
    stranger, person = (
        Signer.generate(Purpose.ATTESTATION),
        Signer.load(town.folder / "Zhang Wei.key", Purpose.ATTESTATION),
    )
    good = Acknowledgement(
        trial=trial, entry=past.entry.digest, by="Zhang Wei", time=site.clock.now(), code=town.code(trial)
    )
    for signer, said in (
        (stranger, good),
        (person, good.model_copy(update={"code": "0000-0000-0000"})),
        (person, good.model_copy(update={"entry": "0" * 64})),
        (person, good.model_copy(update={"time": past.trial.began - timedelta(days=1)})),
    ):
        document = json.loads(sign_document(signer, said.canonical()))
        facts = {"trial": trial, "document": document}
        ledger.append(Evidence(kind=ACKNOWLEDGED_KIND, time=good.time, subject="permits", facts=facts))
        found = past_trials(site, system)[0]
        assert found.acknowledgement is None and found.refused
    assert town.statuses()["running-state"] == "fail"
    # The right one comes later, and counts.
    town.take_on(trial)
    assert past_trials(site, system)[0].acknowledgement is not None

    entry = next(path for path in sorted((town.folder / "main").rglob("*")) if path.is_file() and "ledger" in str(path))
    entry.chmod(0o600)
    entry.write_bytes(entry.read_bytes().replace(b'"host":"gate"', b'"host":"gats"'))
    assert set(town.statuses().values()) == {"error"}


def test_a_channel_that_takes_nothing_is_on_record_and_without_a_route_nothing_is_tried(
    town: _Town, capsys: pytest.CaptureFixture[str]
) -> None:
    town.start("host")
    town.write(argv=("/bin/false",))
    argv = ["--config", str(town.config), "--json"]
    assert main(["notify", "trial", "host", *argv]) == 1
    made = json.loads(capsys.readouterr().out)["trial"]
    assert made["deliveries"][0]["state"] == "failed" and made["is_passed"] is True
    assert town.statuses()["running-state"] == "fail"
    assert main(["notify", "trials", *argv]) == 1

    town.write(routes=False)
    with pytest.raises(ConfigurationError, match="nobody would be told"):
        town.trial("host")


def test_an_agent_that_asks_no_services_watches_nothing(town: _Town) -> None:
    town.start("host", module="metrics")
    town.take_on(town.trial("host"))

    assert town.statuses()["running-state"] == "fail"


def test_a_case_that_nobody_graded_or_that_is_older_says_nothing(town: _Town) -> None:
    town.start("host")
    earlier = town.case()
    trial = town.trial("host")
    with pytest.raises(RefusedError, match="opened before"):
        town.take_on(trial, case=earlier)
    site = town.site
    now = site.clock.now()
    with open_cases(site.config) as store:
        opened = Opened(
            time=now,
            by="Li Na",
            title="test attack",
            system="permits",
            aware_at=now,
            roles=("other_operator",),
            is_exercise=True,
        )
        case = build_desk(site.config, store, site.clock).open(opened).case
    with pytest.raises(RefusedError, match="confirmed"):
        town.take_on(trial, case=case.id)
