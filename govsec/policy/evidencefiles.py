"""Evidence files of attestations: kept under their digests, and looked at again before they count.

A file lies at ``<folder>/<sha256>``, mode 0600. What it was called stands in the statement alone: names from people are
never paths. A file that is missing, or whose bytes are not those of its name, is a flaw of the statement.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from govsec.errors import ConfigurationError, LimitError
from govsec.policy.attest import EvidenceFile
from govsec.privatefile import make_private_directory

#: Largest file that is taken; larger ones are named by digest in a list that is shown instead.
FILE_SIZE_MAX = 256 << 20
_CHUNK_SIZE = 1 << 20


class FlawKind(StrEnum):
    """What is wrong with an evidence file."""

    MISSING = "missing"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class EvidenceFlaw:
    """An evidence file that is not what the statement names."""

    file: EvidenceFile
    kind: FlawKind


def keep_evidence(path: Path, folder: Path) -> EvidenceFile:
    """Copy a file under its digest into ``folder``; one that is there already is left as it is.

    Raises:
        ConfigurationError: unreadable, no regular file, or the folder cannot be written.
        LimitError: larger than ``FILE_SIZE_MAX``.
    """
    try:
        make_private_directory(folder)
        temporary = folder / f".{os.getpid()}.new"
        temporary.unlink(missing_ok=True)
        try:
            digest, size_bytes = _copy(path, temporary)
            temporary.replace(folder / digest)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"evidence {path}: {error.strerror}") from error
    return EvidenceFile(name=path.name[:200], sha256=digest, size_bytes=size_bytes)


def evidence_flaws(files: Iterable[EvidenceFile], folder: Path) -> tuple[EvidenceFlaw, ...]:
    """The files that are missing from ``folder`` or are not what their names say.

    Raises:
        ConfigurationError: a file is there and cannot be read.
    """
    flaws = []
    for file in files:
        try:
            digest, size_bytes = _digest(folder / file.sha256)
        except FileNotFoundError:
            flaws.append(EvidenceFlaw(file, FlawKind.MISSING))
            continue
        except OSError as error:
            raise ConfigurationError(f"evidence {file.sha256} ({file.name}): {error.strerror}") from error
        if (digest, size_bytes) != (file.sha256, file.size_bytes):
            flaws.append(EvidenceFlaw(file, FlawKind.ALTERED))
    return tuple(flaws)


def _open(path: Path) -> int:
    # O_NONBLOCK: a fifo in the file's place would hang the program before it can be refused.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"evidence {path}: not a regular file")
    return descriptor


def _digest(path: Path) -> tuple[str, int]:
    with os.fdopen(_open(path), "rb") as file:
        return _through(file.fileno(), path, None)


def _copy(path: Path, target: Path) -> tuple[str, int]:
    with os.fdopen(_open(path), "rb") as file:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o600), "wb") as copy:
            found = _through(file.fileno(), path, copy.fileno())
            os.fsync(copy.fileno())
    return found


def _through(source: int, path: Path, target: int | None) -> tuple[str, int]:
    """Digest and size of what ``source`` gives, written to ``target`` where there is one."""
    digest = hashlib.sha256()
    size_bytes = 0
    while chunk := os.read(source, _CHUNK_SIZE):
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > FILE_SIZE_MAX:
            raise LimitError(f"evidence {path}: larger than {FILE_SIZE_MAX} bytes")
        while target is not None and chunk:
            chunk = chunk[os.write(target, chunk) :]
    return digest.hexdigest(), size_bytes
