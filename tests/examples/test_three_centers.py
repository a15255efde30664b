"""The example runs as a reader would run it, and stock restic finds its centers clean."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "three_centers.py"


def _run(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE, directory], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_example_backs_up_ships_drills_and_signs(tmp_path: Path) -> None:
    done = _run(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "commit 1, held by production, same_city",
        "shipped 5 objects",
        "drill pass, ledger entry 1",
    ]
    assert len(list((tmp_path / "remote" / "snapshots").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_example_fails_when_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "empty").mkdir()

    done = _run(tmp_path)

    assert done.returncode == 1
    assert "drill fail" in done.stdout
    shutil.rmtree(tmp_path)
