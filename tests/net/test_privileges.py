"""A process that listens, and has given up everything else: tried for real, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from govsec.errors import ConfigurationError
from govsec.net.privileges import drop_privileges, landlock_version
from govsec.testing.packets import station, udp_frame
from tests.support.namespaces import cable
from tests.support.require import require_root

_ATTEMPTS = """
import ctypes, json, os, socket, sys
from pathlib import Path
from govsec.net.privileges import drop_privileges

def tried(act):
    try:
        act()
        return "done"
    except OSError as error:
        return type(error).__name__

folder = Path(sys.argv[1])
dropped = drop_privileges(writable=[folder / "out"], readable=[folder / "in"], is_landlock=sys.argv[2] == "landlock")
status = dict(line.split(":", 1) for line in open("/proc/self/status")) if sys.argv[2] != "landlock" else {}
print(json.dumps({
    "user": dropped.user, "landlock": dropped.landlock, "uid": os.getuid(), "groups": os.getgroups(),
    "status": {name: text.strip() for name, text in status.items() if name.startswith("Cap") or name == "NoNewPrivs"},
    "shadow": tried(lambda: open("/etc/shadow")),
    "hostname": tried(lambda: open("/etc/hostname")),
    "packet socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)),
    "raw socket": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "root": tried(lambda: os.setuid(0)),
    "execute": tried(lambda: os.execv("/bin/true", ["true"])) if sys.argv[2] == "landlock" else "",
    "read in": tried(lambda: open(folder / "in" / "list.txt").read()),
    "write in": tried(lambda: open(folder / "in" / "new.txt", "w")),
    "write out": tried(lambda: (folder / "out" / "new.txt").write_text("x")),
    "rename out": tried(lambda: (folder / "out" / "new.txt").rename(folder / "out" / "newer.txt")),
}))
"""


def attempts(folder: Path, kind: str) -> dict[str, Any]:
    require_root()
    folder.chmod(0o755)
    for name in ("in", "out"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "in" / "list.txt").write_text("indicator")
    # The test's own folders may lie below one that is its owner's alone.
    for above in folder.parents:
        if above.stat().st_mode & 0o005 != 0o005 and above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", _ATTEMPTS, str(folder), kind], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_nothing_is_left_but_what_was_named(tmp_path: Path) -> None:
    if landlock_version() == 0:
        pytest.skip("this kernel has no Landlock")
    found = attempts(tmp_path, "landlock")

    assert (found["user"], found["groups"]) == ("nobody", [])
    assert found["uid"] != 0
    refused = ("shadow", "hostname", "packet socket", "raw socket", "root", "execute", "write in")
    assert {name: found[name] for name in refused} == dict.fromkeys(refused, "PermissionError")
    allowed = ("read in", "write out", "rename out")
    assert {name: found[name] for name in allowed} == dict.fromkeys(allowed, "done")


def test_without_landlock_the_user_and_the_capabilities_still_go(tmp_path: Path) -> None:
    found = attempts(tmp_path, "without")

    assert found["landlock"] == 0
    none = "0000000000000000"
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert found["status"] == {**dict.fromkeys(names, none), "NoNewPrivs": "1"}
    assert (found["shadow"], found["packet socket"]) == ("PermissionError", "PermissionError")
    assert found["hostname"] == "done"  # any user may read it; only Landlock stands before that


_LISTENER = """
import json, sys
from pathlib import Path
from govsec.clock import SystemClock
from govsec.net.live import LiveCapture, LiveOptions
from govsec.net.privileges import drop_privileges

capture = LiveCapture("wire-b", LiveOptions(wide_slots=1024, deep_slots=256), SystemClock())
drop_privileges()
print("ready", flush=True)
seen = 0
for batch in capture.batches():
    seen += len(batch)
    if seen >= 50:
        capture.stop()
print(json.dumps([seen, capture.counters().dropped]))
"""


def test_an_open_capture_goes_on_without_privileges() -> None:
    with cable() as (sender, receiver):
        with receiver.inside():
            process = subprocess.Popen([sys.executable, "-c", _LISTENER], stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            sender.send(udp_frame(station(2), 1000 + number, station(3), 53, b"x") for number in range(50))
            out, _ = process.communicate(timeout=120)

    assert json.loads(out) == [50, 0]


def test_root_and_strangers_are_no_users_to_become() -> None:
    require_root()
    for name in ("root", "nobody-of-this-name"):
        with pytest.raises(ConfigurationError, match=name):
            drop_privileges(name)
