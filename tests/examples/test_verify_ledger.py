"""An exported ledger is checked with Python and openssl alone, and what was done to it is found."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.ledger.export import export
from govsec.ledger.ledger import Ledger
from govsec.records import Evidence
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

SCRIPT = Path(__file__).parents[2] / "examples" / "verify_ledger.py"
SIGNER, OTHER = Signer(Purpose.EVIDENCE, bytes(32)), Signer(Purpose.EVIDENCE, bytes(range(32)))
KEYS = [base64.b64encode(signer.public().raw).decode() for signer in (SIGNER, OTHER)]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def _exported(tmp_path: Path) -> Path:
    clock, store = FakeClock(), MemoryStore("home")
    trusted = TrustedKeys([SIGNER.public(), OTHER.public()])
    for signer, count in ((SIGNER, 4), (OTHER, 2)):
        ledger = Ledger(store, signer, clock, trusted=trusted)
        for number in range(count):
            facts = {"number": number, "text": '研判 ,"key":"forged" \\ é'}
            ledger.append(Evidence(kind="incident.entries", time=clock.now(), subject="20261122-0001", facts=facts))
    file = io.BytesIO()
    export([store], trusted, file, clock.now())
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(file.getvalue())
    return path


def _check(path: Path, *keys: str) -> subprocess.CompletedProcess[str]:
    # Isolated: the script must not find govsec, whatever this machine has installed.
    argv = [sys.executable, "-I", "-S", str(SCRIPT), str(path), *keys]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def _flip(lines: list[bytes]) -> list[bytes]:
    line = bytearray(lines[2])
    line[40] ^= 1
    return [*lines[:2], bytes(line), *lines[3:]]


_TAMPERS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "flipped bit": _flip,
    "removed line": lambda lines: [*lines[:2], *lines[3:]],
    "swapped pair": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "truncated tail": lambda lines: lines[:-1],
    "repeated line": lambda lines: [*lines, lines[-1]],
    "nothing left": lambda lines: lines[:1],
}


def test_a_whole_export_is_right_up_to_its_heads(tmp_path: Path) -> None:
    checked = _check(_exported(tmp_path), *KEYS)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"right up to {SIGNER.key_id}:4:" in checked.stdout and f"right up to {OTHER.key_id}:2:" in checked.stdout


@pytest.mark.parametrize("tamper", _TAMPERS, ids=str)
def test_what_was_done_to_an_export_is_found(tamper: str, tmp_path: Path) -> None:
    path = _exported(tmp_path)
    path.write_bytes(b"\n".join(_TAMPERS[tamper](path.read_bytes().splitlines())) + b"\n")
    assert _check(path, *KEYS).returncode != 0


def test_a_key_that_nobody_pinned_is_not_believed(tmp_path: Path) -> None:
    checked = _check(_exported(tmp_path), KEYS[0])
    assert checked.returncode == 1 and "pinned" in checked.stderr


def test_the_script_is_short_enough_to_be_read() -> None:
    code = [line for line in SCRIPT.read_text().split('"""', 2)[2].splitlines() if line.strip()]
    assert len(code) <= 50


def test_the_procedure_of_the_page_checks_one_entry_by_hand(tmp_path: Path) -> None:
    path = _exported(tmp_path)
    page = (SCRIPT.parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"without govsec.*?```sh\n(.*?)```", page, re.S)
    first = json.loads(path.read_bytes().splitlines()[1])["key"]
    for signer, key in zip((SIGNER, OTHER), KEYS, strict=True):
        text = commands.replace("PUBLIC KEY OF THE ROOTS FILE", key)
        done = subprocess.run(
            ["sh", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert (done.returncode == 0) == (signer.key_id == first)
        assert json.loads(path.read_bytes().splitlines()[2])["body"]["previous"] in done.stdout
