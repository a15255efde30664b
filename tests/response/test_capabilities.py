"""The helper with no more rights than its unit gives it: every verb works, and shadow stays shadow's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.response.far import ROOT, People, ask, helper_running, make_order, wait_for, write_settings
from tests.response.test_helper import _PASSWD, _SHADOW, state_of, suspend_arguments
from tests.support.namespaces import cable
from tests.support.require import missing, require, require_root


def test_the_rights_of_the_unit_are_enough_for_every_verb(tmp_path: Path) -> None:
    require("nft")
    require_root()
    if not Path("/usr/sbin/usermod").exists() or shutil.which("setpriv") is None:
        missing("usermod", "no usermod or setpriv (packages passwd, util-linux)")
    etc = tmp_path / "machine" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text(_PASSWD)
    (etc / "shadow").write_text(_SHADOW)
    shutil.chown(etc / "shadow", "root", "shadow")
    (etc / "shadow").chmod(0o640)
    (etc / "group").write_text("root:x:0:\nsudo:x:27:bob\n")
    unit = (ROOT / "agents/units/govsec-helper.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^CapabilityBoundingSet=(.+)$", unit, re.MULTILINE)
    rights = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in line.split())
    people = People(tmp_path)
    settings = write_settings(tmp_path, management=["198.51.100.0/24"], accounts_root=str(tmp_path / "machine"))
    sleeper = subprocess.Popen(["setpriv", "--reuid", "65534", "--clear-groups", "sleep", "1000"])
    try:
        wait_for(lambda: Path(f"/proc/{sleeper.pid}").stat().st_uid == 65534, "it is another user's")
        orders = [
            make_order("nft.block", {"address": "192.0.2.66", "ttl_s": 3600}),
            make_order("host.isolate", {"ttl_s": 3600}),
            make_order("account.disable", {"account": "ann", "ttl_s": 3600}),
            make_order("process.suspend", {**suspend_arguments(sleeper.pid), "ttl_s": 3600}),
        ]
        with cable() as (here, _):
            way_in = ("ip", "netns", "exec", here.name)
            with helper_running(settings, *way_in, "setpriv", "--bounding-set", f"-all,{rights}", "--no-new-privs"):
                for order in orders:
                    done = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})
                    assert done["ok"] and done["holds"], (order.verb, done)
                wait_for(lambda: state_of(sleeper.pid) == "T", "it stands still")
                for order in orders:
                    undone = ask(tmp_path / "s", {"step": "undo", "nonce": order.nonce})
                    assert undone["ok"] and undone["state"] == "undone" and "note" not in undone["facts"], undone
                wait_for(lambda: state_of(sleeper.pid) == "S", "it goes on")
    finally:
        sleeper.kill()
        sleeper.wait(60)

    assert (etc / "shadow").read_text() == _SHADOW
    assert ((etc / "shadow").group(), (etc / "shadow").stat().st_mode & 0o777) == ("shadow", 0o640)
