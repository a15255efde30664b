"""Changes of files, by this kernel's fanotify: who did what to which file, and what is said when that cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.clock import Clock, SystemClock
from govsec.host import fanotifykernel as wire
from govsec.host.api import SourceUnavailableError
from govsec.host.events import EventsLost, FileChange, ProcessExited, ProcessStarted, WatchNote
from govsec.host.fanotify import Fanotify
from govsec.host.filewatch import WatchOptions
from govsec.host.foldermap import FolderMap
from govsec.host.procconnector import ProcessConnector
from govsec.host.processtree import ProcessTree
from govsec.testing.clock import FakeClock
from tests.host.watching import changes_until, machine, own_file_system, python, run, said, until
from tests.support.require import missing, require_root


class OldKernel(wire.Kernel):
    """This kernel without what came after 5.9."""

    def init(self, extra_flags: int) -> int:
        if extra_flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().init(extra_flags)


class NoWholeMarks(wire.Kernel):
    """This kernel, on a subvolume of btrfs."""

    def mark(self, descriptor: int, path: bytes, mask: int, *, is_whole: bool) -> None:
        if is_whole:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        super().mark(descriptor, path, mask, is_whole=is_whole)


@contextlib.contextmanager
def watching(
    *roots: Path,
    excluded: tuple[Path, ...] = (),
    clock: Clock | None = None,
    kernel: wire.Kernel | None = None,
    is_whole: bool = True,
    folders_max: int = 1000,
) -> Iterator[Fanotify]:
    require_root()
    with machine() as here:
        options = WatchOptions(roots, excluded, folders_max)
        source = Fanotify(options, here.tree, clock or SystemClock(), is_whole=is_whole, kernel=kernel)
        try:
            source.open()
        except SourceUnavailableError as error:
            missing("fanotify", str(error))
        try:
            yield source
        finally:
            source.close()


STORY = (
    "mkdir -p new/deep; echo hello >new/deep/file; mv new/deep/file have/moved; mv new named;"
    "echo more >named/deep/later; chmod 600 have/moved; rm -r named; mkdir END"
)
WHOLE_STORY = [
    "created new",
    "created new/deep",
    "created new/deep/file",
    "modified new/deep/file",
    "renamed have/moved from new/deep/file",
    "renamed named from new",
    "created named/deep/later",
    "modified named/deep/later",
    "attributes have/moved",
    "deleted named/deep/later",
    "deleted named/deep",
    "deleted named",
    "created END",
]


def test_a_story_of_files_is_told_in_order_with_the_paths_of_then(tmp_path: Path) -> None:
    (tmp_path / "have").mkdir()
    with watching(tmp_path) as source:
        run(STORY, tmp_path)
        assert said(changes_until(source, "/END"), tmp_path) == WHOLE_STORY


def test_an_old_kernel_tells_the_same_story(tmp_path: Path) -> None:
    (tmp_path / "have").mkdir()
    told: list[str] = []
    with watching(tmp_path, kernel=OldKernel()) as source:
        for step in STORY.split(";"):
            run(step, tmp_path)
            told += said([each for each in source.read() if isinstance(each, FileChange)], tmp_path)

    # mkdir -p is one step of two folders: the second was there when the first was looked at, and is told once.
    assert told == WHOLE_STORY


def test_what_was_made_and_removed_between_two_reads_is_told_with_all_that_was_in_it(tmp_path: Path) -> None:
    with watching(tmp_path) as source:
        (tmp_path / "short" / "deep").mkdir(parents=True)
        (tmp_path / "short" / "deep").rmdir()
        (tmp_path / "short").rmdir()
        (tmp_path / "END").mkdir()
        words = said(changes_until(source, "/END"), tmp_path)

    # The kernel merges what one process did to one folder; what was in it is told after, by its path all the same.
    assert words == ["created short", "deleted short", "created short/deep", "deleted short/deep", "created END"]


def test_what_appears_between_marking_and_looking_is_told_once(tmp_path: Path) -> None:
    class Racing(wire.Kernel):
        def mark(self, descriptor: int, path: bytes, mask: int, *, is_whole: bool) -> None:
            super().mark(descriptor, path, mask, is_whole=is_whole)
            if path.endswith(b"/new"):
                os.mkfifo(path + b"/raced")

    with watching(tmp_path, kernel=Racing(), is_whole=False) as source:
        run("mkdir new", tmp_path)
        words = said(changes_until(source, "/raced"), tmp_path)
        run("mkdir END", tmp_path)
        words += said(changes_until(source, "/END"), tmp_path)

    assert words == ["created new", "created new/raced", "created END"]


def test_who_did_it_is_named_with_those_he_came_from_also_when_he_is_gone(tmp_path: Path) -> None:
    require_root()
    with machine() as here, contextlib.closing(ProcessConnector(here.tree, here.read_all, SystemClock())) as processes:
        try:
            processes.open()
        except SourceUnavailableError as error:
            missing("proc connector", str(error))
        source = Fanotify(WatchOptions((tmp_path,)), here.tree, SystemClock())
        source.open()
        child = subprocess.Popen(["/bin/sh", "-c", "echo x >stolen; read word"], stdin=subprocess.PIPE, cwd=tmp_path)
        assert child.stdin is not None
        until(processes, lambda came: any(isinstance(each, ProcessStarted) and _is_of(each, child) for each in came))
        while not (tmp_path / "stolen").exists():
            time.sleep(0.01)
        child.stdin.close()
        child.wait()
        until(processes, lambda came: any(isinstance(each, ProcessExited) and _is_of(each, child) for each in came))
        change = changes_until(source, "/stolen")[0]
        source.close()

    assert change.process is not None and change.process.command[:2] == ("/bin/sh", "-c")
    assert change.pid == change.process.key.pid == child.pid
    assert change.ancestors[0].key.pid == os.getpid()


def _is_of(record: ProcessStarted | ProcessExited, child: subprocess.Popen[bytes]) -> bool:
    return record.process is not None and record.process.key.pid == child.pid


def test_who_did_it_is_found_without_the_connector_while_he_runs(tmp_path: Path) -> None:
    with watching(tmp_path) as source:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write_end)
            (tmp_path / "by-child").write_text("x" * 100)
            os.read(read_end, 1)
            os._exit(0)
        os.close(read_end)
        try:
            change = changes_until(source, "/by-child")[0]
        finally:
            os.close(write_end)
            os.waitpid(child, 0)

    assert change.process is not None and change.process.key.pid == child
    assert change.ancestors[0].key.pid == os.getpid()


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    with watching(tmp_path) as source:
        run("head -c 12345 /dev/zero >filled; mkdir folder", tmp_path)
        changes = changes_until(source, "/folder")

    sizes = {change.path.rsplit("/", 1)[1]: change.size_bytes for change in changes}
    assert sizes == {"filled": 12345, "folder": None}


def test_what_lies_outside_of_the_roots_or_is_excluded_is_not_told(tmp_path: Path) -> None:
    for name in ("watched", "watched/spool", "other"):
        (tmp_path / name).mkdir()
    with watching(tmp_path / "watched", excluded=(tmp_path / "watched" / "spool",)) as source:
        run("echo x >other/one; echo x >watched/spool/two; mkdir watched/spool/deep; mkdir watched/END", tmp_path)
        changes = changes_until(source, "/END")

    assert said(changes[:1], tmp_path) == ["created watched/END"]
    assert source.counters()["outside"] >= 2


def test_a_folder_that_comes_in_is_watched_with_all_below_and_one_that_leaves_is_not(tmp_path: Path) -> None:
    for name in ("watched", "other/in/deep"):
        (tmp_path / name).mkdir(parents=True)
    with watching(tmp_path / "watched") as source:
        run("mv other/in watched/in", tmp_path)
        first = changes_until(source, "/in")
        run("touch watched/in/deep/file", tmp_path)
        changes_until(source, "/file")
        run("mv watched/in other/out; touch other/out/deep/again; mkdir watched/END", tmp_path)
        last = changes_until(source, "/END")

    assert said(first, tmp_path) == ["renamed watched/in"]
    assert [change.old_path for change in first] == [None]
    words = said(last, tmp_path)
    assert "deleted watched/in" in words
    assert not [each for each in words if "again" in each]


def test_a_renamed_folder_changes_the_paths_of_what_lies_deep_in_it(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    with watching(tmp_path) as source:
        run("touch a/b/c/d/one; mv a/b a/z; mv a y; mkdir y/z/c/d/two", tmp_path)
        words = said(changes_until(source, "/two"), tmp_path)

    assert words[0] == "created a/b/c/d/one"
    assert words[-1] == "created y/z/c/d/two"


@pytest.mark.parametrize("name", [b"line\nend", b"\xff\xfe\x80", b"quo'te\" $(x) `y`", b"x" * 255, "文件".encode()])
def test_hostile_names_come_as_they_are(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with watching(tmp_path) as source:
        with open(path, "wb"):
            pass
        changes = changes_until(source, os.fsdecode(name))

    assert os.fsencode(changes[0].path) == path


def test_an_overflow_is_told_with_what_to_look_at_and_new_folders_are_known_after_it(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    clock = FakeClock()
    with own_file_system(tmp_path / "own") as folder, watching(folder, clock=clock) as source:
        (folder / "flood").mkdir()
        for number in range(limit + 10):
            os.mkfifo(folder / "flood" / str(number % 1000))
            os.unlink(folder / "flood" / str(number % 1000))
        (folder / "unseen").mkdir()
        lost: list[EventsLost] = []
        records = until(source, lambda came: any(isinstance(each, EventsLost) for each in came))
        lost = [each for each in records if isinstance(each, EventsLost)]
        assert not any(isinstance(each, FileChange) and each.path.endswith("/unseen") for each in records)
        clock.advance(60)
        source.read()
        (folder / "unseen" / "after").touch()
        after = said(changes_until(source, "/after"), folder)

    assert (lost[0].scope, lost[0].reason) == ((str(folder),), "the kernel's queue of file changes overran")
    assert (source.counters()["overflows"], source.counters()["rewalks"]) == (1, 1)
    assert after[0] == "created unseen/after"


@pytest.mark.parametrize("kernel", [None, NoWholeMarks()], ids=["as asked", "where no mark of the whole can be had"])
def test_folders_are_marked_one_by_one_and_what_is_in_new_ones_is_told(
    tmp_path: Path, kernel: wire.Kernel | None
) -> None:
    (tmp_path / "have" / "deep").mkdir(parents=True)
    with watching(tmp_path, kernel=kernel, is_whole=kernel is not None) as source:
        run("touch have/deep/one; mkdir -p new/below; touch new/below/two", tmp_path)
        records = until(source, lambda came: any(isinstance(each, FileChange) and "/two" in each.path for each in came))
        run("mv new named; mkdir named/below/three", tmp_path)
        later = said(changes_until(source, "/three"), tmp_path)
        counters = source.counters()

    words = said([each for each in records if isinstance(each, FileChange)], tmp_path)
    assert words[0] == "created have/deep/one"
    assert [words.count(f"created new{below}") for below in ("", "/below", "/below/two")] == [1, 1, 1]
    assert "renamed named from new" in later
    assert later[-1] == "created named/below/three"
    assert counters["folders"] == 6
    notes = [each.text for each in records if isinstance(each, WatchNote)]
    assert any("cannot be marked whole" in note for note in notes) == (kernel is not None)


def test_more_folders_than_there_is_room_for_are_told(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    with watching(tmp_path, folders_max=10) as source:
        notes = [each.text for each in source.read() if isinstance(each, WatchNote)]
        run("mkdir one-more", tmp_path)
        later = until(source, lambda came: len(came) >= 1)

    assert notes == ["more than 10 folders: 11 are not seen"]
    assert source.counters()["folders_left_out"] == 12
    assert [each.path for each in later if isinstance(each, FileChange)] == [str(tmp_path / "one-more")]


def test_roots_that_cannot_be_watched_are_told_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with watching(tmp_path / "folder", tmp_path / "link", tmp_path / "file", tmp_path / "missing") as source:
        notes = [each.text for each in source.read() if isinstance(each, WatchNote)]
    assert len(notes) == 3

    source = Fanotify(WatchOptions((tmp_path / "missing",)), ProcessTree(lambda pid: None), FakeClock())
    with pytest.raises(SourceUnavailableError, match="no folder to watch"):
        source.open()
    assert source.descriptor() is None


def test_a_root_within_a_root_is_watched_once_and_one_within_what_is_excluded_too(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "spool" / "kept").mkdir(parents=True)
    roots = (
        tmp_path / "outer" / "inner",
        tmp_path / "outer",
        tmp_path / "outer" / "spool" / "kept",
        tmp_path / "outer",
    )
    with watching(*roots, excluded=(tmp_path / "outer" / "spool",)) as source:
        run("mv outer/inner outer/moved; mkdir outer/moved/one outer/spool/two outer/spool/kept/three", tmp_path)
        words = said(changes_until(source, "/three"), tmp_path)

    assert words == [
        "renamed outer/moved from outer/inner",
        "created outer/moved/one",
        "created outer/spool/kept/three",
    ]


def test_nobody_is_refused_in_words(tmp_path: Path) -> None:
    require_root()
    done = python(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.api import SourceUnavailableError\n"
        "from govsec.host.fanotify import Fanotify\n"
        "from govsec.host.filewatch import WatchOptions\n"
        "from govsec.host.processtree import ProcessTree\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for is_whole in (True, False):\n"
        "    source = Fanotify(WatchOptions((Path('/etc'),)), ProcessTree(lambda pid: None), SystemClock(),\n"
        "                      is_whole=is_whole)\n"
        "    try:\n"
        "        source.open()\n"
        "    except SourceUnavailableError as error:\n"
        "        print(error)\n"
    )
    assert done.stdout.splitlines() == ["fanotify: not permitted (CAP_SYS_ADMIN)"] * 2, done.stderr


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_a_kernel_without_it_is_a_clear_error(tmp_path: Path, number: int) -> None:
    class Without(wire.Kernel):
        def init(self, extra_flags: int) -> int:
            raise OSError(number, os.strerror(number))

    source = Fanotify(WatchOptions((tmp_path,)), ProcessTree(lambda pid: None), FakeClock(), kernel=Without())
    with pytest.raises(SourceUnavailableError, match="fanotify: "):
        source.open()


def test_it_goes_on_after_rights_were_given_up(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "closed").mkdir(mode=0o700)
    done = python(
        "import os, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.events import FileChange\n"
        "from govsec.host.fanotify import Fanotify\n"
        "from govsec.host.filewatch import WatchOptions\n"
        "from govsec.net.privileges import drop_privileges\n"
        "from tests.host.watching import Machine\n"
        "folder = Path(sys.argv[1])\n"
        "source = Fanotify(WatchOptions((folder,)), Machine().tree, SystemClock())\n"
        "source.open()\n"
        "script = 'read word; mkdir closed/new; echo x >closed/new/file; read word'\n"
        "child = subprocess.Popen(['/bin/sh', '-c', script], stdin=subprocess.PIPE, cwd=folder)\n"
        "drop_privileges(readable=[Path('/proc')])\n"
        "child.stdin.write(b'go\\n'); child.stdin.flush()\n"
        "deadline, found = time.monotonic() + 60, []\n"
        "while not any(each.path.endswith('/file') for each in found) and time.monotonic() < deadline:\n"
        "    found += [each for each in source.read() if isinstance(each, FileChange)]\n"
        "    time.sleep(0.01)\n"
        "child.stdin.close(); child.wait()\n"
        "print(os.getuid(), [each.path.removeprefix(str(folder)) for each in found][:2], found[1].process.name)\n",
        str(tmp_path),
    )
    assert done.stdout.split(maxsplit=1)[1:] == ["['/closed/new', '/closed/new/file'] sh\n"], done.stderr
    assert done.stdout.split()[0] != "0"


# What the kernel writes, and what it does not.


@given(st.binary(max_size=400))
def test_bytes_that_are_no_messages_are_refused_or_end(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(list(wire.messages(data))) <= len(data) // 24


def test_a_message_of_another_version_is_refused() -> None:
    data = struct.pack("=IBBHQii", 24, 4, 0, 24, wire.CREATE, -1, 1)
    with pytest.raises(ValueError, match="version 4"):
        list(wire.messages(data))


def test_a_folder_that_lies_in_itself_has_no_path() -> None:
    folders = FolderMap(10)
    folders.add_root(b"root", b"/r")
    folders.put(b"one", b"two", b"1")
    folders.put(b"two", b"one", b"2")
    folders.put(b"good", b"root", b"g")

    assert (folders.path(b"one"), folders.path(b"good"), folders.path(b"root")) == (None, b"/r/g", b"/r")


def test_the_root_of_all_has_paths_with_one_slash() -> None:
    folders = FolderMap(10)
    folders.add_root(b"root", b"/")
    folders.put(b"etc", b"root", b"etc")

    assert folders.path(b"etc") == b"/etc"
