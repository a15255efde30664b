"""A base backup that holds links where the server's own files belong: nothing outside the target is read or changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from govsec.errors import IntegrityError
from govsec.postgres import recovery
from govsec.postgres.window import Target
from tests.postgres.conftest import Rig


def _replaced(name: str) -> Callable[[Path, Path], None]:
    def plant(target: Path, victim: Path) -> None:
        path = target / name
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name("aside"))
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(victim if name.endswith(("tblspc", "data", "wal", "spaces")) else victim / "precious")

    return plant


def _a_folder_of_links(target: Path, victim: Path) -> None:
    (target / "data" / "pg_tblspc" / "16384").mkdir()


@pytest.mark.parametrize(
    "plant",
    [
        _replaced("data/pg_tblspc"),
        _replaced("data/postgresql.auto.conf"),
        _replaced("data/PG_VERSION"),
        _replaced("data/recovery.signal"),
        _replaced("tablespaces"),
        _a_folder_of_links,
    ],
    ids=["tablespaces' links", "settings", "version", "signal", "tablespaces", "folder"],
)
def test_links_in_a_base_backup_lead_nowhere(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("mine")
    rig.base()
    rig.stream_to_now()
    rig.ship()
    real = recovery.restore

    # What a hostile production would have put into the repository; making such a snapshot honestly would take a whole
    # base backup written by hand.
    def hostile(repository: Any, snapshot: Any, target: Path, **options: Any) -> Any:
        report = real(repository, snapshot, target, **options)
        if (target / "data").is_dir():
            plant(target, victim)
        return report

    monkeypatch.setattr(recovery, "restore", hostile)
    before = victim.stat()
    with pytest.raises(IntegrityError, match="a link, or something else"):
        rig.recover(tmp_path / "recovered", Target())
    assert (victim / "precious").read_text() == "mine"
    assert [path.name for path in victim.iterdir()] == ["precious"]
    assert (victim.stat().st_uid, victim.stat().st_mode) == (before.st_uid, before.st_mode)
