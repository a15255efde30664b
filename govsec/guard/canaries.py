"""Canary files: bait that is put into folders by command, kept in a list, and looked at.

One idea: what goes through a folder in order meets the first or the last name soon, so two canaries are put into each:
one that sorts before everything, one that sorts after. They look like documents of the house and say inside, to a
person who opens one, what they are. The list (JSON, private) is what makes a file a canary. It is written after one is
placed and before one is taken away, and a canary that is as it was placed was not touched; so commands raise no alarm.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from govsec import canonical
from govsec.clock import Clock
from govsec.config import Model, explain
from govsec.errors import ConfigurationError, FormatError, LimitError, RefusedError, TryAgainError
from govsec.guard.api import CanaryTouch
from govsec.host.events import FileChange, FileOperation
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Moment

#: First and last of a folder in the order of bytes, and in that of people.
NAMES = ("!0000-人员名单备份.xlsx", "~zzzz-合同台账备份.csv")
_LIST_SIZE_MAX = 8 << 20
_CANARY_SIZE_MAX = 1 << 20
_CANARIES_MAX = 10_000
_AS_PLACED, _GONE = "as placed", "gone"
_ROWS = 400
_SAYS = "此文件是防勒索诱饵，请勿修改。 This file is a canary against ransomware; please leave it as it is."
_CELL = "<row r='{row}'><c r='A{row}' t='inlineStr'><is><t>{text}</t></is></c></row>"


class Canary(Model):
    """One bait."""

    path: str = Field(min_length=2, max_length=4096)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    placed: Moment


class _List(Model):
    version: int = Field(default=1, ge=1, le=1)
    canaries: tuple[Canary, ...] = Field(default=(), max_length=_CANARIES_MAX)


class Canaries:
    """The canaries of a machine, by their list; contains paths."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._canaries: dict[str, Canary] = {}
        self._told: dict[str, str] = {}
        self._suspected: dict[str, str] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._canaries

    def __len__(self) -> int:
        return len(self._canaries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._canaries)

    def all(self) -> tuple[Canary, ...]:
        """All of them, by path."""
        return tuple(self._canaries[path] for path in sorted(self._canaries))

    def refresh(self) -> None:
        """Read the list when it is another file than before.

        Raises:
            FormatError: it is none of ours. TryAgainError: it cannot be read, or was there and is gone. What was known
                before is still known then.
        """
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            if stamp != self._stamp:
                found = _List.model_validate_json(read_bounded(self._path, _LIST_SIZE_MAX))
                self._canaries, self._stamp = {one.path: one for one in found.canaries}, stamp
        except FileNotFoundError as error:
            if self._stamp is not None:
                raise TryAgainError(f"{self._path}: the list of canaries is gone") from error
        except (LimitError, ValidationError) as error:
            what = explain(error) if isinstance(error, ValidationError) else str(error)
            raise FormatError(f"{self._path}: no list of canaries: {what}") from error
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error

    def place(self, folder: Path, clock: Clock) -> tuple[Canary, ...]:
        """Put canaries into a folder; those that lie there already are put anew.

        Raises:
            RefusedError: a file of such a name is there that is no canary, or there are too many.
            ConfigurationError: the folder cannot be written.
        """
        self.refresh()
        contents = dict(zip(NAMES, (_workbook(), _sheet()), strict=True))
        try:
            folder = folder.resolve(strict=True)
            paths = {str(folder / name): data for name, data in contents.items()}
            for path in paths:
                if os.path.lexists(path) and path not in self._canaries:
                    raise RefusedError(f"{path}: is there already, and is no canary")
            others = [one for one in self.all() if one.path not in paths]
            if len(others) + len(paths) > _CANARIES_MAX:
                raise RefusedError(f"{_CANARIES_MAX} canaries are in place")
            self._save(others)
            status = folder.stat()
            for path, data in paths.items():
                _write(Path(path), data, status.st_uid, status.st_gid)
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}") from error
        now = clock.now()
        placed = [
            Canary(path=path, sha256=hashlib.sha256(data).hexdigest(), placed=now) for path, data in paths.items()
        ]
        self._save([*others, *placed])
        return tuple(placed)

    def remove(self, folder: Path) -> tuple[Canary, ...]:
        """Take the canaries of a folder away; gives which those were.

        Raises:
            RefusedError: there are none. ConfigurationError: one cannot be removed.
        """
        self.refresh()
        folder = folder.resolve()
        gone = [one for one in self.all() if Path(one.path).parent == folder]
        if not gone:
            raise RefusedError(f"{folder}: no canaries are in place there")
        self._save([one for one in self.all() if one not in gone])
        try:
            for one in gone:
                Path(one.path).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}") from error
        return tuple(gone)

    def touched(self, changes: Iterable[FileChange]) -> list[CanaryTouch]:
        """Which changes touched a canary so that it is not as placed any more; each canary once."""
        found: dict[str, FileChange] = {}
        for change in changes:
            for path in (change.old_path, change.path):
                if path in self._canaries and path not in found:
                    found[path] = change
        touches = []
        for path, change in found.items():
            state = _state(self._canaries[path])
            if state != _AS_PLACED:
                self._told[path] = state
                touches.append(CanaryTouch(change.time_ns, path, change))
        return touches

    def missed(self, time_ns: int) -> list[CanaryTouch]:
        """Canaries that were not as placed at two looks and that no change told of, each state once.

        For what happened while nobody watched; at the first look the change itself may be on its way, with its culprit.
        """
        states = {one.path: _state(one) for one in self.all()}
        before, self._suspected = self._suspected, states
        found = []
        for path, state in states.items():
            if state == _AS_PLACED:
                self._told.pop(path, None)
            elif before.get(path) == state and self._told.get(path) != state:
                self._told[path] = state
                operation = FileOperation.DELETED if state == _GONE else FileOperation.MODIFIED
                change = FileChange(time_ns, path, operation, False, None, None, None, (), None)
                found.append(CanaryTouch(time_ns, path, change))
        return found

    def _save(self, canaries: Sequence[Canary]) -> None:
        value = _List(canaries=tuple(sorted(canaries, key=lambda one: one.path))).model_dump(mode="json")
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, canonical.dumps(value))
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
        self._stamp = None
        self.refresh()


