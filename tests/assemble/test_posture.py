"""The posture of a recorded machine from end to end: accepted, changed, held against vulnerability data, printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.guard import accept_baseline
from govsec.assemble.posture import posture_record
from govsec.config import Config, SigningConfig
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError
from govsec.guardentry import GuardConfig
from govsec.host.snapshot import take
from govsec.report.posture import render_posture
from govsec.testing.clock import FakeClock
from tests.host.machines import RecordedMachine, record
from tests.support.pages import Page

_STATUS = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n"


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    made = record(tmp_path / "root")
    made.write("/var/lib/dpkg/status", _STATUS)
    return made


@pytest.fixture
def config(tmp_path: Path, machine: RecordedMachine) -> Config:
    signer = Signer.generate(Purpose.BASELINE)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    signer.save(keys / "baseline.key")
    TrustedKeys([signer.public("ops")]).save(tmp_path / "roots.yaml")
    return Config(
        state_dir=tmp_path / "state",
        organization="示例市政务云",
        signing=SigningConfig(baseline_key_file=keys / "baseline.key", roots_file=tmp_path / "roots.yaml"),
        guard=GuardConfig(roots=(str(machine.root / "etc"),)),
    )


def vulnerability_data(folder: Path) -> Path:
    events = [{"introduced": "0"}, {"fixed": "3.0.19-1"}]
    package = {"name": "openssl", "ecosystem": "Debian:12"}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    path = folder / "osv.json"
    path.write_text(json.dumps([{"id": "CVE-2026-1", "modified": "2026-11-20T00:00:00Z", "affected": [affected]}]))
    return path


def test_what_changed_and_what_is_vulnerable_stand_on_the_page(
    machine: RecordedMachine, config: Config, clock: FakeClock, tmp_path: Path
) -> None:
    accept_baseline(config, clock, by="li", root=machine.root)
    machine.write("/etc/passwd", "root:x:0:0::/root:/bin/bash\ntoor:x:0:0::/root:/bin/bash\n")
    value: Any = posture_record(
        take(clock, root=machine.root), clock, config=config, data=[vulnerability_data(tmp_path)], root=machine.root
    )
    text = Page(render_posture(value, "zh")).text

    assert value["baseline"]["made_by"] == "li"
    assert "host.drift.account" in {finding["kind"] for finding in value["changes"]}
    assert [finding["facts"]["package"] for finding in value["vulnerabilities"]] == ["openssl"]
    assert "示例市政务云" in text
    assert "账户与基线不符：toor" in text
    assert "CVE-2026-1" in text and "3.0.19-1" in text


def test_without_a_baseline_or_data_the_record_says_so(
    machine: RecordedMachine, config: Config, clock: FakeClock
) -> None:
    value = posture_record(take(clock, root=machine.root), clock, config=config, root=machine.root)

    assert value["changes"] == {"unavailable": "no baseline was accepted"}
    assert value["vulnerabilities"] == {"unavailable": "no vulnerability data were given"}


def test_packages_that_cannot_be_read_are_not_free_of_vulnerabilities(
    machine: RecordedMachine, clock: FakeClock, tmp_path: Path
) -> None:
    (machine.root / "var/lib/dpkg/status").unlink()
    value: Any = posture_record(
        take(clock, root=machine.root), clock, data=[vulnerability_data(tmp_path)], root=machine.root
    )

    assert "no database of packages" in value["vulnerabilities"]["unavailable"]


def test_an_altered_baseline_or_data_that_are_none_give_no_page(
    machine: RecordedMachine, config: Config, clock: FakeClock, tmp_path: Path
) -> None:
    accept_baseline(config, clock, by="li", root=machine.root)
    snapshot = take(clock, root=machine.root)
    junk = tmp_path / "junk.json"
    junk.write_text("neither nor")
    with pytest.raises(FormatError):
        posture_record(snapshot, clock, config=config, data=[junk], root=machine.root)

    for path in (config.state_dir / "guard" / "baseline").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        posture_record(snapshot, clock, config=config, root=machine.root)
