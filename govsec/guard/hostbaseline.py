"""What people accepted a host to be: files, accounts, listeners and so on, in a signed document.

::

    baseline.json        signed document (purpose "baseline"), body:
        form         "govsec.host-baseline", version 1
        host, made, made_by, number, previous     previous: digest of the document that this one replaced
        scope        {roots, exclude}: which files
        files        {count, sha256}: of the table beside
        tables       {table: {key: {attribute: value}}, or {"unavailable": reason}}
        keys         {path: [fingerprint]} of authorized_keys;  preload [entry] of ld.so.preload
        packages     {name: version} as the package manager's own files are named
    left_out     {reason: count} of what the pass over files left out (absent in older ones)
    files-SHA256.tsv     one line a file, sorted by path:
        path (percent-escaped) TAB packed state in hex (govsec/guard/filestate.py) TAB owning package

One idea: the table of files is named by its digest, and the digest is signed; so there is one signature, and a document
and a table that do not belong together are refused. Data are written before what names them; what is no longer named
goes last.

A signed older baseline in the place of the newer one is authentic: that is why number and time of acceptance are shown
wherever a baseline is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field, JsonValue, ValidationError

from govsec.config import Model, explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, FormatError, IntegrityError, TryAgainError
from govsec.guard.filestate import DIGEST_SIZE, MARKS
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Moment

FORM = "govsec.host-baseline"
_DOCUMENT = "baseline.json"
_DOCUMENT_SIZE_MAX = 64 << 20
_TABLE_SIZE_MAX = 1 << 30
_STATE_SIZE = MARKS.size + DIGEST_SIZE
#: What stays readable in a path: everything else is escaped, tabs and line breaks first of all.
_SAFE = "/-_.~+@=,: "
Table = Mapping[str, Mapping[str, JsonValue]]


class Scope(Model):
    """Which files a baseline is about."""

    roots: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class _Files(Model):
    count: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class HostBaseline(Model):
    """Everything but the files."""

    form: str = Field(default=FORM, pattern=rf"^{FORM}$")
    version: int = Field(default=1, ge=1, le=1)
    host: str
    made: Moment
    made_by: str
    number: int = Field(ge=1)
    previous: str | None = None
    scope: Scope
    files: _Files = _Files(count=0, sha256=hashlib.sha256(b"").hexdigest())
    #: By table: rows by key, or why there are none.
    tables: dict[str, dict[str, dict[str, JsonValue]]] = Field(default_factory=dict)
    unavailable: dict[str, str] = Field(default_factory=dict)
    keys: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    preload: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """The table of files: packed states, and owning packages, by path."""

    states: Mapping[str, bytes] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)


class BaselineStore:
    """The baseline of one host, in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, baseline: HostBaseline, files: KnownFiles, signer: Signer) -> HostBaseline:
        """Put it in place of the one before; gives it as it was signed.

        Raises:
            TryAgainError: it cannot be written; the one before is still there.
        """
        table = _written(files)
        digest = hashlib.sha256(table).hexdigest()
        signed = baseline.model_copy(update={"files": _Files(count=len(files.states), sha256=digest)})
        document = sign_document(signer, signed.model_dump(mode="json", exclude_none=True))
        try:
            make_private_directory(self._folder)
            write_private(self._folder / _table_name(digest), table)
            write_private(self._folder / _DOCUMENT, document)
            for old in self._folder.glob("files-*.tsv"):
                if old.name != _table_name(digest):
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise TryAgainError(f"{self._folder}: {error.strerror}") from error
        return signed

    def load(self, trusted: TrustedKeys) -> HostBaseline:
        """The baseline, verified.

        Raises:
            ConfigurationError: there is none. TryAgainError: it cannot be read.
            IntegrityError: altered, signed by an unknown key, or none of ours.
        """
        data = self._read(_DOCUMENT, _DOCUMENT_SIZE_MAX)
        body = open_document(trusted, Purpose.BASELINE, data, size_max=_DOCUMENT_SIZE_MAX)
        try:
            return HostBaseline.model_validate(body)
        except ValidationError as error:
            raise FormatError(f"{self._folder / _DOCUMENT}: no baseline: {explain(error)}") from error

    def load_files(self, baseline: HostBaseline) -> KnownFiles:
        """Its table of files, verified against the signed digest.

        Raises:
            IntegrityError: it is not the table that was signed. TryAgainError: it cannot be read.
        """
        name = _table_name(baseline.files.sha256)
        table = self._read(name, _TABLE_SIZE_MAX)
        if hashlib.sha256(table).hexdigest() != baseline.files.sha256:
            raise IntegrityError(f"{self._folder / name}: is not the table of files that was signed")
        return _parsed(table, str(self._folder / name))

    def digest(self) -> str | None:
        """SHA-256 of the document as it lies there; ``None`` when there is none."""
        try:
            return hashlib.sha256(self._read(_DOCUMENT, _DOCUMENT_SIZE_MAX)).hexdigest()
        except ConfigurationError:
            return None

    def _read(self, name: str, size_max: int) -> bytes:
        try:
            return read_bounded(self._folder / name, size_max)
        except FileNotFoundError as error:
            if name != _DOCUMENT:
                raise IntegrityError(f"{self._folder / name}: the table of files that was signed is gone") from error
            raise ConfigurationError(
                f"{self._folder}: no baseline has been accepted (govsec monitor baseline accept)"
            ) from error
        except OSError as error:
            raise TryAgainError(f"{self._folder / name}: {error.strerror}") from error


def _table_name(digest: str) -> str:
    return f"files-{digest[:32]}.tsv"


def _written(files: KnownFiles) -> bytes:
    lines = []
    for path in sorted(files.states):
        name = quote_from_bytes(path.encode("utf-8", "surrogateescape"), safe=_SAFE)
        lines.append(f"{name}\t{files.states[path].hex()}\t{files.owners.get(path, '')}\n")
    return "".join(lines).encode("ascii", "strict")


def _parsed(table: bytes, where: str) -> KnownFiles:
    states: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    try:
        for line in table.decode("ascii").split("\n")[:-1]:
            name, state, owner = line.split("\t")
            path = unquote_to_bytes(name).decode("utf-8", "surrogateescape") if "%" in name else name
            states[path] = bytes.fromhex(state)
            if len(states[path]) != _STATE_SIZE:
                raise ValueError(f"a state of {len(states[path])} bytes")
            if owner:
                owners[path] = owner
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: no table of files: {error}") from error
    return KnownFiles(states, owners)
