"""What a file's first bytes say it is, what its name says it should be, and how even its bytes are.

One idea: encrypted data look like nothing. They are even (close to 8 bits a byte) and begin with no mark of any format.
Compressed data are as even, but say what they are in their first bytes; so evenness alone means nothing, and evenness
without the mark that the name promises means much.

Source: magic numbers as file(1) knows them; entropy after Shannon (1948).
"""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Mapping

#: Of a file, so many bytes are looked at.
HEAD_SIZE = 64 << 10
#: Forms by their first bytes.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF8", "gif"),
    (0, b"RIFF", "riff"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"%PDF", "pdf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"\x7fELF", "elf"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (0, b"{\\rtf", "rtf"),
    # These two say "encrypted" themselves.
    (0, b"Salted__", "openssl"),
    (0, b"age-encryption.org/", "age"),
)
ENCRYPTED_FORMS = frozenset(("openssl", "age"))
_TEXT = "text"
#: Control characters that text has; of others one in so many characters is forgiven.
_WHITE = "\t\n\r\x0b\x0c\x1b"
_CONTROLS_RATIO = 50
#: What a file of each ending must be; what people keep and would pay for.
EXPECTED: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("docx", "xlsx", "pptx", "odt", "ods", "odp", "zip", "jar", "ofd", "wps", "et"), frozenset(("zip", "ole"))
    ),
    **dict.fromkeys(("doc", "xls", "ppt", "msg"), frozenset(("ole", "zip", "rtf", _TEXT))),
    **dict.fromkeys(("jpg", "jpeg"), frozenset(("jpeg",))),
    "png": frozenset(("png",)),
    "gif": frozenset(("gif",)),
    **dict.fromkeys(("tif", "tiff"), frozenset(("tiff",))),
    **dict.fromkeys(("mp4", "mov", "m4a", "heic"), frozenset(("mp4",))),
    **dict.fromkeys(("wav", "avi", "webp"), frozenset(("riff",))),
    "pdf": frozenset(("pdf",)),
    "rtf": frozenset(("rtf", _TEXT)),
    **dict.fromkeys(("sqlite", "sqlite3"), frozenset(("sqlite",))),
    "gz": frozenset(("gzip",)),
    "tgz": frozenset(("gzip",)),
    "xz": frozenset(("xz",)),
    "bz2": frozenset(("bzip2",)),
    "zst": frozenset(("zstd",)),
    "7z": frozenset(("7z",)),
    "rar": frozenset(("rar",)),
    **dict.fromkeys(
        ("txt", "csv", "tsv", "json", "xml", "yaml", "yml", "html", "htm", "md", "ini", "conf", "cfg", "log", "sql"),
        frozenset((_TEXT,)),
    ),
    **dict.fromkeys(
        ("py", "js", "ts", "java", "c", "h", "cpp", "go", "rs", "sh", "php", "css", "svg", "eml"), frozenset((_TEXT,))
    ),
}
#: Endings of what people make and keep: the documents that ransomware is after.
DOCUMENTS: frozenset[str] = frozenset().union(
    ("docx", "xlsx", "pptx", "odt", "ods", "odp", "ofd", "wps", "et", "doc", "xls", "ppt", "msg", "eml", "rtf", "pdf"),
    ("jpg", "jpeg", "png", "tif", "tiff", "heic", "mp4", "mov", "csv", "txt", "md", "sql", "sqlite", "sqlite3", "zip"),
    ("dwg", "dxf", "shp", "dbf", "mdb", "accdb", "bak", "vmdk", "qcow2", "ibd", "frm", "myd", "pst", "json", "xml"),
)
#: Endings that honest programs put on: versions, halves of work, what packers and editors leave.
KEPT: frozenset[str] = frozenset().union(
    ("gz", "bz2", "xz", "zst", "lz4", "zip", "7z", "tar", "tgz", "old", "bak", "orig", "save", "tmp", "temp", "part"),
    ("swp", "swo", "new", "lock", "rej", "dpkg-new", "dpkg-old", "dpkg-tmp", "dpkg-dist", "rpmnew", "rpmsave", "pyc"),
    ("o", "d", "a", "so", "obj", "class", "map", "partial", "crdownload", "download", "disabled", "sample", "backup"),
)


def entropy_of(head: bytes) -> float:
    """Bits a byte of ``head``, 0 to 8; 0 for nothing. Random bytes of n come to about 8 - 184/n."""
    size = len(head)
    if not size:
        return 0.0
    return max(0.0, math.log2(size) - sum(count * math.log2(count) for count in Counter(head).values()) / size)


def form_of(head: bytes) -> str | None:
    """The format that the first bytes name; ``text`` for bytes that are UTF-8 or GB 18030 text; else ``None``."""
    for at, mark, form in _MARKS:
        if head[at : at + len(mark)] == mark:
            return form
    return _TEXT if _is_text(head[:4096]) else None


def endings(path: str) -> tuple[str, ...]:
    """The endings of a file's name, the last one first, in lower case: ``a.tar.gz`` gives ``gz``, ``tar``."""
    name = path.rsplit("/", 1)[-1].lstrip(".")
    return tuple(reversed([part.lower() for part in name.split(".")[1:]]))


def expected_forms(path: str) -> frozenset[str] | None:
    """What the name promises: by its last ending, or the one before it; ``None`` for nothing."""
    for ending in endings(path)[:2]:
        if ending in EXPECTED:
            return EXPECTED[ending]
    return None


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    for encoding in ("utf-8", "gb18030"):
        try:
            # Not final: the head may end within a character.
            decoded = codecs.getincrementaldecoder(encoding)("strict").decode(head)
        except UnicodeDecodeError:
            continue
        controls = sum(character < " " and character not in _WHITE for character in decoded)
        if controls * _CONTROLS_RATIO <= len(decoded):
            return True
    return False
