"""Where cases are kept: one contract for every store, and what a file does besides."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.errors import IntegrityError
from govsec.incident.api import CaseStore, Query
from govsec.incident.casefile import CaseFile
from govsec.testing.cases import MemoryCases
from govsec.testing.casesuite import CONTRACT, Check
from tests.incident.samples import line, note, opened

Maker = Callable[[Path], CaseStore]


@pytest.mark.parametrize(
    "make", [lambda _: MemoryCases(), lambda folder: CaseFile(folder / "cases.db")], ids=["memory", "file"]
)
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_every_store_keeps_the_contract(check: Check, make: Maker, tmp_path: Path) -> None:
    check(make(tmp_path))


def _written(folder: Path) -> tuple[Path, str]:
    path = folder / "cases.db"
    store = CaseFile(path)
    case_id = store.create("20261122", opened(), line())
    store.append(case_id, 1, [note("one"), note("two"), note("three")], line())
    store.close()
    return path, case_id


def test_a_case_outlives_the_process(tmp_path: Path) -> None:
    path, case_id = _written(tmp_path)

    store = CaseFile(path)
    assert [entry.kind for entry in store.entries(case_id)] == ["opened", "note", "note", "note"]
    assert [found.id for found in store.find(Query())] == [case_id]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = replace(body, 'two', 'six') WHERE number = 3",
        "DELETE FROM entries WHERE number = 3",
        "DELETE FROM entries WHERE number = 4",
        "DELETE FROM entries",
        "UPDATE entries SET number = -number; UPDATE entries SET number = CAST(substr('1324', -number, 1) AS INTEGER)",
        "UPDATE entries SET digest = 'x' WHERE number = 4",
        "UPDATE entries SET body = CAST('{}' AS BLOB) WHERE number = 1",
        "INSERT INTO entries SELECT case_id, 5, digest, body FROM entries WHERE number = 4",
    ],
)
def test_an_entry_that_was_changed_removed_swapped_or_put_in_is_found(tmp_path: Path, statement: str) -> None:
    path, case_id = _written(tmp_path)
    other = sqlite3.connect(path)
    other.executescript(statement)
    other.commit()
    other.close()

    with pytest.raises(IntegrityError, match=f"case {case_id}: entry"):
        CaseFile(path).entries(case_id)
