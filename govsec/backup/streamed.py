"""A tree that is written as it arrives: files of a stream, several of them open at once, without a temporary copy.

A database's backup tool sends its files through one pipe, some of them in turns. Each becomes a file of an ordinary
snapshot: cut by its content, so that what did not change between two base backups is stored once, and restored by
whatever restores any other snapshot.

A piece waits in memory until it can be cut: at most the chunker's largest cut for each open file, and at most
:data:`OPEN_MAX` files are open. Nothing counts before :meth:`StreamedTree.save`: what was put until then is valid and
named by no snapshot, and indexed every few minutes, so that the next run finds it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from govsec.backup.archive import ArchiveResult
from govsec.backup.blobs import BlobSaver, StoredPack
from govsec.backup.made import own_user_name, summary_of
from govsec.backup.walk import Counts
from govsec.backup.work import Claims, Settings, open_saver
from govsec.clock import Clock, to_ns
from govsec.errors import FormatError, LimitError
from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.chunker import CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, Chunker
from govsec.repo.claims import ClaimTable
from govsec.repo.indexfile import PackRows
from govsec.repo.lock import HeldLock
from govsec.repo.pack import BlobType
from govsec.repo.packer import PACK_SIZE_DEFAULT
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot, Summary
from govsec.repo.tree import MODE_DIR, MODE_SYMLINK, Node, encode_tree, format_ns, quote
from govsec.store.api import ObjectInfo

#: A backup tool has one file open for each of its threads, and its log.
OPEN_MAX = 64
#: A server with more tables than this in one base backup is not one that two cores bring back.
ENTRIES_MAX = 2_000_000
_LEVEL_DEFAULT = 3
_INDEX_EVERY_S = 300.0
_INDEX_EVERY_BLOBS = 50_000
_TELL_EVERY_BYTES = 4 << 20
_PROGRAM = "govsec 0.1.0"


@dataclass(frozen=True, slots=True)
class Meta:
    """Mode bits, time and owner of an entry."""

    mode: int
    mtime_ns: int
    uid: int
    gid: int


@dataclass(slots=True)
class _Entry:
    meta: Meta
    content: list[bytes] = field(default_factory=list)
    size: int = 0
    target: bytes | None = None


@dataclass(slots=True)
class _Folder:
    meta: Meta
    #: By name: a folder, or an entry.
    children: dict[bytes, _Folder | _Entry] = field(default_factory=dict)
    tree_id: bytes = b""


class StreamedFile:
    """A file that is being written. Close it, or it is not part of the tree."""

    def __init__(self, tree: StreamedTree, path: str, meta: Meta) -> None:
        self._tree = tree
        self.path = path
        self._entry = _Entry(meta)
        self._buffer = bytearray()

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._entry.size

    def write(self, data: bytes | memoryview) -> None:
        """Put ``data`` at the end of the file. Raises what the store raises."""
        view = memoryview(data)
        while view:
            part = view[: CHUNK_SIZE_MAX - len(self._buffer)]
            self._buffer += part
            self._entry.size += len(part)
            view = view[len(part) :]
            if len(self._buffer) == CHUNK_SIZE_MAX:
                self._cut(is_end=False)
        self._tree._advance(len(data))

    def close(self) -> None:
        """The file is whole; it takes the place of one of the same name."""
        if self._buffer:
            self._cut(is_end=True)
        self._tree._closed(self.path, self._entry, self)

    def _cut(self, *, is_end: bool) -> None:
        save = self._tree._save_data
        if is_end and len(self._buffer) < CHUNK_SIZE_MIN:
            self._entry.content.append(save(bytes(self._buffer)))
            self._buffer.clear()
            return
        start = 0
        for end in self._tree._chunker.cuts(self._buffer):
            if end == len(self._buffer) and not is_end and end - start < CHUNK_SIZE_MAX:
                break  # what follows may belong to this chunk
            self._entry.content.append(save(bytes(self._buffer[start:end])))
            start = end
        del self._buffer[:start]


class StreamedTree:
    """One snapshot under way. A context manager, which holds the repository's lock.

    ``root`` is the folder that the snapshot is of, as ``/mariadb/main/base``; all paths are relative to it.
    """

    def __init__(
        self,
        repository: WritableRepository,
        clock: Clock,
        root: str,
        *,
        tags: Sequence[str] = (),
        hostname: str | None = None,
        pack_size: int = PACK_SIZE_DEFAULT,
        level: int = _LEVEL_DEFAULT,
        progress: ProgressSink = silent,
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._root = root
        self._tags = tuple(tags)
        self._hostname = hostname or socket.gethostname()
        self._settings = Settings(pack_size, level, is_ahead=True)
        self._progress = progress
        self._claims: Claims = {blob_type: ClaimTable() for blob_type in BlobType}
        self._stack = ExitStack()
        self._packs: list[StoredPack] = []
        self._pending: list[PackRows] = []
        self._pending_blobs = 0
        self._indexed = clock.monotonic()
        self._objects: list[ObjectInfo] = []
        self._open: set[StreamedFile] = set()
        self._entries = 0
        self._bytes = self._told = 0
        self._started = clock.now()
        self._plain = Meta(0o755, to_ns(self._started), os.getuid(), os.getgid())
        self._folder = _Folder(self._plain)
        self._saver: BlobSaver | None = None
        self._lock: HeldLock | None = None
        self._chunker = Chunker(repository.config.chunker_polynomial)

    def __enter__(self) -> Self:
        def look() -> None:
            self._repository.load_index()

        with ExitStack() as stack:
            self._lock = stack.enter_context(self._repository.lock(self._clock, meanwhile=look))
            self._saver = stack.enter_context(open_saver(self._repository, self._claims, self._settings, self._packs))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                # Whatever it was, Ctrl-C included: what the store holds by now is worth an index.
                self._keep_up()
                self._save_index()
        finally:
            self._stack.close()

    def begin(
        self,
        path: str,
        *,
        mode: int = 0o640,
        mtime_ns: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> StreamedFile:
        """A file that is written from its beginning.

        Raises:
            FormatError: the path is none inside the tree.
            LimitError: too many files are open, or the tree has too many entries.
        """
        _parts(path)
        if len(self._open) >= OPEN_MAX:
            raise LimitError(f"{path[:200]}: more than {OPEN_MAX} files of a stream are open at once")
        file = StreamedFile(self, path, self._meta(mode, mtime_ns, uid, gid))
        self._open.add(file)
        return file

    def directory(
        self,
        path: str,
        *,
        mode: int = 0o750,
        mtime_ns: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """A folder with its own mode and owner; those above a file are made without being asked for."""
        folder, name = self._place(path)
        meta = self._meta(mode, mtime_ns, uid, gid)
        found = folder.children.get(name)
        if isinstance(found, _Folder):
            found.meta = meta
        else:
            self._put(folder, name, _Folder(meta))

    def link(
        self, path: str, target: bytes, *, mtime_ns: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """A symbolic link."""
        folder, name = self._place(path)
        self._put(folder, name, _Entry(self._meta(0o777, mtime_ns, uid, gid), target=target))

    def remove(self, path: str) -> None:
        """Take out a file, link or folder; one that is not there is no error."""
        folder, name = self._place(path)
        folder.children.pop(name, None)

    def rename(self, path: str, new: str) -> None:
        """Give an entry another path; what was there is replaced.

        Raises:
            FormatError: there is no such entry.
        """
        folder, name = self._place(path)
        entry = folder.children.pop(name, None)
        if entry is None:
            raise FormatError(f"stream: {path[:200]!r} is to be renamed and was not sent")
        other, new_name = self._place(new)
        other.children[new_name] = entry

    def save(self, *, tags: Sequence[str] = ()) -> ArchiveResult:
        """Store the trees and the snapshot; packs and index are stored before.

        Raises:
            FormatError: a file was begun and not closed, or there is none at all.
            StoreError, IntegrityError: from the store, or a blob that did not open again; there is no snapshot.
        """
        assert self._saver is not None and self._lock is not None  # within the context
        if self._open:
            raise FormatError(f"stream: ended within {next(iter(self._open)).path[:200]!r}")
        files = _count_files(self._folder)
        if not files:
            raise FormatError("stream: ended without a single file")
        top = _Folder(self._plain)
        inner = top
        for part in _parts(self._root.strip("/"))[:-1]:
            inner.children[part] = inner = _Folder(self._plain)
        inner.children[_parts(self._root.strip("/"))[-1]] = self._folder
        tree_id = self._save_folder(top)
        self._saver.flush()
        self._keep_up()
        self._save_index()
        self._lock.keep_alive()
        counts = Counts(files_new=files, total_bytes=self._bytes)
        ended = self._clock.now()
        snapshot = Snapshot(
            time=self._started,
            tree=tree_id.hex(),
            paths=(self._root,),
            hostname=self._hostname,
            username=own_user_name(),
            uid=os.getuid(),
            gid=os.getgid(),
            tags=tuple(dict.fromkeys([*self._tags, *tags])),
            program_version=_PROGRAM,
            summary=summary_of(self._started, ended, counts, [self._saver.counts]),
        )
        snapshot, info = self._repository.save_snapshot(snapshot)
        self._objects.append(info)
        return ArchiveResult(
            snapshot_id=snapshot.id,
            snapshot=snapshot,
            objects=tuple(self._objects),
            summary=snapshot.summary or Summary(),
            problems=(),
            problems_count=0,
            files=files,
            size_bytes=self._bytes,
            seconds={"stream": round((ended - self._started).total_seconds(), 6)},
        )

    def subtree(self, path: str = "") -> bytes:
        """The id of a folder's tree, known once the tree is saved: what another tree needs to name it as its own.

        Raises:
            FormatError: there is no such folder, or nothing was saved yet.
        """
        folder: _Folder | _Entry | None = self._folder
        for part in _parts(path) if path else ():
            folder = folder.children.get(part) if isinstance(folder, _Folder) else None
        if not isinstance(folder, _Folder) or not folder.tree_id:
            raise FormatError(f"stream: no folder {path[:200]!r} was saved")
        return folder.tree_id

    def _meta(self, mode: int, mtime_ns: int | None, uid: int | None, gid: int | None) -> Meta:
        plain = self._plain
        return Meta(
            mode & 0o7777,
            plain.mtime_ns if mtime_ns is None else mtime_ns,
            plain.uid if uid is None else uid,
            plain.gid if gid is None else gid,
        )

    def _place(self, path: str) -> tuple[_Folder, bytes]:
        *above, name = _parts(path)
        folder = self._folder
        for part in above:
            child = folder.children.get(part)
            if isinstance(child, _Entry):
                raise FormatError(f"stream: {path[:200]!r} lies in what is no folder")
            if child is None:
                child = _Folder(Meta(0o750, self._plain.mtime_ns, self._plain.uid, self._plain.gid))
                self._put(folder, part, child)
            folder = child
        return folder, name

    def _put(self, folder: _Folder, name: bytes, entry: _Folder | _Entry) -> None:
        self._entries += name not in folder.children
        if self._entries > ENTRIES_MAX:
            raise LimitError(f"stream: more than {ENTRIES_MAX} entries")
        folder.children[name] = entry

    def _closed(self, path: str, entry: _Entry, file: StreamedFile) -> None:
        self._open.discard(file)
        folder, name = self._place(path)
        if isinstance(folder.children.get(name), _Folder):
            raise FormatError(f"stream: {path[:200]!r} is a folder and a file")
        self._put(folder, name, entry)

    def _save_data(self, data: bytes) -> bytes:
        assert self._saver is not None  # within the context
        blob_id = self._saver.save(BlobType.DATA, data)
        self._keep_up()
        return blob_id

    def _save_folder(self, folder: _Folder) -> bytes:
        assert self._saver is not None  # within the context
        nodes = []
        for name, child in sorted(folder.children.items()):
            if isinstance(child, _Folder):
                self._save_folder(child)
            nodes.append(_node(name, child))
        folder.tree_id = self._saver.save(BlobType.TREE, encode_tree(nodes))
        return folder.tree_id

    def _keep_up(self) -> None:
        while self._packs:
            pack = self._packs.pop(0)
            self._objects.append(pack.info)
            self._pending.append((pack.id, pack.rows))
            self._pending_blobs += len(pack.rows)
            age_s = self._clock.monotonic() - self._indexed
            if self._pending_blobs >= _INDEX_EVERY_BLOBS or age_s >= _INDEX_EVERY_S:
                self._save_index()
            if self._lock is not None:
                self._lock.keep_alive()

    def _save_index(self) -> None:
        if self._pending:
            self._objects += self._repository.save_index(self._pending)
        self._pending, self._pending_blobs = [], 0
        self._indexed = self._clock.monotonic()

    def _advance(self, count: int) -> None:
        self._bytes += count
        if self._bytes - self._told >= _TELL_EVERY_BYTES:
            self._told = self._bytes
            self._progress(Progress("backup", done_bytes=self._bytes))


def _parts(path: str) -> list[bytes]:
    parts = os.fsencode(path).split(b"/")
    if any(part in (b"", b".", b"..") or b"\0" in part or len(part) > 255 for part in parts):
        raise FormatError(f"stream: {path[:200]!r} is no path inside the tree")
    return parts


def _count_files(folder: _Folder) -> int:
    return sum(
        _count_files(child) if isinstance(child, _Folder) else child.target is None
        for child in folder.children.values()
    )


def _node(name: bytes, entry: _Folder | _Entry) -> Node:
    meta = entry.meta
    time = format_ns(meta.mtime_ns)
    node = Node(
        name=quote(name),
        type="file",
        mode=meta.mode & 0o777,
        mtime=time,
        atime=time,
        ctime=time,
        uid=meta.uid,
        gid=meta.gid,
    )
    if isinstance(entry, _Folder):
        return replace(node, type="dir", mode=MODE_DIR | node.mode, subtree=entry.tree_id.hex())
    if entry.target is not None:
        target = entry.target.decode("utf-8", "replace")
        raw = b"" if target.encode() == entry.target else entry.target
        return replace(
            node, type="symlink", mode=MODE_SYMLINK | node.mode, linktarget=target, linktarget_raw=raw, links=1
        )
    return replace(node, size=entry.size, links=1, content=[blob_id.hex() for blob_id in entry.content])
