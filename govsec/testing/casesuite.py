"""The contract of ``CaseStore``, as functions that any store must pass.

Each takes a fresh, empty store and raises ``AssertionError`` where the contract is broken::

    @pytest.mark.parametrize("case", CONTRACT, ids=lambda case: case.__name__)
    def test_my_store(case):
        case(MyCases())
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from govsec.errors import GovsecError, RefusedError, TryAgainError
from govsec.incident.api import CaseStore, Query, Summary
from govsec.incident.entries import Noted, Opened, Stage
from govsec.incident.levels import EventLevel

Check = Callable[[CaseStore], None]
_NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_DAY: Final = "20261122"


def _opened(title: str = "门户网站 ' \" 打不开") -> Opened:
    return Opened(time=_NOW, by="张三", title=title, aware_at=_NOW, roles=("other_operator",))


def _note(text: str) -> Noted:
    return Noted(time=_NOW, by="李四", text=text)


def _line(**more: object) -> Summary:
    line = Summary(
        id="",
        title="门户网站",
        system="portal",
        stage=Stage.FOUND,
        level=EventLevel.GENERAL,
        is_confirmed=False,
        opened_at=_NOW,
        updated_at=_NOW,
        next_due_at=None,
        acknowledged_by="",
        assigned_to="",
        is_exercise=False,
    )
    return replace(line, **more)  # type: ignore[arg-type]  # fields of Summary, by name


def _refuses(call: Callable[[], object], kind: type[GovsecError]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _ids(store: CaseStore, query: Query) -> set[str]:
    return {line.id for line in store.find(query)}


def what_is_written_is_read_back(store: CaseStore) -> None:
    """Text as it is, quotes, NUL and line separators included."""
    case_id = store.create(_DAY, _opened(), _line())
    store.append(case_id, 1, [_note("一"), _note("\x00\u2028二")], _line())
    assert case_id == f"{_DAY}-0001"
    assert store.entries(case_id) == (_opened(), _note("一"), _note("\x00\u2028二"))


def cases_of_a_day_are_numbered(store: CaseStore) -> None:
    """From one, each day anew, without a gap."""
    ids = [store.create(day, _opened(), _line()) for day in (_DAY, _DAY, "20261123", _DAY)]
    assert ids == [f"{_DAY}-0001", f"{_DAY}-0002", "20261123-0001", f"{_DAY}-0003"]


def of_two_writers_the_second_must_look_again(store: CaseStore) -> None:
    """Nothing of what came too late is kept."""
    case_id = store.create(_DAY, _opened(), _line())
    store.append(case_id, 1, [_note("first")], _line(stage=Stage.ASSESSED))
    _refuses(lambda: store.append(case_id, 1, [_note("second")], _line(stage=Stage.CLOSED)), TryAgainError)
    assert store.entries(case_id) == (_opened(), _note("first"))
    assert [line.stage for line in store.find(Query())] == [Stage.ASSESSED]


def a_case_that_is_not_there_is_refused(store: CaseStore) -> None:
    """By whichever door it is asked for."""
    _refuses(lambda: store.entries("20261122-9999"), RefusedError)
    _refuses(lambda: store.head("' OR 1=1 --"), RefusedError)
    _refuses(lambda: store.append("20261122-9999", 0, [_note("x")], _line()), RefusedError)
    _refuses(lambda: store.find(Query(after="20261122-9999")), RefusedError)
    store.refresh([_line(id="20261122-9999")])
    assert store.find(Query()) == ()


def the_head_changes_with_every_entry_and_with_nothing_else(store: CaseStore) -> None:
    """It stands for the entries of one case alone."""
    case_id = store.create(_DAY, _opened(), _line())
    heads = [store.head(case_id)]
    store.refresh([_line(id=case_id, title="anew")])
    heads.append(store.head(case_id))
    store.append(case_id, 1, [_note("x")], _line())
    heads.append(store.head(case_id))
    other = store.create(_DAY, _opened(), _line())
    assert heads[0] == heads[1] != heads[2]
    assert store.head(other) not in heads


def lists_are_asked_by_every_column(store: CaseStore) -> None:
    """Alone and together."""
    due = _NOW + timedelta(hours=4)
    plain = store.create(_DAY, _opened(), _line())
    closed = store.create(_DAY, _opened(), _line(stage=Stage.CLOSED))
    large = store.create(_DAY, _opened(), _line(level=EventLevel.RELATIVELY_MAJOR, next_due_at=due, system="oa"))
    taken = store.create(_DAY, _opened(), _line(acknowledged_by="李四", is_exercise=True))
    assert _ids(store, Query()) == {plain, closed, large, taken}
    assert _ids(store, Query(is_open=True)) == {plain, large, taken}
    assert _ids(store, Query(is_open=False)) == _ids(store, Query(stages=frozenset({Stage.CLOSED}))) == {closed}
    assert _ids(store, Query(level_min=EventLevel.RELATIVELY_MAJOR)) == _ids(store, Query(system="oa")) == {large}
    assert _ids(store, Query(is_acknowledged=True)) == {taken}
    assert _ids(store, Query(is_acknowledged=False, is_open=True)) == {plain, large}
    assert _ids(store, Query(has_exercises=False)) == {plain, closed, large}
    later = _NOW + timedelta(hours=1)
    settled = store.create("20261123", _opened(), _line(look_again_at=later))
    assert _ids(store, Query(look_again_by=_NOW)) == {plain, closed, large, taken}
    assert _ids(store, Query(look_again_by=later)) == {plain, closed, large, taken, settled}
    assert _ids(store, Query(due_before=due)) == set()
    assert _ids(store, Query(due_before=due + timedelta(microseconds=1))) == {large}


def lists_are_paged_in_both_orders_without_gap_or_repetition(store: CaseStore) -> None:
    """Also where moments are equal or missing."""
    for number in range(7):
        due = _NOW + timedelta(hours=number % 3) if number % 2 else None
        store.create(_DAY, _opened(), _line(opened_at=_NOW + timedelta(minutes=number % 4), next_due_at=due))
    for by_due in (False, True):
        whole = [line.id for line in store.find(Query(by_due=by_due))]
        pages: list[str] = []
        while page := store.find(Query(by_due=by_due, limit=2, after=pages[-1] if pages else None)):
            pages += [line.id for line in page]
        assert pages == whole
        assert len(set(whole)) == 7
    newest = [line.opened_at for line in store.find(Query())]
    assert newest == sorted(newest, reverse=True)
    due_first = [line.next_due_at for line in store.find(Query(by_due=True))]
    known = [moment for moment in due_first if moment is not None]
    assert known == sorted(known) and due_first[len(known) :] == [None] * (7 - len(known))


def the_board_counts_what_is_open_and_real(store: CaseStore) -> None:
    """Closed cases and exercises are left out."""
    late, soon = _NOW - timedelta(minutes=1), _NOW + timedelta(hours=2)
    store.create(_DAY, _opened(), _line(level=EventLevel.MAJOR, next_due_at=late))
    store.create(_DAY, _opened(), _line(stage=Stage.RESPONDING, next_due_at=soon, acknowledged_by="李四"))
    store.create(_DAY, _opened(), _line(opened_at=_NOW - timedelta(days=1)))
    store.create(_DAY, _opened(), _line(stage=Stage.CLOSED, next_due_at=late))
    store.create(_DAY, _opened(), _line(next_due_at=late, is_exercise=True))
    board = store.board(_NOW)
    assert dict(board.by_stage) == {Stage.FOUND: 2, Stage.RESPONDING: 1}
    assert dict(board.by_level) == {EventLevel.MAJOR: 1, EventLevel.GENERAL: 2}
    assert (board.late_count, board.next_due_at) == (1, soon)
    assert (board.unacknowledged_count, board.oldest_unacknowledged_at) == (2, _NOW - timedelta(days=1))


def one_line_is_asked_by_its_case(store: CaseStore) -> None:
    """As the list has it; and no other is given in its place."""
    first = store.create(_DAY, _opened(), _line(system="portal"))
    store.create(_DAY, _opened(), _line(system="oa"))
    store.append(first, 1, [_note("one")], _line(system="portal", stage=Stage.CLOSED))
    assert store.line(first) == store.find(Query(system="portal"))[0]
    assert not store.line(first).is_open
    _refuses(lambda: store.line("20261122-9999"), RefusedError)


def a_case_is_made_once_for_one_origin(store: CaseStore) -> None:
    """A program that died after it had opened a case is given the same one when it tries again."""
    first = store.create(_DAY, _opened(), _line(), origin="spool 17")
    assert store.create(_DAY, _opened("other words"), _line(), origin="spool 17") == first
    assert len(store.entries(first)) == 1
    assert store.create(_DAY, _opened(), _line(), origin="spool 18") != first
    assert store.create(_DAY, _opened(), _line()) != store.create(_DAY, _opened(), _line())


def an_empty_store_has_an_empty_board(store: CaseStore) -> None:
    """Zeros, and no moments."""
    board = store.board(_NOW)
    assert (dict(board.by_stage), board.late_count, board.next_due_at) == ({}, 0, None)
    assert (board.unacknowledged_count, board.oldest_unacknowledged_at) == (0, None)


CONTRACT: Final[tuple[Check, ...]] = (
    what_is_written_is_read_back,
    cases_of_a_day_are_numbered,
    of_two_writers_the_second_must_look_again,
    a_case_that_is_not_there_is_refused,
    the_head_changes_with_every_entry_and_with_nothing_else,
    lists_are_asked_by_every_column,
    lists_are_paged_in_both_orders_without_gap_or_repetition,
    the_board_counts_what_is_open_and_real,
    one_line_is_asked_by_its_case,
    a_case_is_made_once_for_one_origin,
    an_empty_store_has_an_empty_board,
)
