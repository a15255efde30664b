"""Files that go along with a notice: read when they are sent, and sent only as what the notice says they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import ConfigurationError, LimitError
from govsec.localfile import read_bounded
from govsec.notice.words import Words, cut, visible
from govsec.records import Attachment

#: Mail servers take 20 to 50 MB with the third that base64 adds; WeCom takes 20 MB.
SIZE_MAX = 10 << 20
_NAME_SIZE_MAX = 120


@dataclass(frozen=True, slots=True)
class File:
    """What is attached. ``name`` has nothing in it that steers a header or a path."""

    name: str
    data: bytes


def attached(
    attachments: Sequence[Attachment], words: Words, size_max_bytes: int = SIZE_MAX
) -> tuple[tuple[File, ...], Words]:
    """The files, together no larger than ``size_max_bytes``, and the words with a line for each that could not be read.

    A file that is not what the notice says is left out: a notice must leave also when its report does not.
    """
    files: list[File] = []
    lines: list[str] = []
    left = size_max_bytes
    for each in attachments:
        try:
            data = content_of(each, left)
        except (OSError, LimitError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "too large or not what it was"
            lines.append(visible(f"未附上 / not attached: {each.name}: {why}"))
            continue
        left -= len(data)
        files.append(File(safe_name(each.name), data))
    return tuple(files), Words(words.title, (*words.lines, *lines))


def attachment_of(path: Path) -> Attachment:
    """A file as it is now, for a notice.

    Raises:
        ConfigurationError: it cannot be read, is no file, or larger than :data:`SIZE_MAX`.
    """
    try:
        data = read_bounded(path, SIZE_MAX)
    except (OSError, LimitError) as error:
        why = error.strerror if isinstance(error, OSError) else f"larger than {SIZE_MAX} bytes"
        raise ConfigurationError(f"{path}: {why}") from error
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Attachment(name=path.name[:200], path=str(path.absolute()), size_bytes=len(data), digest=digest)


def content_of(attachment: Attachment, size_max_bytes: int) -> bytes:
    """The bytes of the file.

    Raises:
        OSError, LimitError: it cannot be read, is no file, or too large.
        ValueError: it is not the file that was meant: its digest is another.
    """
    data = read_bounded(Path(attachment.path), size_max_bytes)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != attachment.digest:
        raise ValueError("another digest")
    return data


def safe_name(name: str) -> str:
    """The name of a file as any receiver may use it: no folders, quotes or controls, not hidden, its ending kept."""
    flat = visible(name).replace("\\", "_")
    clean = "".join("_" if mark in '/:*?"<>|;%=\r\n' else mark for mark in flat).lstrip(". ") or "file"
    stem, dot, ending = clean.rpartition(".")
    if not dot or len(ending) > 10:
        return cut(clean, _NAME_SIZE_MAX).replace("…", "")
    return f"{cut(stem, _NAME_SIZE_MAX).replace('…', '')}.{ending}"
