"""A real container, busybox and nothing else, asked through ``podman exec``; in a mount namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.require import require, require_root

#: Storage of its own; no cgroups, no network and no limits, for a test's machine may be a container itself.
_PODMAN = """#!/bin/sh
exec {podman} --root {folder}/store --runroot {short} --storage-driver vfs --cgroup-manager cgroupfs "$@"
"""
_RUN = """set -e
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 none /sys/fs/cgroup
export PATH={folder}/bin:$PATH
podman import -q {folder}/root.tar localhost/govsec-test >/dev/null
trap 'podman rm -f -t 0 {name} >/dev/null' EXIT
podman run -d --name {name} --cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none \\
  localhost/govsec-test /bin/sleep 3000 >/dev/null || exit 77
{python} -m govsec.cli assess collect --config {folder}/govsec.yaml --host {host} --pack sshd --pack accounts \\
  --pack linux-system --output {folder}/facts
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A root of busybox as an image, a podman of its own, and a configuration with two containers."""
    podman = shutil.which("podman")
    if podman is None:
        pytest.skip("podman: not on this machine (not among `make servers`: it is large)")
    require_root()
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(require("busybox"), root / "bin" / "busybox")
    for name in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nspare::0:0::/:/bin/sh\n", encoding="utf-8")
    (root / "etc" / "shadow").write_text("root:!:20000:0:99999:7:::\nspare::20000:0:99999:7:::\n", encoding="utf-8")
    (root / "etc" / "os-release").write_text("ID=boxed\n", encoding="utf-8")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(root, ".")
    (tmp_path / "bin").mkdir()
    short = tempfile.mkdtemp(prefix="govsec-")  # podman takes fifty characters
    (tmp_path / "bin" / "podman").write_text(
        _PODMAN.format(podman=podman, folder=tmp_path, short=short), encoding="utf-8"
    )
    (tmp_path / "bin" / "podman").chmod(0o755)
    hosts = {
        "box": {"kind": "container", "runtime": "podman", "container": _name()},
        "gone": {"kind": "container", "runtime": "podman", "container": f"{_name()}-gone"},
    }
    config = {"state_dir": str(tmp_path / "state"), "hosts": hosts}
    (tmp_path / "govsec.yaml").write_text(json.dumps(config), encoding="utf-8")
    yield tmp_path
    for place in (tmp_path, short):
        shutil.rmtree(place, ignore_errors=True)


def _name() -> str:
    return f"govsec-test-{os.getpid()}"


def _collected(folder: Path, host: str) -> subprocess.CompletedProcess[str]:
    script = _RUN.format(folder=folder, name=_name(), host=host, python=sys.executable)
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == 77:
        pytest.skip(f"podman: no container can be started here: {done.stderr.strip()[-200:]}")
    return done


def test_a_container_answers_by_itself_and_not_for_its_host(folder: Path) -> None:
    done = _collected(folder, "box")

    assert done.returncode == 0, done.stderr
    facts: Any = json.loads((folder / "facts" / "box.json").read_text(encoding="utf-8"))
    by_kind = {outcome["kind"]: outcome for outcome in facts["outcomes"].values()}
    assert (facts["transport"], facts["platform"]["os_id"]) == ("container", "boxed")
    assert facts["platform"]["container"] is True
    assert by_kind["users"]["status"] == "ok", by_kind["users"]["reason"]
    assert {row["name"] for row in by_kind["users"]["value"]["users"]} == {"root", "spare"}
    assert (by_kind["listeners"]["status"], by_kind["sshd"]["status"]) == ("ok", "absent")


def test_a_container_that_does_not_run_gives_no_answer(folder: Path) -> None:
    done = _collected(folder, "gone")

    assert done.returncode == 4, done.stderr
    assert not (folder / "facts" / "gone.json").exists()
