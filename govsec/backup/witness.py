"""What a drill compares with that the backup itself did not write: a nonce and samples of the source.

A check of a repository against itself proves that it is consistent, not that it holds the source: a backup of an empty
directory, or of the wrong one, is perfectly consistent. So just before a backup

* a *nonce* is planted as a file in the source; a snapshot that was taken from another place or time lacks it;
* some files are *sampled*: picked at random and read with nothing but ``open`` and ``hashlib``, sharing no code with
  the archiver. After the backup, samples whose file changed in the meantime are dropped.

Both are sealed and stored beside the snapshot, as ``govsec/witness/<sha256 of the stored bytes>``::

    sealed canonical JSON: {"version": 1, "snapshot": id, "time": …, "nonce": {"path", "sha256"} or null,
                            "samples": [{"path", "size_bytes", "sha256", "entry"}, …]}
    entry: {"mode": 12 bits, "owner": "uid:gid", "mtime_ns": "decimal", "attributes": {name: sha256 of its value}}

Paths are those in the snapshot, quoted as in a tree, so that names which are not text survive; so are names of
attributes. Samples of older witnesses have no ``entry``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from govsec import canonical
from govsec.backup.sources import FileSource
from govsec.clock import Clock, format_time, parse_time
from govsec.crypto.api import Suite
from govsec.errors import FormatError, IntegrityError, SourceError
from govsec.repo.tree import quote, unquote
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore

PREFIX = "govsec/witness/"
NONCE_NAME = b".govsec-nonce"
#: Larger files are not sampled: reading them twice would be felt.
_SAMPLE_SIZE_MAX = 64 << 20
_WITNESS_SIZE_MAX = 16 << 20
_SAMPLES_MAX = 10_000
#: Of one file; more is not honest metadata.
_ATTRIBUTES_MAX = 100
#: How many blind ends (empty or unreadable directories) the search meets for each sample before it gives up.
_TRIES_PER_SAMPLE = 8
_DEPTH_MAX = 200

#: Gives a number below its argument; the source of randomness.
Choose = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Nonce:
    """The planted file."""

    path: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file is besides its content, as plain system calls tell it."""

    mode: int
    #: ``uid:gid``
    owner: str
    mtime_ns: int
    #: Extended attributes, ACLs among them, as their digests.
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """A file of the source as it was read independently."""

    path: bytes
    size_bytes: int
    sha256: str
    #: None in witnesses that were made before this was looked at.
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """What a drill is to find in one snapshot."""

    snapshot_id: str
    time: datetime
    nonce: Nonce | None
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen before a backup; :meth:`confirm` makes a witness of it afterwards."""

    time: datetime
    nonce: Nonce | None
    samples: tuple[tuple[Sample, tuple[int, ...]], ...]

    def confirm(self, snapshot_id: str) -> Witness:
        """The witness of the snapshot that was made; samples whose file changed meanwhile are left out."""
        kept = tuple(sample for sample, state in self.samples if _state_of(sample.path) == state)
        return Witness(snapshot_id, self.time, self.nonce, kept)


def observe(
    source: FileSource,
    *,
    clock: Clock,
    samples_count: int = 32,
    is_planting: bool = True,
    choose: Choose = secrets.randbelow,
) -> Observation:
    """Plant a nonce and read samples. ``choose`` is replaced in simulations alone.

    Raises:
        SourceError: the nonce cannot be planted.
    """
    time = clock.now()
    nonce = None
    directories = [root for root in source.roots() if os.path.isdir(root)]  # noqa: PTH112 - bytes
    if is_planting and directories:
        nonce = _plant(directories[0])
    samples: dict[bytes, tuple[Sample, tuple[int, ...]]] = {}
    for _ in range(min(samples_count, _SAMPLES_MAX) * _TRIES_PER_SAMPLE):
        if len(samples) >= samples_count:
            break
        path = _pick(source, choose)
        if path is not None and path not in samples and (sample := _read(path)) is not None:
            samples[path] = sample
    return Observation(time, nonce, tuple(samples.values()))


def save_witness(store: ObjectStore, suite: Suite, witness: Witness) -> ObjectInfo:
    """Seal and store it. Raises what the store raises."""
    nonce = witness.nonce
    body = {
        "version": 1,
        "snapshot": witness.snapshot_id,
        "time": format_time(witness.time),
        "nonce": None if nonce is None else {"path": quote(nonce.path), "sha256": nonce.sha256},
        "samples": [
            {
                "path": quote(sample.path),
                "size_bytes": sample.size_bytes,
                "sha256": sample.sha256,
                **({} if sample.entry is None else {"entry": _entry_json(sample.entry)}),
            }
            for sample in witness.samples
        ],
    }
    sealed = suite.seal(canonical.dumps(body))
    return store.put(PREFIX + hashlib.sha256(sealed).hexdigest(), sealed)


def load_witness(store: ReadStore, suite: Suite, name: str) -> Witness:
    """The witness in object ``name``.

    Raises:
        IntegrityError: altered, or not sealed with this key.
        FormatError: authentic, but no witness.
    """
    sealed = store.get(name, size_max=_WITNESS_SIZE_MAX)
    if name != PREFIX + hashlib.sha256(sealed).hexdigest():
        raise IntegrityError(f"{name}: its content has another digest")
    plain = suite.open(sealed)
    try:
        body = canonical.loads(plain)
        if not isinstance(body, dict) or body["version"] != 1:
            raise FormatError(f"{name}: not a witness of a version that govsec knows")
        nonce = body["nonce"]
        return Witness(
            snapshot_id=str(body["snapshot"]),
            time=parse_time(body["time"]),
            nonce=None if nonce is None else Nonce(unquote(nonce["path"]), str(nonce["sha256"])),
            samples=tuple(_sample(item) for item in body["samples"][:_SAMPLES_MAX]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{name}: not a witness: {error}") from error


def find_witness(store: ReadStore, suite: Suite, snapshot_id: str) -> Witness | None:
    """The witness of a snapshot, None when there is none. Objects that cannot be read are passed over."""
    newest_first = sorted(store.list(PREFIX), key=_modified, reverse=True)
    for info in newest_first:
        try:
            witness = load_witness(store, suite, info.name)
        except IntegrityError:
            continue
        if witness.snapshot_id == snapshot_id:
            return witness
    return None


def read_entry(descriptor: int) -> Entry:
    """What an open file is besides its content. Raises ``OSError``."""
    status = os.fstat(descriptor)
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        names = []
    return Entry(
        mode=stat.S_IMODE(status.st_mode),
        owner=f"{status.st_uid}:{status.st_gid}",
        mtime_ns=status.st_mtime_ns,
        attributes={
            quote(os.fsencode(name)): hashlib.sha256(os.getxattr(descriptor, name)).hexdigest()
            for name in names[:_ATTRIBUTES_MAX]
        },
    )


def _entry_json(entry: Entry) -> dict[str, JsonValue]:
    # Nanoseconds since 1970 are more digits than a number in JSON is sure to keep.
    return {
        "mode": entry.mode,
        "owner": entry.owner,
        "mtime_ns": str(entry.mtime_ns),
        "attributes": dict(entry.attributes),
    }


def _sample(item: dict[str, Any]) -> Sample:
    seen = item.get("entry")
    entry = None
    if seen is not None:
        attributes = {str(name): str(digest) for name, digest in seen["attributes"].items()}
        entry = Entry(int(seen["mode"]), str(seen["owner"]), int(seen["mtime_ns"]), attributes)
    return Sample(unquote(item["path"]), int(item["size_bytes"]), str(item["sha256"]), entry)


def _modified(info: ObjectInfo) -> float:
    return info.modified.timestamp() if info.modified is not None else 0.0


def _plant(directory: bytes) -> Nonce:
    content = secrets.token_hex(32).encode() + b"\n"
    path = os.path.join(directory, NONCE_NAME)  # noqa: PTH118 - bytes
    # A new file under another name, renamed: a link that somebody put in the nonce's place is replaced, not followed.
    temporary = path + b"." + secrets.token_hex(4).encode()
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)  # noqa: PTH104 - bytes
    except OSError as error:
        raise SourceError(f"the nonce cannot be planted in {os.fsdecode(directory)!a}: {error.strerror}") from error
    return Nonce(path, hashlib.sha256(content).hexdigest())


def _pick(source: FileSource, choose: Choose) -> bytes | None:
    """A file met by going down at random from one of the paths; None at a blind end.

    Not uniform over all files (a file in a small directory is met more often), but every file can be met, and the cost
    does not grow with the source.
    """
    roots = source.roots()
    path = roots[choose(len(roots))]
    device: int | None = None
    for _ in range(_DEPTH_MAX):
        try:
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                return path if status.st_size <= _SAMPLE_SIZE_MAX else None
            device = status.st_dev if device is None else device
            if not stat.S_ISDIR(status.st_mode) or (source.one_file_system and status.st_dev != device):
                return None
            names = sorted(os.listdir(path))  # noqa: PTH208 - bytes
        except OSError:
            return None
        below = [os.path.join(path, name) for name in names if name != NONCE_NAME]  # noqa: PTH118 - bytes
        below = [entry for entry in below if not source.patterns.match(entry)]
        if not below:
            return None
        path = below[choose(len(below))]
    return None


def _read(path: bytes) -> tuple[Sample, tuple[int, ...]] | None:
    """Size and digest of a file, and the state it was in; None when it cannot be read or changes meanwhile."""
    before = _state_of(path)
    try:
        # O_NONBLOCK: a file that became a fifo since it was picked must not hang the backup.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            content = file.read(_SAMPLE_SIZE_MAX + 1)
            entry = read_entry(file.fileno())
    except OSError:
        return None
    if before is None or _state_of(path) != before or len(content) != before[0]:
        return None
    return Sample(path, len(content), hashlib.sha256(content).hexdigest(), entry), before


def _state_of(path: bytes) -> tuple[int, ...] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
