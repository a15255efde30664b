"""A stored run: its owner's alone, found again, and every later change of it found out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.errors import ConfigurationError, FormatError, IntegrityError, UsageError
from govsec.policy.difference import dangers_rectified, difference
from govsec.policy.results import Principle, Status, Verdict
from govsec.policy.run import DangerRow, parse_assessment
from govsec.policy.runfolder import (
    ASSESSMENT,
    StoredRun,
    find_run,
    flaws_of,
    open_run,
    read_assessment,
    stored_runs,
    write_run,
)
from tests.policy.run_samples import WORDS, assessment, item, result


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    return write_run(tmp_path / "assessments", assessment(), {"web-1": b'{"host":"web-1"}'})


def test_a_run_reads_back_as_it_was_and_nobody_else_may_read_it(run: StoredRun) -> None:
    assert read_assessment(run) == assessment()
    assert flaws_of(run) == []
    for path in [run.directory, *run.directory.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_run_has_one_sequence_of_bytes() -> None:
    data = assessment().to_json()

    assert parse_assessment(data).to_json() == data


def test_the_manifest_names_what_an_assessor_asks_for(run: StoredRun) -> None:
    facts = run.manifest.evidence().facts

    assert facts["verdicts"] == {"8.1.4.1.1": "conform", "8.1.4.1.2": "not_conform", "8.1.4.1.3": "undecided"}
    assert {"packs", "parameters", "objects", "operator", "version", "catalog", "files"} <= facts.keys()
    assert {row["name"] for row in facts["files"]} == {ASSESSMENT, "facts/web-1"}  # type: ignore[index, union-attr, call-overload]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(_flip, "altered"), (Path.unlink, "missing"), (_link, "altered"), (lambda path: os.truncate(path, 3), "altered")],
)
def test_a_file_that_was_changed_after_the_run_is_found(
    run: StoredRun, spoil: Callable[[Path], None], what: str
) -> None:
    row = next(row for row in run.manifest.files if row.name == ASSESSMENT)
    spoil(run.directory / "files" / row.sha256)

    assert (ASSESSMENT, what) in {(flaw.name, flaw.what) for flaw in flaws_of(run)}
    with pytest.raises(IntegrityError):
        read_assessment(run)


def test_a_file_that_the_manifest_does_not_name_is_strange(run: StoredRun) -> None:
    (run.directory / "files" / "planted").write_bytes(b"x")

    assert [flaw.what for flaw in flaws_of(run)] == ["strange"]


def test_what_lies_beside_the_manifest_or_elsewhere_is_strange(run: StoredRun, tmp_path: Path) -> None:
    (run.directory / "assessment.json").write_bytes(b"better")
    (run.directory / "files").rename(tmp_path / "elsewhere")
    (run.directory / "files").symlink_to(tmp_path / "elsewhere")

    assert [(flaw.name, flaw.what) for flaw in flaws_of(run)] == [("assessment.json", "strange"), ("files", "strange")]


def test_a_manifest_that_tells_another_size_is_found_without_a_ledger(run: StoredRun) -> None:
    rows = tuple(row.model_copy(update={"size_bytes": row.size_bytes + 1}) for row in run.manifest.files)
    told = StoredRun(run.directory, run.manifest.model_copy(update={"files": rows}))

    assert {flaw.what for flaw in flaws_of(told)} == {"altered"}


def test_a_changed_manifest_has_another_digest(run: StoredRun) -> None:
    path = run.directory / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"not_conform"', b'"conform"'))

    assert open_run(run.directory).manifest.digest != run.manifest.digest


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b'{"schema": 1}', b"\xff\xfe", b'{"a":1,"a":2}'])
def test_junk_in_place_of_a_manifest_raises_our_error_alone(run: StoredRun, junk: bytes) -> None:
    (run.directory / "manifest.json").write_bytes(junk)

    with pytest.raises(FormatError):
        open_run(run.directory)


def test_runs_are_found_by_id_by_first_characters_and_as_the_latest(tmp_path: Path) -> None:
    base = tmp_path / "assessments"
    first = write_run(base, assessment(), {})
    second = write_run(base, assessment(id="20261123T080000Z-00000002"), {})

    assert find_run(base, "latest").manifest == second.manifest
    assert find_run(base, "20261122").manifest == first.manifest
    assert find_run(base, str(first.directory)).manifest == first.manifest
    with pytest.raises(UsageError):
        find_run(base, "2026")
    with pytest.raises(UsageError):
        find_run(base, "latest", "another-system")


def test_a_broken_manifest_hides_no_other_run_and_is_never_taken_for_an_older_one(tmp_path: Path) -> None:
    base = tmp_path / "assessments"
    runs = [write_run(base, assessment(id=f"2026112{day}T080000Z-00000001"), {}) for day in (1, 2, 3)]
    (runs[0].directory / "manifest.json").write_bytes(b"{}")

    damaged: dict[str, IntegrityError] = {}
    listed = [run.manifest.id for run in stored_runs(base, damaged=damaged)]
    assert listed == [runs[1].manifest.id, runs[2].manifest.id]
    assert list(damaged) == [runs[0].directory.name]
    assert find_run(base, "latest").manifest == runs[2].manifest
    assert find_run(base, "previous").manifest == runs[1].manifest
    with pytest.raises(IntegrityError, match="manifest"):
        find_run(base, runs[0].directory.name)

    (runs[2].directory / "manifest.json").write_bytes(b"{}")
    for wanted in ("latest", "previous"):
        with pytest.raises(IntegrityError, match=runs[2].directory.name):
            find_run(base, wanted)


def test_a_run_that_was_killed_before_its_manifest_is_no_run(run: StoredRun) -> None:
    (run.directory / "manifest.json").unlink()

    assert stored_runs(run.directory.parent) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigurationError, match="file"):
        write_run(tmp_path / "file", assessment(), {})


def test_the_difference_tells_better_from_worse_and_names_new_objects() -> None:
    before = assessment(
        (item(1), item(2, Verdict.NOT_CONFORM), item(3, Verdict.CONFORM), item(4, Verdict.NOT_APPLICABLE)),
        dangers=(DangerRow(principle=Principle.SEVERITY, case="6.4.1.1", title=WORDS, reason=WORDS),),
    )
    after = assessment(
        (item(1), item(2, Verdict.PARTIAL), item(3, Verdict.UNDECIDED), item(4, Verdict.CONFORM), item(5)),
        id="20261123T080000Z-00000002",
        results=(result(Status.FAIL), result(host="web-2")),
        objects={},
    )
    found = difference(before, after)

    assert {change.item[-1]: change.direction for change in found.items} == {
        "2": "better",
        "3": "worse",
        "4": "other",
        "5": "other",
    }
    assert {(row.object, row.before, row.after) for row in found.results} == {
        ("web-1", Status.PASS, Status.FAIL),
        ("web-2", None, Status.PASS),
    }
    assert any("web-1" in note.en for note in found.notes)
    assert dangers_rectified(before, after) == 1
    assert difference(after, after).items == ()
