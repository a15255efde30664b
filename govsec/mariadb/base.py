"""A base backup: ``mariadb-backup`` runs, and its stream becomes files of a snapshot as it comes.

The tool gets its options in a private file that is removed afterwards: no password stands in a command line. Its exit
code, the end of its stream and the place in the log that it wrote down must all be right, or there is no snapshot.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from govsec.backup.sources import CommandSource
from govsec.backup.streamed import StreamedFile, StreamedTree
from govsec.clock import Clock
from govsec.errors import ConfigurationError, FormatError, GovsecError, SourceError
from govsec.mariadb.logtree import head_of
from govsec.mariadb.mbstream import Kind, MbstreamReader
from govsec.mariadb.record import RECORD_FILE, BaseRecord, LogPlace, encode
from govsec.mariadb.server import Address, Facts, Server
from govsec.privatefile import write_private
from govsec.secretfile import read_secret

#: Where a base backup's files lie below its own folder.
DATA = "data"
_TOOL = "mariadb-backup"
_READ_SIZE = 1 << 20
_PLACE_FILE = "xtrabackup_binlog_info"
_PLACE_SIZE_MAX = 64 << 10
_PLACE = re.compile(r"(?P<file>[^\t\n]+)\t(?P<position>[0-9]{1,19})(?:\t(?P<gtid>[^\n]*))?\n?")
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """How the tool is run."""

    threads: int = 1
    timeout_s: float = 6 * 3600


def take_base(address: Address, replica: int, tree: StreamedTree, *, options: BaseOptions, clock: Clock) -> BaseRecord:
    """Run a base backup into ``tree``, below a folder named by the moment; what it is.

    Raises:
        SourceError: the tool failed, or the server died under it; there is nothing to be saved.
        IntegrityError, FormatError: its stream is damaged or breaks off. ConfigurationError: it is not installed.
    """
    program = shutil.which(_TOOL)
    if program is None:
        raise ConfigurationError(f"{_TOOL} is not installed (Debian: mariadb-backup)")
    with Server(address) as server:
        facts = server.facts()
    began = clock.now()
    base_id = f"{began:%Y%m%dT%H%M%SZ}"
    with tempfile.TemporaryDirectory(prefix="govsec-mariadb-") as folder, _option_file(address, Path(folder)) as file:
        argv = (
            program,
            f"--defaults-extra-file={file}",
            *("--backup", "--stream=mbstream", f"--parallel={options.threads}"),
            f"--datadir={facts.datadir}",
            f"--target-dir={folder}/target",
        )
        taken = _take(CommandSource(argv, "base", options.timeout_s), tree, base_id, clock)
    place, gtid = _place_of(taken.place_text, facts)
    with Server(address) as server:
        # By the server's clock, as the times in its log: it holds nothing that was committed later.
        ended = server.now()
    head = ""
    if place is not None:
        with Server(address) as server:
            head = log_head(server, place.file, replica)
    base = BaseRecord(
        id=base_id,
        server_version=facts.version,
        server_id=facts.server_id,
        place=place,
        gtid=gtid,
        head=head,
        began=began,
        ended=ended,
        files=taken.files,
        size_bytes=taken.size_bytes,
    )
    record = tree.begin(f"{base_id}/{RECORD_FILE}")
    record.write(encode(base))
    record.close()
    return base


def log_head(server: Server, file: str, replica: int) -> str:
    """How a log file of the server begins, as a digest. The connection is of no other use afterwards.

    Raises:
        LogUnreadableError: the server has no such file.
    """
    return head_of(server.dump(file, 4, replica, is_waiting=False))


@dataclass(slots=True)
class _Taken:
    files: int = 0
    size_bytes: int = 0
    place_text: str = ""


def _take(source: CommandSource, tree: StreamedTree, base_id: str, clock: Clock) -> _Taken:
    reader, taken = MbstreamReader(), _Taken()
    open_files: dict[str, StreamedFile] = {}
    place = bytearray()

    def path_of(path: str) -> str:
        return f"{base_id}/{DATA}/{path}"

    try:
        with source.open(clock) as read:
            while data := read(_READ_SIZE):
                for piece in reader.feed(data):
                    match piece.kind:
                        case Kind.BEGIN:
                            open_files[piece.path] = tree.begin(path_of(piece.path))
                        case Kind.DATA:
                            open_files[piece.path].write(piece.data)
                            taken.size_bytes += len(piece.data)
                            if piece.path == _PLACE_FILE and len(place) < _PLACE_SIZE_MAX:
                                place += piece.data
                        case Kind.HOLE:
                            for part in _zeros(piece.size):
                                open_files[piece.path].write(part)
                        case Kind.END:
                            open_files.pop(piece.path).close()
                        case Kind.RENAME:
                            tree.rename(path_of(piece.path), path_of(piece.new))
                        case Kind.REMOVE:
                            tree.remove(path_of(piece.path))
    except SourceError:
        raise  # the tool says why: that is worth more than where its stream broke off
    except GovsecError as error:
        raise type(error)(f"{_TOOL}: {error}") from error
    reader.finish()
    taken.files, taken.place_text = reader.files_count, place.decode("utf-8", "backslashreplace")
    return taken


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        part = _ZEROS[:size]
        yield part
        size -= len(part)


def _place_of(text: str, facts: Facts) -> tuple[LogPlace | None, str]:
    """The place in the log, and the global ids at it."""
    if not text and not facts.log_file:
        return None, ""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise FormatError(f"{_TOOL}: {_PLACE_FILE} does not name a place in the binary log")
    # A server that logs into another folder names the file with it.
    file = match["file"].rpartition("/")[2]
    return LogPlace(file=file, position=int(match["position"])), (match["gtid"] or "").strip()


@contextmanager
def _option_file(address: Address, folder: Path) -> Iterator[Path]:
    """The tool's options, for its eyes only."""
    options = {"user": address.user}
    if address.password_file is not None:
        options["password"] = read_secret(address.password_file).decode("utf-8", "surrogateescape")
    if address.socket is not None:
        options["socket"] = str(address.socket)
    else:
        options |= {"host": address.host, "port": str(address.port), "protocol": "tcp", "ssl-verify-server-cert": "1"}
        if address.ca_file is not None:
            options["ssl-ca"] = str(address.ca_file)
    lines = ["[mariabackup]", *(f"{name}={_quoted(value)}" for name, value in options.items()), ""]
    path = folder / "options.cnf"
    write_private(path, "\n".join(lines).encode("utf-8", "surrogateescape"))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _quoted(value: str) -> str:
    r"""A value as an option file takes it whatever it holds: in quotes, with ``\\``, ``\"`` and ``\n``."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
