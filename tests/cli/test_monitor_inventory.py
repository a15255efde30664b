"""``govsec monitor vulnerabilities`` and ``sbom`` on the packages of this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from govsec.cli.main import main
from tests.support.require import missing


@pytest.fixture(autouse=True)
def _has_packages() -> None:
    if shutil.which("dpkg") is None:
        missing("dpkg", "this machine's packages are of another kind")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "tracker.json"
    codename = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    entry = {"releases": {codename: {"status": "resolved", "fixed_version": "99:1-1", "urgency": "high"}}}
    path.write_text(json.dumps({"dpkg": {"CVE-2099-0001": entry}}))
    return path


def test_a_package_with_a_hole_is_told_in_both_languages(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "vulnerabilities", "--data", str(data), "--lang", "en"]) == 1
    text = capsys.readouterr().out
    assert "1 known, 1 with a fix. Fixed in 99:1-1." in text
    assert "CVE-2099-0001" in text

    main(["monitor", "vulnerabilities", "--data", str(data), "--lang", "zh"])
    assert "软件包存在已知漏洞" in capsys.readouterr().out

    assert main(["monitor", "vulnerabilities", "--data", str(data), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["known"]["dpkg"][0]["state"] == "fix"
    assert facts["packages"] > 50


def test_data_that_cannot_be_used_end_with_their_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")

    assert main(["monitor", "vulnerabilities", "--data", str(broken)]) == 6
    assert main(["monitor", "vulnerabilities", "--data", str(tmp_path / "none")]) == 3


def test_the_bill_goes_to_a_file_and_names_what_is_known(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bom.json"

    assert main(["monitor", "sbom", "-o", str(output), "--data", str(data)]) == 0

    bill = json.loads(output.read_text())
    assert any(one["name"] == "dpkg" for one in bill["components"])
    assert [one["id"] for one in bill["vulnerabilities"]] == ["CVE-2099-0001"]
