"""Databases of rpm that were made to mislead the reader: nothing is raised, nothing is vouched for, faults are counted.

Short runs feed seeds 0, 1, 2 …, printed where one fails; ``make soak`` goes on from one that it prints.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from govsec.errors import IntegrityError
from govsec.guard.rpmfiles import RpmFiles
from govsec.host.rpmdb import read_rpm_database
from tests.repo.test_fuzz import mutated
from tests.support.rpm import write_berkeley_db
from tests.support.rpmheaders import STRING, STRINGS, Entry, entries_of, pack_header, write_database
from tests.support.soak import seeds

CONTENTS = b"#!/bin/sh\n"
DIGEST = hashlib.sha256(CONTENTS).hexdigest()
PATHS = ("/usr/bin/app", "/usr/bin/other", "/opt/lib/of/app")
#: What one small database may make of memory, whatever it says.
MEMORY_MAX = 64 << 20


class Root:
    """A root with one program that a package lists, owned by whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.database = folder / "var/lib/rpm/rpmdb.sqlite"
        self.app = str(folder / "usr/bin/app")
        Path(self.app).parent.mkdir(parents=True)
        Path(self.app).write_bytes(CONTENTS)
        Path(self.app).chmod(0o755)
        (folder / "etc").mkdir()
        # Names of numbers that need not be those of root.
        (folder / "etc/passwd").write_text(f"root:x:{os.getuid()}:0::/:/bin/sh\n")
        (folder / "etc/group").write_text(f"root:x:{os.getgid()}:\n")

    def entries(self) -> list[Entry]:
        return entries_of("app", "1", [(path, 0o100755, len(CONTENTS), DIGEST) for path in PATHS])

    def files(self, *headers: bytes) -> RpmFiles:
        write_database(self.database, headers)
        return RpmFiles(self.root)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def changed(entries: Iterable[Entry], tag: int, kind: int, values: object) -> list[Entry]:
    """With another value in the place of a tag's."""
    return [(one, kind, values) if one == tag else (one, was, old) for one, was, old in entries]  # type: ignore[misc]  # hostile


def index_of(header: bytes, tag: int) -> int:
    """Where the entry of a tag begins."""
    count = struct.unpack_from(">I", header)[0]
    return next(at for at in range(8, 8 + 16 * count, 16) if struct.unpack_from(">I", header, at)[0] == tag)


def with_entry(
    header: bytes, tag: int, *, kind: int | None = None, offset: int | None = None, count: int | None = None
) -> bytes:
    """With a part of an entry changed, and the data as they are."""
    at = index_of(header, tag)
    _, old_kind, old_offset, old_count = struct.unpack_from(">IIiI", header, at)
    new = (
        tag,
        old_kind if kind is None else kind,
        old_offset if offset is None else offset,
        old_count if count is None else count,
    )
    return header[:at] + struct.pack(">IIiI", *new) + header[at + 16 :]


def test_an_honest_header_is_believed(root: Root) -> None:
    files = root.files(pack_header(root.entries()))

    assert files.versions() == {"app": "1-1.noarch"}
    assert files.owners([root.app, str(root.root / "etc/passwd")]) == {root.app: "app"}
    assert files.vouches("app", root.app)
    assert files.is_whole
    assert files.faults_count == 0


def test_paths_are_found_where_folders_were_merged(root: Root) -> None:
    written = entries_of("app", "1", [("/bin/app", 0o100755, len(CONTENTS), DIGEST)])
    files = root.files(pack_header(written))

    assert files.owners([root.app]) == {root.app: "app"}
    assert files.vouches("app", root.app)


def test_sizes_of_64_bits_hold_in_the_place_of_those_of_32(root: Root) -> None:
    long = [*root.entries(), (5008, 5, [len(CONTENTS) + (1 << 32)] * 3)]
    size_only = root.files(pack_header(long))
    assert not size_only.vouches("app", root.app)
    assert size_only.is_whole

    long[-1] = (5008, 5, [len(CONTENTS)] * 3)
    assert root.files(pack_header([one for one in long if one[0] != 1028])).vouches("app", root.app)


def test_what_was_added_at_installation_holds_in_the_place_of_what_the_package_had(root: Root) -> None:
    """A package that was put elsewhere has its new folders behind its old ones."""
    moved = [*root.entries(), (1118, STRINGS, ["/srv/bin/", "/srv/of/"])]
    files = root.files(pack_header(moved))

    assert not files.owns("app", root.app)
    assert files.owns("app", str(root.root / "srv/bin/app"))


def test_what_a_package_lists_and_did_not_bring_is_not_its_own(root: Root) -> None:
    files = root.files(pack_header(changed(root.entries(), 1029, 2, [1, 0, 0])))

    assert files.owners([root.app]) == {}
    assert not files.owns("app", root.app)
    assert not files.vouches("app", root.app)
    assert files.is_whole


def test_an_unknown_algorithm_vouches_for_nothing_and_is_counted(root: Root) -> None:
    files = root.files(pack_header(changed(root.entries(), 5011, 4, [77])))

    assert not files.vouches("app", root.app)
    assert files.faults_count == 1


