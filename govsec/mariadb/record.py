"""What lies beside the data, in words: which base backups and which stretches of log a recovery point holds.

``/mariadb/<job>/govsec.json`` is written with every snapshot of the log, ``base/<id>/govsec.json`` with every base
backup. A *line* is log without a gap: one server's binary log files one after the other. Where the log breaks (purged,
reset, another server) the line ends with the reason, and a new one begins; a recovery never crosses from one line to
the next. All files are read back with the limits here: they come from a repository that others may have written.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from govsec import canonical
from govsec.config import explain
from govsec.errors import FormatError
from govsec.mariadb.events import log_name, log_number
from govsec.records import Moment

RECORD_FILE = "govsec.json"
RECORD_SIZE_MAX = 4 << 20
#: Gaps that are remembered; the oldest lines go with their log.
LINES_MAX = 1000
BASES_MAX = 1000
#: Log files whose begin is remembered, so that a base backup is matched with the log it was made with.
HEADS_MAX = 64
#: So far back a drill to an earlier moment still finds one.
NONCES_MAX = 1000
MISDATED_MAX = 1000
#: Files of a line lie in folders of this many, so that a window writes one small tree.
FILES_PER_FOLDER = 256
BaseId = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$")]
_File = Annotated[str, Field(max_length=255)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogPlace(_Record):
    """A place in a server's binary log."""

    file: _File
    position: int = Field(ge=4)

    @field_validator("file")
    @classmethod
    def _is_a_log(cls, name: str) -> str:
        try:
            return log_name(name)
        except FormatError as error:
            raise ValueError(str(error)) from error

    @property
    def order(self) -> tuple[int, int]:
        """For comparing places of one line."""
        return log_number(self.file), self.position

    def __str__(self) -> str:
        return f"{self.file}:{self.position}"


class CommitRecord(LogPlace):
    """The end of a transaction, with the server's second and its global id."""

    time: Moment
    gtid: str = Field(default="", max_length=64)


class GroupRecord(_Record):
    """A transaction that has begun and not ended where the record was written."""

    gtid: str = Field(max_length=64)
    is_standalone: bool


class LineRecord(_Record):
    """A stretch of log without a gap."""

    number: int = Field(ge=1)
    server_id: int = Field(ge=0)
    first: LogPlace
    #: Where the next event is expected; what lies after the last commit counts for nothing yet.
    end: LogPlace
    #: The last transaction that is wholly in the line.
    commit: CommitRecord | None = None
    first_commit: CommitRecord | None = None
    group: GroupRecord | None = None
    #: SHA-256 of how files begin, the newest ones and those that base backups name: a log of the same name that begins
    #: otherwise is another one.
    heads: dict[str, str] = Field(default_factory=dict, max_length=HEADS_MAX + BASES_MAX)
    is_checked: bool = True
    #: Why nothing follows, and when that was found; empty while the line goes on.
    broken: str = Field(default="", max_length=1000)
    broken_at: Moment | None = None

    @property
    def head(self) -> str:
        """How the file that is written begins; empty when that was not seen yet."""
        return self.heads.get(self.end.file, "")

    @property
    def commit_place(self) -> tuple[str, int] | None:
        """File and position of the last transaction."""
        return None if self.commit is None else (self.commit.file, self.commit.position)


class BaseRecord(_Record):
    """A base backup: the server's files as of one place in its log."""

    id: BaseId
    server_version: str = Field(max_length=200)
    server_id: int = Field(ge=0)
    #: None when the server had no binary log: nothing can be played on top of it.
    place: LogPlace | None
    gtid: str = Field(default="", max_length=1000)
    #: SHA-256 of how the log file of that place begins: what is played on top must be this very log.
    head: str = Field(default="", max_length=64)
    began: Moment
    #: By the server's clock, as the times in its log.
    ended: Moment
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)


class NonceRecord(_Record):
    """A random value that was written into a table of the server: what is recovered up to there has it."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    line: int = Field(ge=1)
    place: LogPlace


class MisdatedRecord(_Record):
    """A transaction that says a time which had not come when it was taken: any session may set its own clock."""

    line: int = Field(ge=1)
    place: LogPlace
    taken: Moment


class LogRecord(_Record):
    """What a snapshot of the log holds."""

    version: Literal[1] = 1
    job: str = Field(max_length=200)
    server_version: str = Field(default="", max_length=200)
    written: Moment
    #: When the server last had nothing that is not in here; None: not since the stream began.
    level_at: Moment | None = None
    lines: tuple[LineRecord, ...] = Field(default=(), max_length=LINES_MAX)
    bases: tuple[BaseRecord, ...] = Field(default=(), max_length=BASES_MAX)
    #: Transactions that say a time to come, with when they were taken by the server's clock; the newest last.
    misdated: tuple[MisdatedRecord, ...] = Field(default=(), max_length=MISDATED_MAX)
    #: The newest last.
    nonces: tuple[NonceRecord, ...] = Field(default=(), max_length=NONCES_MAX)


def encode(record: LogRecord | BaseRecord) -> bytes:
    """The record as it is written down."""
    return canonical.dumps(record.model_dump(mode="json")) + b"\n"


def parse_log_record(data: bytes) -> LogRecord:
    """The record in ``data``. Raises ``FormatError``."""
    try:
        return LogRecord.model_validate_json(data)
    except ValidationError as error:
        raise FormatError(f"{RECORD_FILE} of a log: {explain(error)}") from error


def parse_base_record(data: bytes) -> BaseRecord:
    """The record in ``data``. Raises ``FormatError``."""
    try:
        return BaseRecord.model_validate_json(data)
    except ValidationError as error:
        raise FormatError(f"{RECORD_FILE} of a base backup: {explain(error)}") from error


def root_of(job: str) -> str:
    """The folder of a job in its snapshots."""
    return f"/mariadb/{job}"


def base_root_of(job: str) -> str:
    """The folder that snapshots of base backups alone are of."""
    return f"/mariadb/{job}/base"


def log_path(line: int, file: str) -> str:
    """Where a log file of a line lies below the job's folder."""
    return f"log/{line:06d}/{log_number(file) // FILES_PER_FOLDER:06d}/{log_name(file)}"
