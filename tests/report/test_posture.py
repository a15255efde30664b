"""The posture page: what it says, what it admits not to know, and what hostile names cannot do to it."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.posture import posture_record
from govsec.clock import from_ns, to_ns
from govsec.findings.judgement import Measure, judge
from govsec.host.snapshot import take
from govsec.records import Finding, Severity
from govsec.report.catalog import Catalogue, Lang
from govsec.report.hostwords import rows_of
from govsec.report.posture import render_posture
from govsec.testing.clock import FakeClock
from tests.host.machines import record as recorded_machine
from tests.support.pages import Page
from tests.support.require import require

LANGS: tuple[Lang, ...] = ("zh", "en")
NOW = FakeClock()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A machine that nobody compared with anything."""
    machine = recorded_machine(tmp_path_factory.mktemp("machine"))
    machine.process(
        666,
        "<script>",
        command=b"<img src=x onerror=alert(1)>\0--password=hunter2\0",
        executable="/tmp/\u202eexe.sh (deleted)",
    )
    machine.write(
        "/etc/passwd", "root:x:0:0::/root:/bin/bash\ntoor::0:0::/:/bin/sh\nli:x:1000:27::/home/li:/bin/bash\n"
    )
    machine.write("/var/lib/dpkg/status", "Package: acl\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
    return posture_record(take(NOW, root=machine.root), NOW, root=machine.root)


def finding(kind: str, severity: Severity, subject: str, facts: dict[str, Any], **measured: int) -> dict[str, Any]:
    return judge(
        kind=kind,
        detector="test",
        severity=severity,
        time_ns=to_ns(NOW.now()),
        subject=subject,
        summary="What happened.",
        pattern=(subject,),
        measured={name: Measure(value) for name, value in measured.items()},
        facts=facts,
    ).canonical()


@pytest.fixture
def compared(bare: dict[str, Any]) -> dict[str, Any]:
    """The same machine, compared with a baseline and with vulnerability data."""
    record = copy.deepcopy(bare)
    record["baseline"] = {"number": 3, "made": "2026-11-01T01:00:00Z", "made_by": "li"}
    after = {"executable": "/tmp/nc", "uid": 33}
    facts = {"how": "added", "name": "tcp 0.0.0.0:4444", "before": None, "after": after, "attack": ["T1571"]}
    record["changes"] = [finding("host.drift.listener", Severity.HIGH, "tcp 0.0.0.0:4444", facts)]
    facts = {"package": "openssl", "version": "3.0.11", "fixed": "3.0.19", "ids": ["CVE-2026-1"]}
    record["vulnerabilities"] = [finding("vulnerability.known", Severity.HIGH, "vm", facts, count=9, fixed_count=9)]
    record["host"]["tables"]["certificates"] = [certificate(-4, "/etc/old.pem"), certificate(12, "/etc/soon.pem")]
    return record


def certificate(days: int, path: str) -> dict[str, Any]:
    # Some hours beyond, so that the days are whole ones.
    ends = from_ns(to_ns(NOW.now()) + days * 86_400 * 10**9 + 3600 * 10**9)
    row: dict[str, Any] = dict.fromkeys(("issuer", "serial", "sha256"), "0")
    row |= {"path": path, "position": 0, "subject": f"CN={path}", "names": ["a.example"], "key": "sm2"}
    return row | {
        "is_authority": False,
        "not_before": "2020-01-01T00:00:00Z",
        "not_after": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
    }


@pytest.mark.parametrize("lang", LANGS)
def test_the_page_loads_nothing_runs_nothing_and_is_the_same_for_the_same_record(
    compared: dict[str, Any], lang: Lang
) -> None:
    html = render_posture(compared, lang)
    page = Page(html)

    assert html == render_posture(copy.deepcopy(compared), lang)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [item for item in page.attributes if item[1] in ("src", "href", "style") or item[1].startswith("on")]
    assert "\u202e" not in html and "\\u202e" in html
    assert "hunter2" not in html


def test_what_nobody_looked_at_is_said_and_is_no_pass(bare: dict[str, Any]) -> None:
    calm = copy.deepcopy(bare)
    tables = calm["host"]["tables"]
    for name in ("accounts", "processes", "modules", "listeners", "certificates", "disks", "services"):
        tables[name] = []
    html = render_posture(calm, "en")
    everything = copy.deepcopy(calm) | {"changes": [], "vulnerabilities": []}

    assert "Worth a look" in html and "Nobody looked at: What changed, What is vulnerable." in html
    assert "Not looked at: there is no configuration that names a baseline" in html
    assert "Not looked at: no vulnerability data were given (--data FILE)." in html
    assert "Nothing is other than the baseline says" not in html
    assert "Nothing stands out" in render_posture(everything, "en")
    facts = {"ecosystem": "debian 12", "packages": ["own-tool"]}
    unmatched = finding("vulnerability.unmatched", Severity.MEDIUM, "vm", facts, count=1)
    half = render_posture({**everything, "vulnerabilities": [unmatched]}, "en")
    assert "Worth a look" in half and "1 packages of debian 12 are not in the data: own-tool." in half
    everything["host"]["tables"]["listeners"] = {"unavailable": "Permission denied"}
    assert "Worth a look" in render_posture(everything, "en")


def test_the_worst_stands_on_top_and_each_question_has_its_figure(compared: dict[str, Any]) -> None:
    text = Page(render_posture(compared, "en")).text

    assert "Look at this now" in text
    for line in (
        "A listener is not as accepted: tcp 0.0.0.0:4444",
        "1 packages with serious vulnerabilities that a fix mends: openssl",
        "A certificate expired 4 days ago: CN=/etc/old.pem, /etc/old.pem",
        "A certificate ends in 12 days: CN=/etc/soon.pem, /etc/soon.pem",
        "More than one account has the rights of root: root, toor",
        "Account toor can be logged in to without a password",
        "Kernel module rootkit is not signed",
    ):
        assert line in text, line
    assert re.search(r"What listens 3 2 reachable from other machines What changed 1 1 serious", text)
    assert "Compared with baseline 3 of 2026-11-01 09:00:00 by li." in text
    assert "executable: /tmp/nc; uid: 33" in text
    assert "openssl 3.0.11 3.0.19 9 CVE-2026-1" in text


def test_a_long_table_is_cut_and_says_by_how_much(compared: dict[str, Any]) -> None:
    one = compared["changes"][0]
    compared["changes"] = [{**one, "subject": f"listener {number}"} for number in range(100)]
    html = render_posture(compared, "en")

    assert "60 more are in the record and not on this page." in html
    assert html.count('<div class="finding ') == 40


def test_the_catalogues_have_the_same_keys_and_every_severity_can_be_shown(compared: dict[str, Any]) -> None:
    for name in ("posture", "host"):
        assert Catalogue(name, "zh").keys() == Catalogue(name, "en").keys()
    for severity in Severity:
        one = Finding.model_validate(compared["changes"][0]).model_copy(update={"severity": severity}).canonical()
        for lang in LANGS:
            assert render_posture({**compared, "changes": [one]}, lang)


def test_a_table_that_is_there_is_told_from_one_that_is_not(bare: dict[str, Any]) -> None:
    assert rows_of(bare["host"]["tables"], "certificates") is None
    assert rows_of(bare["host"]["tables"], "memory")
    text = Page(render_posture(bare, "zh")).text

    assert "未查看：没有任何证书目录" in text
    assert "网络或用户态文件系统，未查询（2）" in text


def test_a_browser_shows_the_page_on_a_small_screen_and_prints_it(compared: dict[str, Any], tmp_path: Path) -> None:
    chromium = require("chromium")
    (tmp_path / "page.html").write_text(render_posture(compared, "zh"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    for output in ("--print-to-pdf=" + str(tmp_path / "page.pdf"), "--screenshot=" + str(tmp_path / "page.png")):
        subprocess.run(
            [str(chromium), *options, "--window-size=420,900", output, f"file://{tmp_path}/page.html"],
            check=True,
            capture_output=True,
            timeout=250,
        )

    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "page.png").stat().st_size > 5000