def _state(one: Canary) -> str:
    try:
        digest = hashlib.sha256(read_bounded(Path(one.path), _CANARY_SIZE_MAX)).hexdigest()
    except FileNotFoundError:
        return _GONE
    except (OSError, LimitError):
        return "other"
    return _AS_PLACED if digest == one.sha256 else digest


def _write(path: Path, data: bytes, uid: int, gid: int) -> None:
    """With the folder's owner, so that who may write there may meet it; readable to whoever reads the folder."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if os.geteuid() == 0:
            os.fchown(descriptor, uid, gid)


def _sheet() -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("编号", "名称", "说明"))
    rows.writerows((f"HT-{number:05}", f"合同 {number}", _SAYS) for number in range(_ROWS))
    return text.getvalue().encode("utf-8-sig")


def _workbook() -> bytes:
    """A workbook that programs open (ECMA-376), the same bytes each time."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    cells = "".join(_CELL.format(row=row, text=_SAYS) for row in range(1, _ROWS))
    package = "http://schemas.openxmlformats.org/package/2006"
    sheet_type = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f"<Types xmlns='{package}/content-types'><Default Extension='rels' "
        "ContentType='application/vnd.openxmlformats-package.relationships+xml'/><Override PartName='/xl/workbook.xml' "
        f"ContentType='{sheet_type}.sheet.main+xml'/><Override PartName='/xl/worksheets/sheet1.xml' "
        f"ContentType='{sheet_type}.worksheet+xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{package}/relationships'><Relationship Id='rId1' "
        f"Type='{kinds}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook xmlns='{main}' xmlns:r='{kinds}'><sheets>"
        "<sheet name='1' sheetId='1' r:id='rId1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{package}/relationships'><Relationship Id='rId1' "
        f"Type='{kinds}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{main}'><sheetData>{cells}</sheetData></worksheet>",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), '<?xml version="1.0" encoding="UTF-8"?>' + text)
    return data.getvalue()
