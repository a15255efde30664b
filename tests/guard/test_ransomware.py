"""Ransomware for real: a tree is encrypted by a program and found, with who did it; honest work on it is silent.

The kernel's own events are judged. Every attack leaves a tree whose documents are noise; every twin is something that
servers do each day.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.errors import FormatError, RefusedError
from govsec.guard.canaries import NAMES, Canaries
from govsec.guard.contents import entropy_of, form_of
from govsec.records import Severity
from govsec.testing.clock import FakeClock
from tests.guard.records import Judge, actor, change, kinds
from tests.guard.watched import watched
from tests.support.require import missing

CANARY = "host.ransomware.canary"
RENAMES = "host.ransomware.renames"
ENTROPY = "host.ransomware.entropy"
DELETES = "host.ransomware.deletes"

#: In place, and the name stays.
IN_PLACE = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "r+b") as file:
            size = len(file.read())
            file.seek(0)
            file.write(os.urandom(max(size, 4096)))
"""
#: A new file beside the old one, which is removed.
BESIDE = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path + ".locked", "wb") as file:
            file.write(os.urandom(8192))
        os.unlink(path)
"""
#: In place, and then a name that says who it was.
RENAMED = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "r+b") as file:
            file.write(os.urandom(8192))
        os.rename(path, path + ".w4r3")
"""
#: Names are renamed only, each to an ending of its own.
NAMES_ONLY = """
import os, sys
for number, (folder, _, names) in enumerate(os.walk(sys.argv[1])):
    for at, name in enumerate(names):
        path = os.path.join(folder, name)
        os.rename(path, path + ".id%03d%02dzq" % (number, at))
"""


def documents(folder: Path, count: int = 40) -> Path:
    """A share as people have it: letters, tables, workbooks, pictures."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        place = folder / f"dept{number % 4}"
        place.mkdir(exist_ok=True)
        (place / f"letter{number}.txt").write_text(f"关于第 {number} 号事项的函。\n" * 80, encoding="utf-8")
        (place / f"table{number}.csv").write_text("\n".join(f"{row},{row * 7}" for row in range(300)))
        (place / f"book{number}.xlsx").write_bytes(packed(f"{number}".encode() * 999))
        (place / f"photo{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(6000))
    return folder


def packed(data: bytes) -> bytes:
    """A small archive, as office programs write them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("content.xml", data + os.urandom(2000))
    return buffer.getvalue()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    return documents(tmp_path / "share")


@pytest.mark.parametrize(
    ("script", "expected"),
    [(IN_PLACE, {ENTROPY}), (BESIDE, {ENTROPY}), (RENAMED, {ENTROPY, RENAMES}), (NAMES_ONLY, {RENAMES})],
    ids=["in place", "beside and removed", "in place and renamed", "renamed only"],
)
def test_a_tree_that_is_encrypted_is_found(tmp_path: Path, share: Path, script: str, expected: set[str]) -> None:
    with watched(share, tmp_path / "state") as world:
        findings = world.while_runs(script, share)
        knows_processes = world.knows_processes

    assert expected <= set(kinds(findings))
    for finding in findings:
        if finding.kind in expected:
            assert finding.severity is Severity.CRITICAL
            assert finding.facts["attack"]
            if knows_processes:
                assert "os.walk" in str(finding.facts["processes"])


def test_a_canary_that_is_written_to_is_told_at_once_with_who_did_it(tmp_path: Path, share: Path) -> None:
    with watched(share, tmp_path / "state", has_canaries=True) as world:
        first, last = world.canaries.all()
        Path(first.path).read_bytes()
        assert world.findings() == []

        finding, *more = world.while_runs("import sys\nopen(sys.argv[1], 'ab').write(b'x')", first.path)

        assert (finding.kind, finding.severity, more) == (CANARY, Severity.CRITICAL, [])
        assert finding.subject == first.path
        if world.knows_processes:
            assert first.path in str(finding.facts["processes"])

        os.rename(last.path, last.path + ".locked")
        assert kinds(world.findings()) == [CANARY]


def test_an_encrypter_that_goes_through_the_folder_meets_a_canary_first(tmp_path: Path, share: Path) -> None:
    with watched(share, tmp_path / "state", has_canaries=True) as world:
        findings = world.while_runs(IN_PLACE.replace("in names:", "in sorted(names):"), share)

        assert kinds(findings)[0] == CANARY


def back_up(share: Path, work: Path) -> None:
    """Everything is read; an archive and packs without any name are written elsewhere."""
    shutil.make_archive(str(work / "backup"), "gztar", share / "dept0")
    for number in range(60):
        (work / f"{number:064x}").write_bytes(os.urandom(20_000))


