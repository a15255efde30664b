"""The files of a pack, read once into memory, and the signature over them.

A pack's folder is somebody else's until its signature says otherwise. Every file is opened once, without following
links, and only what was read is verified, parsed and used, so nothing can change in between. Refused are links, special
files, names outside a plain alphabet, a third level of folders, and too many or too large files.

``signature.json`` is a signed document (:mod:`govsec.crypto.document`) for the purpose ``pack``::

    {"schema": 1, "pack": id, "version": "1.0.0", "files": {"checks/login.yaml": {"sha256": hex, "size": bytes}, …}}

It names every other file of the folder: a file that is missing, altered or added breaks it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from govsec import canonical
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, IntegrityError

SIGNATURE = "signature.json"
SCHEMA = 1
FILES_MAX = 10_000
FILE_SIZE_MAX = 1 << 20
PACK_SIZE_MAX = 32 << 20
_DEPTH_MAX = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SIGNATURE_SIZE_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class PackFiles:
    """A folder's files by their paths within it, ``/`` between parts. ``name`` stands for the folder in errors."""

    name: str
    contents: Mapping[str, bytes]
    signature: bytes | None = None

    @property
    def sha256(self) -> str:
        """Digest over all names and contents but the signature's."""
        return canonical.digest(self.manifest())

    def manifest(self) -> dict[str, JsonValue]:
        """Every file with its digest and size: what is signed."""
        return {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for path, data in self.contents.items()
        }


def read_folder(folder: Path) -> PackFiles:
    """The files below ``folder``, which is not a link itself.

    Raises:
        ConfigurationError: something in it is no plain file or folder, has an odd name, or is too large.
    """
    contents: dict[str, bytes] = {}
    try:
        # The folder is opened once; everything below it is reached through descriptors, so no swap of a part matters.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _read_below(descriptor, "", folder, contents, PACK_SIZE_MAX)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"pack {folder}: {error.filename or folder}: {error.strerror}") from error
    signature = contents.pop(SIGNATURE, None)
    return PackFiles(str(folder), contents, signature)


def verify(files: PackFiles, trusted: TrustedKeys) -> str:
    """Return the id of the pinned key that signed exactly these files.

    Raises:
        ConfigurationError: the pack is not signed.
        IntegrityError: signed by nobody whom people pinned, or a file was altered, added or removed since.
    """
    if files.signature is None:
        raise ConfigurationError(f"pack {files.name}: not signed; a pack from elsewhere needs {SIGNATURE}")
    try:
        body = open_document(trusted, Purpose.PACK, files.signature, size_max=_SIGNATURE_SIZE_MAX)
    except IntegrityError as error:
        raise IntegrityError(f"pack {files.name}: {SIGNATURE}: {error}") from error
    signed, found = body.get("files"), files.manifest()
    if body.get("schema") != SCHEMA or not isinstance(signed, dict):
        raise IntegrityError(f"pack {files.name}: {SIGNATURE}: not a signature of schema {SCHEMA}")
    for path in sorted(signed.keys() | found.keys()):
        if signed.get(path) != found.get(path):
            what = "was added" if path not in signed else "is missing" if path not in found else "was altered"
            raise IntegrityError(f"pack {files.name}: {path} {what} since the pack was signed")
    return str(json.loads(files.signature)["key"])  # the document has this form, or it would not have opened


def sign(files: PackFiles, signer: Signer, *, pack: str, version: str) -> bytes:
    """What to write into ``signature.json``. The caller has read the pack with these files before."""
    return sign_document(signer, {"schema": SCHEMA, "pack": pack, "version": version, "files": files.manifest()})


def _read_below(folder: int, path: str, name: Path, contents: dict[str, bytes], left_bytes: int) -> int:
    """Read what is below into ``contents``; give the number of bytes that may still come."""
    with os.scandir(folder) as entries:
        listed = sorted(entry.name for entry in entries)
    for entry in listed:
        here = f"{path}{entry}"
        if not _NAME.fullmatch(entry):
            raise ConfigurationError(f"pack {name}: {here[:200]!r}: names are letters, digits and . _ -")
        # O_NONBLOCK: a fifo must not keep us waiting for its other end.
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                if here.count("/") + 1 >= _DEPTH_MAX:
                    raise ConfigurationError(f"pack {name}: {here}: folders are nested too deeply")
                left_bytes = _read_below(descriptor, f"{here}/", name, contents, left_bytes)
            elif stat.S_ISREG(mode):
                contents[here] = _read_file(descriptor, f"pack {name}: {here}")
                left_bytes -= len(contents[here])
                if len(contents) > FILES_MAX or left_bytes < 0:
                    raise ConfigurationError(f"pack {name}: more than {FILES_MAX} files or {PACK_SIZE_MAX} bytes")
            else:
                raise ConfigurationError(f"pack {name}: {here}: neither a file nor a folder")
        finally:
            os.close(descriptor)
    return left_bytes


def _read_file(descriptor: int, name: str) -> bytes:
    limit = _SIGNATURE_SIZE_MAX if name.endswith(SIGNATURE) else FILE_SIZE_MAX
    data = b""
    while len(data) <= limit:
        piece = os.read(descriptor, limit + 1 - len(data))
        if not piece:
            return data
        data += piece
    raise ConfigurationError(f"{name}: larger than {limit} bytes")
