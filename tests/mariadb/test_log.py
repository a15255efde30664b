"""The log as it is taken: checksums, missing events, whole transactions, what a restart carries on with."""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.errors import FormatError, IntegrityError, RefusedError, UsageError
from govsec.mariadb.events import MAGIC, Event, EventType, parse_event
from govsec.mariadb.logtree import LogTree, head_of
from govsec.mariadb.record import BaseRecord, LogPlace, LogRecord, parse_log_record
from govsec.mariadb.target import AtGtid, AtPlace, AtTime, Choice, End, choices, find_stop, parse_target

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())


class MemoryTree:
    """A live tree in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.grafts: dict[str, bytes] = {}

    def append(self, path: str, data: bytes) -> None:
        self.files.setdefault(path, bytearray()).extend(data)

    def replace(self, path: str, data: bytes) -> None:
        self.files[path] = bytearray(data)

    def remove(self, path: str) -> None:
        self.files = {
            name: data for name, data in self.files.items() if name != path and not name.startswith(f"{path}/")
        }
        self.grafts.pop(path, None)

    def graft(self, path: str, tree_id: bytes) -> None:
        self.grafts[path] = tree_id

    def read(self, path: str, *, size_max: int) -> bytes:
        return bytes(self.files[path])

    def size(self, path: str) -> int | None:
        return len(self.files[path]) if path in self.files else None

    def pieces_count(self, path: str) -> int:
        return 1

    def paths(self, path: str = "") -> list[str]:
        return [name for name in self.files if name.startswith(path)]


class Log:
    """Makes events as a server does."""

    def __init__(self, name: str = "bin.000001", created: int = SECOND) -> None:
        self.name = name
        self.position = len(MAGIC)
        self.second = created
        self.sequence = 0

    def event(self, kind: int, body: bytes = b"") -> Event:
        size = 19 + len(body) + 4
        self.position += size
        head = struct.pack("<IBIIIH", self.second, kind, 7, size, self.position, 0)
        return parse_event(head + body + struct.pack("<I", zlib.crc32(head + body)))

    def begin(self) -> list[Event]:
        version = b"10.11.19-MariaDB-log".ljust(50, b"\0")
        body = struct.pack("<H", 4) + version + struct.pack("<IB", self.second, 19) + bytes(40) + b"\1"
        return [self.event(EventType.FORMAT, body), self.event(EventType.GTID_LIST, struct.pack("<I", 0))]

    def gtid(self, flags: int = 0) -> Event:
        self.sequence += 1
        return self.event(EventType.GTID, struct.pack("<QIB", self.sequence, 0, flags) + bytes(6))

    def query(self, text: str) -> Event:
        return self.event(EventType.QUERY, struct.pack("<IIBHH", 1, 0, 1, 0, 0) + b"d\0" + text.encode())

    def transaction(self) -> list[Event]:
        return [self.gtid(), self.query("SAVEPOINT a"), self.event(23, b"rows"), self.event(EventType.XID, bytes(8))]

    def rotate(self, name: str) -> Event:
        """The made-up one that names the file to come."""
        head = struct.pack("<IBIIIH", 0, EventType.ROTATE, 7, 19 + 8 + len(name) + 4, 0, 0x20)
        body = struct.pack("<Q", 4) + name.encode()
        return parse_event(head + body + struct.pack("<I", zlib.crc32(head + body)))


def taken(tree: MemoryTree, log: Log, events: list[Event]) -> LogTree:
    log_tree = LogTree(tree, "db", None, NOW)
    log_tree.begin_line(log.name, 7)
    for event in events:
        log_tree.take(event)
    return log_tree


def base_at(position: int, *, head: str = "", ended: datetime = NOW) -> BaseRecord:
    return BaseRecord(
        id=f"{ended:%Y%m%dT%H%M%SZ}",
        server_version="10.11",
        server_id=7,
        place=LogPlace(file="bin.000001", position=position),
        head=head,
        began=ended,
        ended=ended,
        files=1,
        size_bytes=1,
    )


def test_only_the_end_of_a_whole_transaction_counts_as_recoverable() -> None:
    log = Log()
    events = [*log.begin(), *log.transaction()]
    whole = log.position
    events += log.transaction()[:3]
    log_tree = taken(MemoryTree(), log, events)

    assert log_tree.commit is not None and log_tree.commit.position == whole
    assert log_tree.commit.gtid == "0-7-1"
    assert log_tree.line is not None and log_tree.line.end.position == events[-1].end


def test_a_statement_within_a_transaction_does_not_end_it_and_one_alone_does() -> None:
    log = Log()
    log_tree = taken(MemoryTree(), log, [*log.begin(), log.gtid(flags=1), log.query("CREATE TABLE x (a INT)")])

    assert log_tree.commit is not None and log_tree.commit.position == log.position


def test_who_carries_on_within_a_transaction_knows_it() -> None:
    log, tree = Log(), MemoryTree()
    first = taken(tree, log, [*log.begin(), log.gtid()])
    first.write_record(NOW, level_at=None, server_version="10.11")
    second = LogTree(tree, "db", parse_log_record(bytes(tree.files["govsec.json"])), NOW)

    second.take(log.query("SAVEPOINT a"))
    assert second.commit is None, "a statement within the transaction was taken for its end"
    second.take(log.event(EventType.XID, bytes(8)))
    assert second.commit is not None and second.commit.gtid == "0-7-1"


def test_the_files_are_the_server_s_byte_for_byte() -> None:
    log, tree = Log(), MemoryTree()
    events = [*log.begin(), *log.transaction()]
    taken(tree, log, events)

    assert bytes(tree.files["log/000001/000000/bin.000001"]) == MAGIC + b"".join(event.data for event in events)


def test_a_missing_event_a_changed_byte_and_a_missing_file_are_refused_and_not_taken() -> None:
    log, tree = Log(), MemoryTree()
    log_tree = taken(tree, log, log.begin())
    before = bytes(tree.files["log/000001/000000/bin.000001"])
    log.gtid()
    late = log.gtid()
    with pytest.raises(IntegrityError, match="missing"):
        log_tree.take(late)
    damaged = bytearray(Log().begin()[0].data)
    damaged[30] ^= 1
    other = LogTree(MemoryTree(), "db", None, NOW)
    other.begin_line("bin.000001", 7)
    with pytest.raises(IntegrityError, match="checksum"):
        other.take(parse_event(bytes(damaged)))
    with pytest.raises(IntegrityError, match="a file is missing"):
        log_tree.take(log.rotate("bin.000003"))
    assert bytes(tree.files["log/000001/000000/bin.000001"]) == before


def test_the_next_file_begins_where_the_server_says_so() -> None:
    log, tree = Log(), MemoryTree()
    log_tree = taken(tree, log, [*log.begin(), *log.transaction()])
    following = Log("bin.000002")
    for event in [log.rotate("bin.000002"), *following.begin()]:
        log_tree.take(event)

    assert log_tree.line is not None and log_tree.line.end.file == "bin.000002"
    assert log_tree.begins_as(Log("bin.000002").begin())
    assert not log_tree.begins_as(Log("bin.000002", created=SECOND + 1).begin())


def test_a_base_backup_beyond_those_that_are_kept_takes_its_log_along() -> None:
    tree, log = MemoryTree(), Log()
    log_tree = taken(tree, log, [*log.begin(), *log.transaction()])
    log_tree.add_base(base_at(log.position), b"1" * 32, keep=1)
    following = Log("bin.000002")
    for event in [log.rotate("bin.000002"), *following.begin(), *following.transaction()]:
        log_tree.take(event)
    place = LogPlace(file="bin.000002", position=following.position)
    later = base_at(0 + 4, ended=NOW.replace(hour=13)).model_copy(update={"place": place})
    log_tree.add_base(later, b"2" * 32, keep=1)

    assert set(tree.grafts) == {f"base/{later.id}"}
    assert "log/000001/000000/bin.000001" not in tree.files
    assert "log/000001/000000/bin.000002" in tree.files


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[LogRecord, Path, list[int]]:
    """A line of three transactions, a second apart, with a base backup before them; their ends."""
    log, tree = Log(), MemoryTree()
    begin = log.begin()
    log_tree = taken(tree, log, begin)
    log_tree.add_base(base_at(log.position, head=head_of(begin)), b"1" * 32, keep=2)
    ends = []
    for _ in range(3):
        log.second += 1
        for event in log.transaction():
            log_tree.take(event)
        ends.append(log.position)
    path = tmp_path / "bin.000001"
    path.write_bytes(tree.files["log/000001/000000/bin.000001"])
    return log_tree.record, path, ends


def stop_of(recorded: tuple[LogRecord, Path, list[int]], target: object) -> int | None:
    record, path, _ = recorded
    (choice,) = choices(record, target)  # type: ignore[arg-type]
    stop = find_stop(choice, lambda name: path, target, record.misdated)  # type: ignore[arg-type]
    return None if stop is None or stop.commit is None else stop.commit.position


def test_the_end_a_second_a_place_and_a_gtid_are_found_exactly(recorded: tuple[LogRecord, Path, list[int]]) -> None:
    ends = recorded[2]
    place = LogPlace(file="bin.000001", position=ends[1])

    assert stop_of(recorded, End()) == ends[2]
    assert stop_of(recorded, AtTime(datetime.fromtimestamp(SECOND + 2, UTC))) == ends[1]
    assert stop_of(recorded, AtTime(datetime.fromtimestamp(SECOND + 2.9, UTC))) == ends[1]
    assert stop_of(recorded, AtPlace(place)) == ends[1]
    assert stop_of(recorded, AtGtid("0-7-1")) == ends[0]


def test_nothing_is_recovered_across_a_gap_and_the_state_before_it_is_not_taken_for_the_newest(
    recorded: tuple[LogRecord, Path, list[int]],
) -> None:
    record, _, ends = recorded
    broken = record.lines[0].model_copy(update={"broken": "it was purged", "broken_at": NOW.replace(hour=13)})
    place = LogPlace(file="bin.000005", position=4)
    following = broken.model_copy(
        update={"number": 2, "first": place, "end": place, "commit": None, "heads": {}, "broken": "", "broken_at": None}
    )
    gapped = record.model_copy(update={"lines": (broken, following), "level_at": NOW.replace(hour=15)})

    for target in (End(), AtTime(NOW.replace(hour=12, minute=30)), AtTime(NOW.replace(hour=14)), AtPlace(place)):
        with pytest.raises(RefusedError):
            list(choices(gapped, target))
    with pytest.raises(RefusedError, match=f"--position bin.000001:{ends[2]}"):
        list(choices(gapped, End()))
    assert len(list(choices(gapped, AtTime(datetime.fromtimestamp(SECOND + 3, UTC))))) == 1


def test_a_transaction_that_says_a_time_to_come_ends_no_recovery(tmp_path: Path) -> None:
    log, tree = Log(), MemoryTree()
    begin = log.begin()
    log_tree = taken(tree, log, begin)
    log_tree.add_base(base_at(log.position, head=head_of(begin)), b"1" * 32, keep=2)
    ends = []
    for second in (1, 10**8, 2, 3):
        log.second = SECOND + second
        for event in log.transaction():
            log_tree.take(event, datetime.fromtimestamp(SECOND + min(second, 2), UTC))
        ends.append(log.position)
    path = tmp_path / "bin.000001"
    path.write_bytes(tree.files["log/000001/000000/bin.000001"])

    assert stop_of((log_tree.record, path, ends), AtTime(datetime.fromtimestamp(SECOND + 2, UTC))) == ends[2]
    assert log_tree.commit is not None and log_tree.commit.time < NOW.replace(year=2027)


def test_transactions_behind_the_end_that_say_an_earlier_time_are_counted(
    recorded: tuple[LogRecord, Path, list[int]],
) -> None:
    record, path, ends = recorded
    log = Log()
    log.position = ends[2]
    log.sequence = 3
    log.second = SECOND + 1
    late = log.transaction()
    path.write_bytes(path.read_bytes() + b"".join(event.data for event in late))
    end = LogPlace(file="bin.000001", position=log.position)
    longer = record.model_copy(update={"lines": (record.lines[0].model_copy(update={"end": end}),)})
    target = AtTime(datetime.fromtimestamp(SECOND + 2, UTC))
    (choice,) = choices(longer, target)

    stop = find_stop(choice, lambda name: path, target)

    assert stop is not None and stop.commit is not None
    assert (stop.commit.position, stop.earlier_behind) == (ends[1], 1)


def test_a_place_within_a_transaction_and_an_unknown_gtid_are_refused(
    recorded: tuple[LogRecord, Path, list[int]],
) -> None:
    with pytest.raises(UsageError, match="last one before it ends at"):
        stop_of(recorded, AtPlace(LogPlace(file="bin.000001", position=recorded[2][1] + 1)))
    with pytest.raises(UsageError, match="0-7-99"):
        stop_of(recorded, AtGtid("0-7-99"))


def test_what_the_log_does_not_reach_is_refused_with_what_it_does(recorded: tuple[LogRecord, Path, list[int]]) -> None:
    for target in (
        AtTime(datetime.fromtimestamp(SECOND + 3600, UTC)),
        AtTime(datetime.fromtimestamp(SECOND - 3600, UTC)),
        AtPlace(LogPlace(file="bin.000009", position=4)),
    ):
        with pytest.raises(RefusedError, match="2026-11-22"):
            list(choices(recorded[0], target))


def test_the_log_of_another_server_life_is_not_played_on_a_base_backup(
    recorded: tuple[LogRecord, Path, list[int]],
) -> None:
    record, path, _ = recorded
    base = record.bases[0].model_copy(update={"head": "0" * 64})

    with pytest.raises(IntegrityError, match="reset"):
        find_stop(Choice(base, record.lines[0]), lambda name: path, End())
    assert not list(_lines(record.model_copy(update={"bases": (base,)})))


def _lines(record: LogRecord) -> list[Choice]:
    return [choice for choice in choices(record, End()) if choice.line is not None]


@pytest.mark.parametrize("keep", range(4, 400, 23))
def test_a_log_that_is_cut_off_anywhere_is_refused(recorded: tuple[LogRecord, Path, list[int]], keep: int) -> None:
    _, path, ends = recorded
    path.write_bytes(path.read_bytes()[: min(keep, ends[2] - 1)])

    with pytest.raises(IntegrityError):
        stop_of(recorded, End())


@pytest.mark.parametrize(
    "text", ["x", "bin.000001", "bin.000001:x", "../../x.000001:4", "bin.000001:-4", "bin.000001:1"]
)
def test_what_is_no_position_is_said(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(None, text, None)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"job": 1}', b"\xff", b'{"version": 2, "job": "x"}'])
def test_a_record_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_log_record(data)