def data_size(header: bytes) -> int:
    """What a header says of the size of its data."""
    return int(struct.unpack_from(">I", header, 4)[0])


def with_data_size(header: bytes, size: int) -> bytes:
    return header[:4] + struct.pack(">I", size) + header[8:]


HOSTILE: dict[str, Callable[[list[Entry], bytes], bytes]] = {
    "more names than there are": lambda entries, header: with_entry(header, 1117, count=10),
    "names without end": lambda entries, header: with_entry(header, 1117, count=0xFFFFFFFF),
    "more numbers than there are": lambda entries, header: with_entry(header, 1116, count=1 << 20),
    "numbers without end": lambda entries, header: with_entry(header, 1030, count=0xFFFFFFFF),
    "fewer directory indexes than names": lambda entries, header: with_entry(header, 1116, count=2),
    "fewer digests than names": lambda entries, header: with_entry(header, 1035, count=2),
    "fewer modes than names": lambda entries, header: with_entry(header, 1030, count=1),
    "fewer states than names": lambda entries, header: with_entry(header, 1029, count=1),
    "names before the data": lambda entries, header: with_entry(header, 1117, offset=-16),
    "names behind the data": lambda entries, header: with_entry(header, 1117, offset=0x7FFFFFFF),
    "digests at the end of the data": lambda entries, header: with_entry(header, 1035, offset=data_size(header) - 1),
    "names as numbers": lambda entries, header: with_entry(header, 1117, kind=4),
    "names of a type that is none": lambda entries, header: with_entry(header, 1117, kind=0xFFFFFFFF),
    "modes as strings": lambda entries, header: with_entry(header, 1030, kind=8),
    "modes as one string": lambda entries, header: with_entry(header, 1030, kind=6),
    "a directory that is not there": lambda entries, header: pack_header(changed(entries, 1116, 4, [2, 0xFFFFFFFF, 0])),
    "no owners": lambda entries, header: pack_header(one for one in entries if one[0] != 1039),
    "no sizes": lambda entries, header: pack_header(one for one in entries if one[0] != 1028),
    "the last string without its end": lambda entries, header: with_data_size(header, data_size(header) - 1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_that_lies_vouches_for_nothing_and_is_counted(root: Root, case: str) -> None:
    # The names come last.
    entries = sorted(root.entries(), key=lambda one: one[0] == 1117)
    header = pack_header(entries)
    files = root.files(HOSTILE[case](entries, header), pack_header(entries_of("else", "1", [])))

    assert not files.vouches("app", root.app)
    assert files.versions() == {"app": "1-1.noarch", "else": "1-1.noarch"}
    assert not files.is_whole
    assert files.faults_count > 0


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\0\0\0\x01",
        struct.pack(">II", 0xFFFFFFFF, 4),
        struct.pack(">II", 65_535, 0xFFFFFFFF) + bytes(16 * 65_535),
        pack_header([(1000, STRINGS, ["app"])]),
        pack_header([(1001, STRING, "1")]),
    ],
    ids=["empty", "cut", "entries", "data", "name of another type", "nameless"],
)
def test_a_row_that_is_no_header_is_counted_and_the_others_are_read(root: Root, header: bytes) -> None:
    files = root.files(header, pack_header(root.entries()))

    assert files.versions() == {"app": "1-1.noarch"}
    assert files.faults_count == 1
    assert files.owners([root.app]) == {root.app: "app"}
    assert files.vouches("app", root.app)


def test_a_million_names_of_nothing_stay_small(root: Root) -> None:
    zeros = 900_000
    # The names come last, and zeros behind them.
    header = pack_header(sorted(root.entries(), key=lambda one: one[0] == 1117))
    lying = with_entry(with_data_size(header, data_size(header) + zeros), 1117, count=zeros) + bytes(zeros)
    files = root.files(*[lying] * 3)
    tracemalloc.start()
    try:
        assert files.owners([root.app]) == {}
        assert not files.owns("app", root.app)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < MEMORY_MAX
    assert files.faults_count > 0


def ask_everything(root: Root, what: str, seed: int) -> RpmFiles:
    """All that can be asked of a database, which must raise nothing."""
    files = RpmFiles(root.root)
    paths = [str(root.root) + path for path in PATHS]
    try:
        names = {*files.versions(), *files.owners(paths).values(), "app"}
        for name in names:
            for path in paths:
                files.owns(name, path)
                files.vouches(name, path)
        files.is_busy()
        packages = set()
        try:
            packages = set(read_rpm_database(root.database, lambda: None))
        except IntegrityError:
            assert not files.is_whole
        assert len(packages) <= len(names) + 1
    except Exception as error:
        raise AssertionError(f"{what}, seed {seed}: {error!r}") from error
    return files


def feed_header(root: Root, seed: int) -> RpmFiles:
    write_database(
        root.database,
        [mutated(pack_header(root.entries()), random.Random(seed)), pack_header(entries_of("else", "1", []))],
    )
    return ask_everything(root, "header", seed)


def feed_database(root: Root, honest: bytes, seed: int) -> RpmFiles:
    root.database.write_bytes(mutated(honest, random.Random(seed)))
    return ask_everything(root, root.database.name, seed)


