"""The triage service: a folder in, findings and reports out, each capture once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes
from govsec.testing.trafficcases import build

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "capture_triage.py"


def run(folder: Path, out: Path) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--in", str(folder), "--out", str(out), "--once", "--lang", "en"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_folder_of_captures_gives_findings_and_reports_and_each_is_read_once(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "attack.pcap").write_bytes(pcap_bytes(build(trafficscans.vertical_scan)))
    (folder / "calm.pcap").write_bytes(pcap_bytes(build(trafficscans.service_check)))
    (folder / "broken.pcap").write_bytes(b"no capture at all, whatever its name says")
    (folder / "notes.txt").write_text("not looked at")
    calm = pcap_bytes(build(trafficscans.service_check, 2))
    (folder / ("long" * 60 + ".pcap")).write_bytes(calm)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.pcap")).write_bytes(calm + bytes(3))

    code, lines = run(folder, out)

    assert code == 1
    kinds = {line["kind"]: line["capture"] for line in lines if "kind" in line}
    assert kinds == {"net.scan.vertical": "attack.pcap"}
    assert [line["title"] for line in lines if "kind" in line] == ["Port scan of one host"]
    assert all(trafficscans.SCANNER.address in line["said"] for line in lines if "kind" in line)
    assert [line["capture"] for line in lines if "error" in line] == ["broken.pcap"]
    pages = {path.name.split(".")[0]: path for path in out.glob("*.html")}
    assert {"attack", "calm"} <= set(pages)
    assert len(pages) == 4
    assert "Port scan of one host" in pages["attack"].read_text()
    assert len(list(out.glob("*.json"))) == 5

    assert run(folder, out) == (0, [])