def compile_something(share: Path, work: Path) -> None:
    """Many small files are made, renamed and removed again."""
    for number in range(60):
        (work / f"part{number}.c").write_text("int f(void) { return 1; }\n" * 40)
        temporary = work / f"part{number}.o.tmp"
        temporary.write_bytes(b"\x7fELF" + os.urandom(5000))
        temporary.rename(work / f"part{number}.o")
    for number in range(60):
        (work / f"part{number}.o").unlink()


def upgrade_packages(share: Path, work: Path) -> None:
    """New files are unpacked beside the old ones and take their place, old settings are kept."""
    for number in range(60):
        (work / f"tool{number}.py").write_text("import os\n" * 200)
        (work / f"tool{number}.conf").write_text("a = 1\n" * 200)
    for number in range(60):
        new = work / f"tool{number}.py.dpkg-new"
        new.write_text("import sys\n" * 200)
        os.rename(work / f"tool{number}.conf", work / f"tool{number}.conf.dpkg-old")
        os.rename(new, work / f"tool{number}.py")


def rotate_logs(share: Path, work: Path) -> None:
    """Logs get numbers and are packed."""
    for number in range(30):
        log = work / f"app{number}.log"
        log.write_text("GET / 200\n" * 500)
        os.rename(log, work / f"app{number}.log.1")
        subprocess.run(["gzip", str(work / f"app{number}.log.1")], check=True, timeout=60)


def unpack_an_archive(share: Path, work: Path) -> None:
    """Documents come out of an archive in number."""
    archive = shutil.make_archive(str(work / "in"), "zip", share / "dept1")
    shutil.unpack_archive(archive, work / "out")


def import_photos(share: Path, work: Path) -> None:
    """Pictures come from a camera, get names by date, and leave the camera."""
    camera, library = work / "DCIM", work / "2026"
    camera.mkdir()
    library.mkdir()
    for number in range(120):
        (camera / f"IMG_{number:04}.JPG").write_bytes(b"\xff\xd8\xff\xe1" + os.urandom(9000))
    for number in range(120):
        shutil.copyfile(camera / f"IMG_{number:04}.JPG", library / f"IMG_{number:04}.JPG")
        os.rename(library / f"IMG_{number:04}.JPG", library / f"20261122_{number:04}.jpg")
        (camera / f"IMG_{number:04}.JPG").unlink()


def encrypt_for_somebody(share: Path, work: Path) -> None:
    """A person encrypts documents to send them; the documents stay."""
    for path in sorted(share.rglob("*.xlsx")):
        Path(f"{path}.gpg").write_bytes(b"\x85\x02\x0c" + os.urandom(9000))


def save_in_an_editor(share: Path, work: Path) -> None:
    """Programs save by writing beside, and renaming onto the old file."""
    for path in sorted(share.rglob("book*.xlsx")):
        beside = path.with_name(f"~{path.name}.tmp")
        beside.write_bytes(packed(b"new" * 999))
        os.rename(beside, path)


def sort_documents(share: Path, work: Path) -> None:
    """Somebody puts dates into names, and changes the case of endings."""
    for number, path in enumerate(sorted(share.rglob("*.jpg"))):
        os.rename(path, path.with_name(f"2026-11-22 {number}.JPEG"))
    for path in sorted(share.rglob("table*.csv")):
        os.rename(path, f"{path}.2026-11-22")


@pytest.mark.parametrize(
    "work",
    [
        back_up,
        compile_something,
        upgrade_packages,
        rotate_logs,
        unpack_an_archive,
        import_photos,
        encrypt_for_somebody,
        save_in_an_editor,
        sort_documents,
    ],
    ids=lambda work: work.__name__,
)
def test_honest_work_on_the_same_tree_is_silent(
    tmp_path: Path, share: Path, work: Callable[[Path, Path], None]
) -> None:
    place = tmp_path / "share" / "work"
    place.mkdir()
    with watched(share, tmp_path / "state", has_canaries=True) as world:
        work(share, place)

        assert world.findings() == []
        assert world.guard.counters()["sampler"]["samples"] or work in (compile_something, back_up)


def test_documents_that_are_removed_in_number_are_told_and_a_tree_that_is_moved_is_not(tmp_path: Path) -> None:
    # What is made to be removed is left out elsewhere: pytest's own folder is such a place.
    share = documents(tmp_path / "share", 120)
    settings = {"ransom_deletes": {"passing": ()}}
    with watched(share, tmp_path / "state", **settings) as world:
        copy = share / "elsewhere"
        shutil.copytree(share / "dept0", copy)
        shutil.rmtree(share / "dept0")
        assert world.findings() == []

        for name in ("dept1", "dept2", "dept3"):
            shutil.rmtree(share / name)
        (finding,) = world.findings()

    assert (finding.kind, finding.severity) == (DELETES, Severity.HIGH)
    assert finding.facts["measured"]["deletes"]["threshold"] == 100  # type: ignore[index,call-overload]  # JSON