def honest_sqlite(root: Root) -> bytes:
    # Small pages: most of what is mutated is then the database's own.
    write_database(root.database, [pack_header(root.entries())] * 2, page_size=512)
    return root.database.read_bytes()


def honest_berkeley_db(root: Root) -> bytes:
    root.database = root.database.with_name("Packages")
    write_berkeley_db(root.database, enumerate([pack_header(root.entries())] * 2, 1), page_size=512)
    return root.database.read_bytes()


FORMS = pytest.mark.parametrize("make_honest", [honest_sqlite, honest_berkeley_db], ids=["SQLite", "Berkeley DB"])


def test_mutated_headers_raise_nothing(root: Root) -> None:
    found = [feed_header(root, seed) for seed in range(300)]

    assert sum(not files.is_whole for files in found) > 50


@FORMS
def test_mutated_databases_raise_nothing(root: Root, make_honest: Callable[[Root], bytes]) -> None:
    honest = make_honest(root)
    root.database.write_bytes(honest)
    assert ask_everything(root, "honest", 0).vouches("app", root.app)

    found = [feed_database(root, honest, seed) for seed in range(300)]

    assert sum(not files.is_whole for files in found) > 50


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_a_fault_and_nothing_waits(root: Root, name: str, make: Callable[[Path], None]) -> None:
    root.database.parent.mkdir(parents=True)
    make(root.database.with_name(name))
    make(root.database.with_name(".rpm.lock"))
    files = RpmFiles(root.root)

    assert files.versions() == {}
    assert files.owners([root.app]) == {}
    assert not files.is_busy()
    assert files.faults_count == 2


def test_packages_of_all_sizes_are_read_from_all_pages_of_berkeley_db(root: Root) -> None:
    """Small values lie beside their keys, larger ones on pages of their own, and keys on as many pages as they need."""
    database = root.database.with_name("Packages")
    names = [f"package{number}" for number in range(300)]
    headers = [pack_header([(1000, STRING, name), (1001, STRING, "1" * (3 * at))]) for at, name in enumerate(names, 1)]
    write_berkeley_db(database, enumerate(headers, 1), page_size=2048)
    files = RpmFiles(root.root)
    data = database.read_bytes()

    assert files.versions() == {name: "1" * (3 * at) for at, name in enumerate(names, 1)}
    assert files.faults_count == 0
    assert len([at for at in range(2048, len(data), 2048) if data[at + 25] == 13]) > 4


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (12, b"\0\0\0\0"),
        (16, b"\x07\0\0\0"),
        (20, b"\x03\0\0\0"),
        (24, b"\x01"),
        (26, b"\x01"),
        (32, b"\xff\xff\xff\xff"),
    ],
    ids=["magic", "version", "page size", "sealed", "checksums", "cut short"],
)
def test_a_form_of_berkeley_db_that_is_not_rpms_is_one_fault(root: Root, at: int, what: bytes) -> None:
    honest = honest_berkeley_db(root)
    root.database.write_bytes(honest[:at] + what + honest[at + len(what) :])
    files = RpmFiles(root.root)

    assert files.versions() == {}
    assert files.faults_count == 1


def overflow_pages(database: bytes) -> list[int]:
    """Where the pages begin that hold values."""
    return [at for at in range(512, len(database), 512) if database[at + 25] == 7]


def test_a_value_whose_pages_lead_in_a_circle_ends(root: Root) -> None:
    honest = bytearray(honest_berkeley_db(root))
    size = len(pack_header(root.entries())).to_bytes(4, sys.byteorder)
    for at in overflow_pages(honest):
        # Each is its own next one, and holds a single byte, of very many.
        honest[at + 16 : at + 20] = (at // 512).to_bytes(4, sys.byteorder)
        honest[at + 22 : at + 24] = (1).to_bytes(2, sys.byteorder)
    assert honest.count(size) == 2
    root.database.write_bytes(honest.replace(size, (60 << 20).to_bytes(4, sys.byteorder)))
    files = RpmFiles(root.root)

    assert files.versions() == {}
    assert files.faults_count == 2


def test_a_page_that_says_it_is_another_one_is_not_read(root: Root) -> None:
    honest = bytearray(honest_berkeley_db(root))
    pages = overflow_pages(honest)
    first, second = pages[0], pages[len(pages) // 2]
    assert honest[first + 26 : first + 512] == honest[second + 26 : second + 512]
    honest[first : first + 512] = honest[second : second + 512]
    root.database.write_bytes(honest)
    files = RpmFiles(root.root)

    assert files.versions() == {"app": "1-1.noarch"}
    assert files.faults_count >= 1


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_minutes_of_mutated_headers_raise_nothing(root: Root) -> None:
    for seed in seeds("rpm header"):
        feed_header(root, seed)


@pytest.mark.soak
@pytest.mark.timeout(0)
@FORMS
def test_ten_minutes_of_mutated_databases_raise_nothing(root: Root, make_honest: Callable[[Root], bytes]) -> None:
    honest = make_honest(root)
    for seed in seeds(f"rpm {root.database.name}"):
        feed_database(root, honest, seed)
