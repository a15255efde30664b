"""Programs without a file, for real: from memory, removed, removed and covered up, and upgraded as root does it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from govsec.guard.api import Actor, LooseImage
from govsec.guard.watch import loose_images
from govsec.host.processes import ProcessReader
from govsec.host.tree import Gaps, Tree
from govsec.records import Finding, Severity
from tests.guard.records import MONDAY_NS, Judge, process, snapshot
from tests.support.require import require_root

MEMORY, REMOVED = "host.process.memory_only", "host.process.deleted_executable"
CLONED = "/memfd:runc_cloned:/proc/self/exe"


def findings(pid: int) -> list[Finding]:
    """What a guard says of a snapshot with this process."""
    with ProcessReader(Tree.at(Path("/"))) as reader:
        running = next(one for one in reader.read_all(Gaps()) if one.key.pid == pid)
    return Judge("loose_image").each(loose_images((), snapshot(processes=(running,))))


@contextmanager
def daemon(program: Path) -> Iterator[int]:
    """A program that runs from ``program``; its number."""
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "600"]) as child:
        try:
            yield child.pid
        finally:
            child.terminate()


@pytest.fixture
def roots_folder() -> Iterator[Path]:
    """A folder that root alone may write, as all above it: where programs of packages lie."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="govsec-test-", dir="/var/lib") as name:
        yield Path(name)


def test_a_program_that_runs_from_memory_alone_is_told() -> None:
    """The interpreter's own file is copied into memory and run from there, under a name that runtimes have."""
    program = (
        "import os, sys\n"
        "number = os.memfd_create('libcrun', 0)\n"
        "data = open(sys.executable, 'rb').read()\n"
        "while data:\n"
        "    data = data[os.write(number, data):]\n"
        "os.execv(f'/proc/self/fd/{number}', ['libcrun', '-c', 'import sys; print(1, flush=True); sys.stdin.read()'])\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes) as child:  # type: ignore[call-overload]  # pipes
        try:
            assert child.stdout.readline() == b"1\n"
            (finding,) = findings(child.pid)
        finally:
            child.communicate(timeout=60)

    assert (finding.kind, finding.severity, finding.subject) == (MEMORY, Severity.CRITICAL, "/memfd:libcrun")


def test_a_program_whose_file_root_upgraded_is_merely_old(roots_folder: Path) -> None:
    program = roots_folder / "daemon"
    with daemon(program) as pid:
        assert findings(pid) == []
        program.unlink()
        (finding,) = findings(pid)
        shutil.copy("/bin/true", program)
        upgraded = findings(pid)

    assert (finding.kind, finding.subject) == (REMOVED, str(program))
    assert upgraded == []


def test_a_program_whose_place_anybody_could_have_filled_is_told(tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    program = open_folder / "daemon"
    with daemon(program) as pid:
        program.unlink()
        shutil.copy("/bin/true", program)
        assert [finding.kind for finding in findings(pid)] == [REMOVED]


def empty(program: Path) -> None:
    program.touch(mode=0o755)


def text_only(program: Path) -> None:
    program.write_text("not a program")
    program.chmod(0o644)


def a_link(program: Path) -> None:
    program.symlink_to("/bin/true")


def a_folder(program: Path) -> None:
    program.mkdir(mode=0o755)


def of_another(program: Path) -> None:
    shutil.copy("/bin/true", program)
    os.chown(program, 65534, 65534)


def in_an_open_folder(program: Path) -> None:
    shutil.copy("/bin/true", program)
    program.parent.chmod(0o777)


def behind_a_link(program: Path) -> None:
    program.parent.rmdir()
    elsewhere = program.parent.with_name("elsewhere")
    elsewhere.mkdir()
    shutil.copy("/bin/true", elsewhere / program.name)
    program.parent.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "cover",
    [empty, text_only, a_link, a_folder, of_another, in_an_open_folder, behind_a_link],
    ids=lambda one: one.__name__,
)
def test_what_only_looks_like_an_upgrade_is_told(roots_folder: Path, cover: Callable[[Path], None]) -> None:
    program = roots_folder / "place" / "daemon"
    program.parent.mkdir()
    with daemon(program) as pid:
        program.unlink()
        cover(program)
        assert [finding.kind for finding in findings(pid)] == [REMOVED]


def cloned(uid: int, *above: str, executable: str = CLONED) -> LooseImage:
    """A runtime's copy of itself in memory, below processes that run ``above``, nearest first."""
    ancestors = tuple(process(8 - n, "above", executable=path, uid=0) for n, path in enumerate(above))
    image = process(9, "runtime", executable=executable, executable_deleted=True, uid=uid)
    return LooseImage(MONDAY_NS, image.key, Actor(image, ancestors), is_replaced=False)


def said(image: LooseImage, **settings: object) -> list[str]:
    return [finding.kind for finding in Judge("loose_image", loose_image=settings).take(image)]


@pytest.mark.parametrize(
    "above",
    [
        ["/usr/bin/runc", "/usr/bin/containerd-shim-runc-v2", "/usr/lib/systemd/systemd"],
        ["/usr/local/bin/containerd-shim-runc-v2"],
        [CLONED, CLONED, "/usr/bin/runc"],
        ["/var/lib/rancher/k3s/data/current/bin/containerd-shim-runc-v2"],
    ],
)
def test_a_runtime_that_runs_from_memory_below_a_runtime_of_root_is_silent(above: list[str]) -> None:
    assert said(cloned(0, *above)) == []


@pytest.mark.parametrize(
    ("uid", "above"),
    [
        (1000, ["/usr/bin/runc", "/usr/bin/containerd-shim-runc-v2"]),
        (0, []),
        (0, ["/usr/bin/bash", "/usr/sbin/sshd"]),
        (0, ["/tmp/runc"]),
        # Root of a container calls its own program so: a web server started it, the shim is further up.
        (0, ["/usr/sbin/nginx", "/usr/bin/containerd-shim-runc-v2"]),
        (0, [CLONED]),
    ],
)
def test_the_name_of_a_runtime_alone_makes_nothing_silent(uid: int, above: list[str]) -> None:
    assert said(cloned(uid, *above)) == [MEMORY]


def test_rootless_containers_and_other_runtimes_are_silent_where_they_are_named() -> None:
    own = cloned(1000, "/srv/bin/starter", executable="/memfd:sealed-91173221a7ea")
    names = {"memory_names": ["sealed-*"], "runtimes": ["/srv/bin/starter"], "runtime_uids": [0, 1000]}

    assert said(own, **names) == []
    for name in names:
        assert said(own, **{key: value for key, value in names.items() if key != name}) == [MEMORY]