def test_twenty_renames_by_many_short_programs_are_one_tree() -> None:
    """Each document is renamed by a program of its own; what they share is the shell."""
    judge = Judge("ransom_renames")

    found = judge.each(
        change(at, f"/srv/a{at}.docx.xyz", "renamed", old=f"/srv/a{at}.docx", by=actor(200 + at, "mv"))
        for at in range(20)
    )

    assert kinds(found) == [RENAMES]
    assert found[0].time.second == 19
    assert [one["name"] for one in found[0].facts["processes"]] == ["mv", "bash", "systemd"]  # type: ignore[union-attr,index,call-overload]  # JSON


def test_nineteen_renames_or_twenty_in_two_minutes_are_silent() -> None:
    def renames(gap: float, count: int) -> list[str]:
        records = (
            change(at * gap, f"/srv/a{at}.docx.xyz", "renamed", old=f"/srv/a{at}.docx", by=actor(7, "mv"))
            for at in range(count)
        )
        return kinds(Judge("ransom_renames").each(records))

    assert renames(1, 19) == []
    assert renames(6.3, 20) == []


def test_what_a_site_puts_on_by_itself_can_be_named() -> None:
    judge = Judge("ransom_renames", ransom_renames={"known_endings": ["done"]})

    assert (
        judge.each(
            change(at, f"/srv/a{at}.csv.done", "renamed", old=f"/srv/a{at}.csv", by=actor(7, "job")) for at in range(40)
        )
        == []
    )


def test_canaries_open_as_documents_and_commands_raise_no_alarm(tmp_path: Path) -> None:
    share = documents(tmp_path / "share", 4)
    with watched(share, tmp_path / "state") as world:
        clock = world.clock
        placed = world.canaries.place(share, clock)
        assert sorted(entry.name for entry in share.iterdir())[0] == NAMES[0]
        assert sorted(entry.name for entry in share.iterdir())[-1] == NAMES[1]
        assert form_of(Path(placed[0].path).read_bytes()) == "zip"
        assert "诱饵" in Path(placed[1].path).read_text("utf-8-sig")
        world.canaries.place(share, clock)
        assert world.findings() == []
        world.canaries.remove(share)
        assert world.findings() == []
        assert not any((share / name).exists() for name in NAMES)


def test_a_file_that_is_no_canary_is_not_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_text("somebody's")

    with pytest.raises(RefusedError, match="no canary"):
        Canaries(tmp_path / "list.json").place(tmp_path, FakeClock())

    assert (tmp_path / NAMES[0]).read_text() == "somebody's"


def test_canaries_that_were_touched_while_nobody_watched_are_told_once(tmp_path: Path) -> None:
    canaries = Canaries(tmp_path / "state" / "canaries.json")
    placed = canaries.place(tmp_path, FakeClock())
    assert canaries.missed(1) == []

    Path(placed[0].path).write_bytes(b"noise")
    Path(placed[1].path).unlink()

    assert canaries.missed(2) == []
    assert [one.change.operation.value for one in canaries.missed(3)] == ["modified", "deleted"]
    assert canaries.missed(4) == []


def test_a_list_of_canaries_that_is_damaged_or_gone_is_told_and_the_canaries_go_on_to_count(tmp_path: Path) -> None:
    share = documents(tmp_path / "share", 4)
    with watched(share, tmp_path / "state", has_canaries=True) as world:
        first, _ = world.canaries.all()
        (tmp_path / "state" / "canaries.json").write_bytes(b"{}}")
        with pytest.raises(FormatError):
            world.canaries.refresh()
        Path(first.path).write_bytes(b"noise")

        assert kinds(world.findings()) == [CANARY]


@pytest.mark.parametrize("program", ["openssl", "gpg"])
def test_what_tools_encrypt_is_noise_and_what_they_pack_is_not(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        missing(program, "it is not installed")
    plain = tmp_path / "letter.txt"
    plain.write_text("sehr geehrte Damen und Herren\n" * 300)
    out = tmp_path / "letter.txt.out"
    argv = {
        "openssl": "openssl enc -aes-256-ctr -pbkdf2 -pass pass:x",
        "gpg": f"gpg --homedir {tmp_path} --batch --pinentry-mode loopback --passphrase x --compress-algo none -c",
    }[program].split()
    argv += ["-in", str(plain), "-out", str(out)] if program == "openssl" else ["-o", str(out), str(plain)]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    if program == "gpg":  # it leaves a helper of this home running
        subprocess.run(["gpgconf", "--homedir", str(tmp_path), "--kill", "all"], capture_output=True, timeout=120)

    assert entropy_of(out.read_bytes()) > 7.2
    assert form_of(out.read_bytes()) in (None, "openssl")
    assert form_of(plain.read_bytes()) == "text"
