"""The spool: order, chain, room, damage, a full disk, and death in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority, verify_chain
from govsec.errors import ConfigurationError, IntegrityError, TryAgainError, UsageError
from govsec.testing.clock import FakeClock
from tests.agent.running import small_disk


def finding(number: int, size: int = 10) -> Entry:
    return Entry(Priority.FINDING, {"number": number, "text": "x" * size})


def raw(number: int, size: int = 10) -> Entry:
    return Entry(Priority.RAW, {"number": number, "text": "x" * size})


def numbers(spool: Spool, sequence: int = 0) -> list[object]:
    return [record.body["number"] for record in spool.after(sequence) if record.priority is not Priority.LOST]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "agent" / "spool.db"


@pytest.fixture
def spool(place: Path, clock: FakeClock) -> Iterator[Spool]:
    with Spool(place, clock) as opened:
        yield opened


def test_records_come_in_order_with_a_chain_that_a_receiver_can_verify(spool: Spool) -> None:
    assert spool.append([finding(1), finding(2)]) == 2
    assert spool.append([finding(3)]) == 3

    records = spool.after(0)
    assert [record.sequence for record in records] == [1, 2, 3]
    assert verify_chain(records) == 0
    assert [record.body["number"] for record in spool.after(1, 1)] == [2]


def test_a_changed_or_missing_or_swapped_record_does_not_pass_for_the_chain(spool: Spool) -> None:
    spool.append([finding(1), finding(2), finding(3)])
    first, second, third = spool.after(0)

    with pytest.raises(IntegrityError, match="record 2"):
        verify_chain([first, replace(second, body={"number": 9}), third])
    with pytest.raises(IntegrityError, match="does not come after"):
        verify_chain([first, third, second])
    assert verify_chain([first, third]) == 1


def test_only_what_was_acknowledged_leaves_and_sequences_go_on_afterwards(
    spool: Spool, place: Path, clock: FakeClock
) -> None:
    spool.append([finding(number) for number in range(5)])
    assert spool.acknowledge(3) == 3
    assert spool.acknowledge(3) == 0
    with pytest.raises(UsageError, match="the last one is 5"):
        spool.acknowledge(6)
    spool.acknowledge(5)
    spool.close()

    with Spool(place, clock) as again:
        assert again.append([finding(5)]) == 6
        assert again.state().acknowledged == 5
        assert again.state().records_count == 1


def test_another_process_may_read_and_acknowledge_what_one_writes(spool: Spool, place: Path, clock: FakeClock) -> None:
    spool.append([finding(1), finding(2)])
    with Spool(place, clock, is_reader=True) as reader:
        assert numbers(reader) == [1, 2]
        reader.acknowledge(1)
        spool.append([finding(3)])
        assert numbers(spool) == [2, 3]
        spool.begin_anew("as if it had been damaged")
        spool.acknowledge(2)

        assert numbers(reader) == []
        assert reader.state().epoch == spool.state().epoch


def test_a_reader_never_sets_a_file_aside(place: Path, clock: FakeClock) -> None:
    Spool(place, clock).close()
    overwrite = bytearray(place.read_bytes())
    overwrite[:100] = b"\xa5" * 100
    place.write_bytes(bytes(overwrite))

    with pytest.raises(IntegrityError):
        Spool(place, clock, is_reader=True)
    assert not list(place.parent.glob("*.damaged*"))


def test_a_flood_of_raw_records_pushes_out_no_finding_and_is_counted(place: Path, clock: FakeClock) -> None:
    with Spool(place, clock, size_max_bytes=100_000) as spool:
        spool.append([finding(number, 100) for number in range(20)])
        spool.append([raw(number, 100) for number in range(1_000)])
        state = spool.state()

        kept = spool.after(0)
        told = [record for record in kept if record.priority is Priority.LOST]
        assert [record.body["number"] for record in kept if record.priority is Priority.FINDING] == list(range(20))
        assert told[0].body["lost"] == {"raw:quota": state.lost_count}
        assert sum(record.priority is Priority.RAW for record in kept) == 1_000 - state.lost_count
        assert kept[-2].body["number"] == 999, "the newest of a kind stay"
        assert state.size_bytes <= 100_000
        assert len(spool.after(0)) == len(kept), "a loss is told once"


def test_findings_push_out_raw_records_first_and_then_the_oldest_findings(place: Path, clock: FakeClock) -> None:
    with Spool(place, clock, size_max_bytes=50_000) as spool:
        spool.append([raw(number, 100) for number in range(50)])
        spool.append([finding(number, 100) for number in range(500)])

        records = spool.after(0)
        found = [record.body["number"] for record in records if record.priority is Priority.FINDING]
        assert not any(record.priority is Priority.RAW for record in records)
        assert found == list(range(500 - len(found), 500))
        lost = records[-1].body["lost"]
        assert lost == {"raw:quota": 50, "finding:quota": 500 - len(found)}


def test_an_entry_of_any_size_cannot_break_the_spool(place: Path, clock: FakeClock) -> None:
    with Spool(place, clock, size_max_bytes=200_000) as spool:
        spool.append([finding(1), finding(2, 100_000), finding(3)])

        assert numbers(spool) == [1, 3]
        assert spool.after(0)[-1].body["lost"] == {"finding:too_large": 1}


def test_losses_before_the_spool_are_told_in_it_and_their_reasons_are_bounded(spool: Spool) -> None:
    spool.lose(Priority.FINDING, "queue", 7)
    for number in range(200):
        spool.lose(Priority.RAW, f"made-up-{number}", 1)

    lost = spool.after(0)[0].body["lost"]
    assert isinstance(lost, dict)
    assert lost["finding:queue"] == 7
    assert len(lost) <= 65
    assert sum(count for count in lost.values() if isinstance(count, int)) == 207


def overwrite_a_page(place: Path) -> None:
    data = bytearray(place.read_bytes())
    page = data.index(b'"number":100') // 4096 * 4096
    data[page : page + 4096] = b"\xa5" * 4096
    place.write_bytes(bytes(data))


def cut_in_the_middle(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:30_001])


def forget_the_state(place: Path) -> None:
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("DELETE FROM state")
        connection.commit()


def drop_the_records(place: Path) -> None:
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("DROP TABLE record")
        connection.commit()


@pytest.mark.parametrize(
    ("harm", "saved_min", "saved_max"),
    [(overwrite_a_page, 150, 199), (cut_in_the_middle, 0, 199), (forget_the_state, 200, 200), (drop_the_records, 0, 0)],
)
def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_saved(
    place: Path, clock: FakeClock, harm: Callable[[Path], None], saved_min: int, saved_max: int
) -> None:
    with Spool(place, clock) as spool:
        spool.append([finding(number, 500) for number in range(200)])
        before = spool.state().epoch
    harm(place)

    with Spool(place, clock) as spool:
        assert spool.damage is not None
        assert spool.damage.place.exists()
        assert saved_min <= spool.damage.saved_count <= saved_max
        assert spool.damage.saved_count == len(numbers(spool))
        assert spool.state().epoch != before
        assert verify_chain(spool.after(0)) == 0
        spool.append([finding(1_000)])
        assert numbers(spool)[-1] == 1_000


def test_no_more_than_three_damaged_files_are_kept(place: Path, clock: FakeClock) -> None:
    for number in range(6):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"this is no database, and long enough to be seen as none" * 20 + bytes([number]))
        place.chmod(0o600)
        clock.sleep(1)
        with Spool(place, clock) as spool:
            assert spool.damage is not None

    kept = sorted(place.parent.glob("*.damaged-*"))
    assert len(kept) == 3
    assert kept[-1].read_bytes()[-1] == 5


def test_a_record_that_somebody_changed_in_the_file_is_not_given_out(spool: Spool, place: Path) -> None:
    spool.append([finding(1), finding(2)])
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("UPDATE record SET body = replace(body, '2', '3') WHERE sequence = 2")
        connection.commit()

    with pytest.raises(IntegrityError, match="record 2"):
        spool.after(0)


def test_a_file_that_was_removed_or_replaced_under_the_writer_is_noticed(
    spool: Spool, place: Path, clock: FakeClock
) -> None:
    spool.append([finding(1)])
    place.unlink()
    with pytest.raises(IntegrityError, match="is gone"):
        spool.append([finding(2)])
    spool.begin_anew("it is gone")
    spool.append([finding(3)])

    assert numbers(spool) == [3]


def test_a_link_or_a_file_that_others_may_read_is_refused(place: Path, clock: FakeClock) -> None:
    place.parent.mkdir()
    place.write_bytes(b"")
    place.chmod(0o644)
    with pytest.raises(ConfigurationError, match="only this user"):
        Spool(place, clock)
    place.unlink()
    place.symlink_to(place.parent / "elsewhere")
    with pytest.raises(ConfigurationError):
        Spool(place, clock)


def test_a_file_that_somebody_holds_is_worth_another_try(spool: Spool, place: Path) -> None:
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgainError):
            spool.append([finding(1)])
        holder.execute("ROLLBACK")

    assert spool.append([finding(2)]) == 1


def test_on_a_full_disk_nothing_is_half_kept_and_work_goes_on_when_there_is_room(
    tmp_path: Path, clock: FakeClock
) -> None:
    with small_disk(tmp_path / "disk") as disk, Spool(disk.place / "spool.db", clock) as spool:
        kept = 0
        with pytest.raises(TryAgainError, match=r"no room|disk"):
            for number in range(10_000):
                spool.append([finding(2 * number, 2_000), finding(2 * number + 1, 2_000)])
                kept = number + 1
        assert kept > 10
        # Read at the full disk, acknowledge into the room that the log has, and go on.
        records = spool.after(0)
        assert [record.body["number"] for record in records] == list(range(2 * kept))
        disk.grow()
        spool.acknowledge(records[-1].sequence)
        assert spool.append([finding(7)]) == records[-1].sequence + 1
        assert verify_chain(spool.after(0)) == 0


WRITER = """
import sys
from pathlib import Path
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority
from govsec.clock import SystemClock
spool = Spool(Path(sys.argv[1]), SystemClock())
for number in range(100_000):
    head = spool.append([Entry(Priority.FINDING, {"number": 2 * number + half}) for half in (0, 1)])
    sys.stdout.write(f"{head}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("appends_count", [1, 137, 1_500])
def test_after_a_kill_in_the_middle_nothing_acknowledged_is_lost(
    place: Path, clock: FakeClock, appends_count: int
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = 0
    for _ in range(appends_count):
        acknowledged = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().splitlines()
    acknowledged = max([acknowledged, *(int(line) for line in rest if line)])
    writer.wait(60)
    writer.stdout.close()

    with Spool(place, clock) as spool:
        assert spool.damage is None
        records = spool.after(0, 100_000)
        assert verify_chain(records) == 0
        assert [record.body["number"] for record in records] == list(range(len(records)))
        assert len(records) >= acknowledged >= 2 * appends_count
        assert len(records) % 2 == 0, "a batch is kept as a whole"


def test_a_connection_is_closed_around_a_fork_and_open_again_behind_it(spool: Spool) -> None:
    spool.append([finding(1)])
    with spool.closed(), pytest.raises(TryAgainError, match="closed"):
        spool.append([finding(2)])
    spool.append([finding(3)])

    assert numbers(spool) == [1, 3]
