r"""The ledger as one file that verifies anywhere, offline.

The file is JSON lines (canonical JSON each)::

    {"entries":N,"exported":time,"heads":[{"chain":…,"digest":…,"number":…}],"schema":"govsec.ledger.export.v1"}
    <the stored bytes of entry 1>
    …

An :class:`ExportFile` is a ``ReadStore``, so the very verification that runs over centers runs over the file. The keys
are not in it: a verifier trusts roots pinned by people, never a key found beside the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

from govsec import canonical
from govsec.clock import format_time
from govsec.crypto.signing import TrustedKeys
from govsec.errors import (
    ConfigurationError,
    FormatError,
    IntegrityError,
    LimitError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from govsec.ledger.entry import ENTRY_SIZE_MAX, Head, entry_name, parse_name
from govsec.ledger.replicate import ENTRIES_MAX
from govsec.ledger.verify import LedgerReport, read_anchors, walk
from govsec.store.api import ObjectInfo, ReadStore

SCHEMA = "govsec.ledger.export.v1"


def export(stores: Sequence[ReadStore], trusted: TrustedKeys, file: BinaryIO, now: datetime) -> LedgerReport:
    """Write every entry of the ledger to ``file``, after verifying it over all ``stores``.

    Raises:
        IntegrityError: something is wrong with the ledger; nothing was written.
    """
    report = LedgerReport()
    # Against the anchors too: a tail that was cut from every center leaves a chain that is clean to its end.
    anchored = read_anchors(stores, trusted, report)
    entries = walk(stores, trusted, report, pinned_heads=anchored)
    names = [(entry.chain, entry_name(entry.chain, entry.number)) for entry in entries]
    if report.problems_count:
        first = report.problems[0]
        raise IntegrityError(
            f"the ledger has {report.problems_count} problems and is not exported; "
            f"first: {first.fault} {first.name} {first.center}"
        )
    heads = [{"chain": head.chain, "number": head.number, "digest": head.digest} for head in report.heads]
    header = {"schema": SCHEMA, "exported": format_time(now), "entries": len(names), "heads": heads}
    file.write(canonical.dumps(header) + b"\n")
    asked = [store for store in stores if store.name in report.centers and store.name not in report.unreachable]
    absent = frozenset(report.not_held)
    for chain, name in names:
        # After a clean walk a center that holds anything of a chain has every entry of it with the same bytes.
        holder = next((store for store in asked if (store.name, chain) not in absent), None)
        if holder is None:
            raise StoreUnavailableError(f"{name}: the center that held it stopped answering")
        file.write(holder.get(name, size_max=ENTRY_SIZE_MAX) + b"\n")
    return report


class ExportFile:
    """An exported ledger, read as if it were a center. ``heads`` are those that the exporter claimed."""

    def __init__(self, path: Path) -> None:
        """Index the lines of ``path``.

        Raises:
            ConfigurationError: the file cannot be read.
            FormatError: it is no export, a line is no entry, or a number comes twice.
        """
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        try:
            with path.open("rb") as file:
                self.heads = self._read_header(file)
                self._read_lines(file)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error

    @property
    def name(self) -> str:
        return self._path.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        position, size = self._place(name)
        wanted = size - offset if length is None else length
        if wanted > size_max:
            raise LimitError(f"{self._path}: {name} has {wanted} bytes, at most {size_max} were expected")
        try:
            with self._path.open("rb") as file:
                file.seek(position + offset)
                data = file.read(wanted)
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}") from error
        if len(data) != wanted:
            raise FormatError(f"{self._path}: became shorter while it was read")
        return data

    def head(self, name: str) -> ObjectInfo:
        return ObjectInfo(name, self._place(name)[1], held_by=(self.name,))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for name in sorted(self._places):
            if name.startswith(prefix):
                yield self.head(name)

    def clone(self) -> Self:
        return type(self)(self._path)

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self._places:
            raise ObjectNotFoundError(f"{self._path}: has no {name}")
        return self._places[name]

    def _read_header(self, file: BinaryIO) -> tuple[Head, ...]:
        header = self._parse(file.readline(ENTRY_SIZE_MAX + 1), 1)
        heads = header.get("heads")
        if header.get("schema") != SCHEMA or not isinstance(heads, list):
            raise FormatError(f"{self._path}: is not an exported ledger ({SCHEMA})")
        try:
            return tuple(Head(str(item["chain"]), int(item["number"]), str(item["digest"])) for item in heads)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{self._path}: line 1: a head is not well-formed") from error

    def _read_lines(self, file: BinaryIO) -> None:
        line_number = 1
        position = file.tell()
        while line := file.readline(ENTRY_SIZE_MAX + 2):
            line_number += 1
            if line_number > ENTRIES_MAX:
                raise LimitError(f"{self._path}: more than {ENTRIES_MAX} entries")
            name = self._name_of(self._parse(line, line_number).get("body"))
            if name is None:
                raise FormatError(f"{self._path}: line {line_number} is no ledger entry")
            if name in self._places:
                raise FormatError(f"{self._path}: line {line_number} repeats {name}")
            self._places[name] = (position, len(line) - 1)
            position = file.tell()

    @staticmethod
    def _name_of(body: object) -> str | None:
        if not isinstance(body, dict):
            return None
        chain, number = body.get("chain"), body.get("number")
        if not isinstance(chain, str) or not isinstance(number, int):
            return None
        name = entry_name(chain, number)
        return name if parse_name(name) is not None else None

    def _parse(self, line: bytes, line_number: int) -> dict[str, object]:
        if not line.endswith(b"\n"):
            raise FormatError(f"{self._path}: line {line_number} is cut off or too long")
        try:
            value = canonical.loads(line[:-1])
        except ValueError as error:
            raise FormatError(f"{self._path}: line {line_number}: {error}") from error
        if not isinstance(value, dict):
            raise FormatError(f"{self._path}: line {line_number} is no JSON object")
        return value
