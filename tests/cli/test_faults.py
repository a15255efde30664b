"""What a person does wrong, or finds broken: one clear line that names the thing, its exit code, nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from govsec.cli.main import main
from tests.cli.conftest import Site, tree_digest
from tests.support.require import missing, require_root

READING = [
    ("backup", "list"),
    ("backup", "ls", "latest"),
    ("backup", "restore", "latest", "--target", "TARGET"),
    ("backup", "dump", "latest", "/"),
    ("repo", "check"),
    ("repo", "stats"),
    ("repo", "keys", "list"),
]
WRITING = [("backup", "run"), ("backup", "forget", "--dry-run"), ("repo", "prune")]
KEYLESS = [("center", "ship", "far"), ("center", "verify", "near")]


def _fails(site: Site, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    """Run, and hold the failure to what every failure promises."""
    target = site.directory.parent / "target"
    before = site.digest()
    arguments = [str(target) if word == "TARGET" else word for word in argv]
    is_json = argv[1] != "dump"  # what is dumped is the content of a file, which has no JSON

    assert site.run(*arguments, *(["--json"] if is_json else [])) == code, capsys.readouterr()

    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("govsec: ")]
    assert len(lines) == 1, shown.err
    for word in words:
        assert word in lines[0]
    if is_json:
        error = json.loads(shown.out)["error"]
        assert (error["exit_code"], f"govsec: {error['message']}") == (code, lines[0])
    else:
        assert shown.out == ""
    assert site.digest() == before
    assert not target.exists() or list(target.iterdir()) == []


@pytest.mark.parametrize("argv", READING + WRITING, ids=" ".join)
def test_a_wrong_password(site: Site, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    (site.directory / "keys" / "password").write_text("hunter2\n")

    _fails(site, argv, capsys, 3, "password")
    assert "hunter2" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("argv", READING + WRITING, ids=" ".join)
def test_a_password_file_that_others_can_read(
    site: Site, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    (site.directory / "keys" / "password").chmod(0o644)

    _fails(site, argv, capsys, 3, "keys/password", "chmod 600")


@pytest.mark.parametrize("argv", READING + WRITING + KEYLESS, ids=" ".join)
def test_unknown_keys_in_the_configuration(
    site: Site, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    config = json.loads(site.config.read_text(encoding="utf-8"))
    config["systems"][0]["passwrod_file"] = "keys/password"
    site.config.write_text(json.dumps(config), encoding="utf-8")

    _fails(site, argv, capsys, 3, str(site.config), "passwrod_file")


@pytest.mark.parametrize("argv", READING + WRITING, ids=" ".join)
def test_a_foreign_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"not a repository")
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    before = tree_digest(tmp_path)
    source = [str(tmp_path)] if argv == ("backup", "run") else []
    rules = ["--keep-last", "1"] if argv[1] == "forget" else []
    arguments = [str(tmp_path / "target") if word == "TARGET" else word for word in argv]

    code = main([*arguments, *source, *rules, "--repo", str(foreign), "--password-file", str(password)])

    shown = capsys.readouterr()
    assert (code, shown.out) == (4, "")
    assert [line for line in shown.err.splitlines() if "repository" in line and line.startswith("govsec: ")]
    assert "hunter2" not in shown.err
    assert tree_digest(tmp_path) == before


@pytest.mark.parametrize("argv", [("center", "ship", "far"), ("center", "verify", "far")], ids=" ".join)
def test_a_center_that_was_never_initialised(
    site: Site, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    shutil.rmtree(site.directory / "far" / "permits")
    (site.directory / "far" / "permits").mkdir()

    before = site.digest()
    code = site.run(*argv)

    assert code in (4, 5)
    assert "far" in capsys.readouterr().err
    assert site.digest() == before


@pytest.mark.parametrize("argv", READING + WRITING, ids=" ".join)
def test_a_center_whose_disk_is_not_mounted(
    site: Site, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    for center in ("main", "near", "far"):
        shutil.rmtree(site.directory / center)

    _fails(site, argv, capsys, 4, "is its disk mounted?")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    require_root()
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "govsec-test", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("mount", "this machine does not let root mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_no_space_at_a_center(site: Site, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(site.directory / "near", small_disk / "near")
    shutil.rmtree(site.directory / "near")
    (site.directory / "near").symlink_to(small_disk / "near")
    (site.source / "large.bin").write_bytes(bytes(range(256)) * 4000)
    (site.source / "scan.bin").write_bytes(_incompressible(1 << 20))
    snapshots = tree_digest(site.directory / "main" / "permits" / "snapshots")
    commits = tree_digest(site.directory / "main" / "permits" / "govsec" / "commits")

    code = site.run("backup", "run")

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("govsec: ")]
    assert code == 75
    assert len(lines) == 1
    assert "near" in lines[0]
    assert "space" in lines[0]
    assert tree_digest(site.directory / "main" / "permits" / "snapshots") == snapshots
    assert tree_digest(site.directory / "main" / "permits" / "govsec" / "commits") == commits
    assert site.run("repo", "check", "--center", "main") == 0


def test_no_space_for_a_restore(site: Site, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site.source / "scan.bin").write_bytes(_incompressible(1 << 20))
    assert site.run("backup", "run") == 0
    before = site.digest()
    capsys.readouterr()

    code = site.run("backup", "restore", "latest", "--target", str(small_disk / "restored"))

    shown = capsys.readouterr()
    assert code in (1, 75)
    assert "space" in shown.err + shown.out
    assert site.digest() == before


def _incompressible(size: int) -> bytes:
    import hashlib

    return hashlib.shake_256(b"scan").digest(size)


#: Each command runs once on an intact copy, which loads what it needs while that is still allowed (the checkout may lie
#: where nobody else can go), and then in a child that gives up its rights first.
_AS_NOBODY = """
import json, os, sys
from govsec.cli.main import main
for line in sys.stdin:
    command, intact, closed, error = json.loads(line)
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    assert main([*command, "--quiet", "--config", intact]) == 0
    os.dup2(answer, 1)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
            code = main([*command, "--config", closed])
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
Call = Callable[[Sequence[str], Site, Site], tuple[int, str]]


@pytest.fixture(scope="module")
def as_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Runs a command on the second site as an unprivileged user: its exit code and what it wrote to standard error."""
    require_root()  # to become somebody else
    directory = tmp_path_factory.mktemp("said")
    argv = [sys.executable, "-c", _AS_NOBODY]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answered = process.stdin, process.stdout
        numbers = count()

        def call(command: Sequence[str], intact: Site, closed: Site) -> tuple[int, str]:
            said = directory / str(next(numbers))
            asked.write(json.dumps([command, str(intact.config), str(closed.config), str(said)]) + "\n")
            asked.flush()
            return int(answered.readline()), said.read_text()

        yield call
        asked.close()


@pytest.mark.parametrize(
    ("closed", "argv", "code", "words"),
    [
        ("keys/password", ("backup", "list"), 3, ("keys/password", "Permission denied")),
        ("*/permits/snapshots", ("backup", "list", "--center", "main"), 5, ("main", "snapshots")),
        ("govsec.yaml", ("backup", "list"), 3, ("govsec.yaml", "Permission denied")),
        ("keys/commit.key", ("backup", "run"), 3, ("keys/commit.key", "Permission denied")),
        ("*/permits/govsec/commits", ("center", "ship", "far"), 5, ("commits",)),
        ("far/permits", ("center", "ship", "far"), 5, ("far",)),
    ],
)
def test_no_permission(
    open_site: Site, site: Site, as_nobody: Call, closed: str, argv: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    intact, site = site, open_site
    subprocess.run(["chown", "-R", "65534:65534", site.directory], check=True)
    for path in site.directory.glob(closed):
        os.chown(path, 0, 0)
        path.chmod(0o600)
    before = site.digest()

    found, said = as_nobody(argv, intact, site)

    lines = [line for line in said.splitlines() if line.startswith("govsec: ")]
    assert (found, len(lines)) == (code, 1), said
    for word in words:
        assert word in lines[0]
    assert site.digest() == before
