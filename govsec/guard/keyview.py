"""Files that open accounts or change every program: ``authorized_keys`` and ``ld.so.preload``, read as they are now.

Only fingerprints are kept of keys, as ``ssh-keygen -l`` prints them (SHA-256 of the decoded key, base64 without
padding). Options of a line are part of its identity: a key that may suddenly run anything is another key. A line that
cannot be read is an entry too, known by its digest.

sshd and the loader follow a link and read a file of any size; here neither is done without bounds. What cannot be read
in full must not hide a key, so that it is so is itself an entry: where the link leads or how large the file is, and a
digest of the state of what was not read, so that a change of it is another entry.

Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; OpenSSH auth2-pubkeyfile.c and
sshkey_advance_past_options; ld.so(8), FILES.
"""

from __future__ import annotations

import binascii
import errno
import hashlib
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import LimitError
from govsec.guard.api import KeyFile, PreloadFile
from govsec.host.tables import Account
from govsec.localfile import read_bounded

_SIZE_MAX = 1 << 20
_KEYS_MAX = 1000
_COMMENT_MAX = 100
_TARGET_MAX = 200
_LINKS_MAX = 8
_LINK, _LARGE, _MORE = "a link to ", "larger than ", "more than "
_TYPE = re.compile(rb"(?:ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]{1,60}")
_BLANKS = b" \t"


def is_oddity(entry: str) -> bool:
    """Whether an entry says that the file was not read in full, instead of what stands in it."""
    return entry.startswith((_LINK, _LARGE, _MORE))


@dataclass(frozen=True, slots=True)
class _Content:
    """What was read of a file, and what is to be told about the file itself."""

    data: bytes
    oddities: tuple[str, ...]


class KeyView:
    """Reads the key files of accounts. ``names``: as in sshd_config, ``%h`` and ``%u`` and paths below the home."""

    def __init__(self, names: Sequence[str], root: Path = Path("/")) -> None:
        self._names = tuple(names)
        self._root = root
        #: Files that could not be read, each time; only grows.
        self.faults_count = 0

    def look(self, time_ns: int, accounts: Iterable[Account]) -> list[KeyFile]:
        """The key files of the accounts that have some, each once."""
        found: dict[str, KeyFile] = {}
        for account in accounts:
            for name in self._names:
                path = self._place(name, account)
                if path is None or path in found:
                    continue
                keys = self._keys(path, account)
                if keys is not None:
                    found[path] = KeyFile(time_ns, path, account.name, account.uid, keys)
        return list(found.values())

    def preload(self, time_ns: int) -> PreloadFile | None:
        """``ld.so.preload``; without entries when there is none, ``None`` when it cannot be read."""
        path = self._root / "etc/ld.so.preload"
        try:
            content = self._content(path, None)
        except FileNotFoundError:
            content = _Content(b"", ())
        except OSError:
            self.faults_count += 1
            return None
        lines = [line.split("#", 1)[0] for line in content.data.decode("utf-8", "backslashreplace").split("\n")]
        entries = [word for line in lines for word in line.replace(":", " ").split()]
        return PreloadFile(time_ns, str(path), (*content.oddities, *_bounded(entries)))

    def _place(self, name: str, account: Account) -> str | None:
        if not account.home.startswith("/"):
            return None
        place = name.replace("%h", account.home).replace("%u", account.name)
        return place if place.startswith("/") else f"{account.home.rstrip('/')}/{place}"

    def _keys(self, path: str, account: Account) -> tuple[tuple[str, str], ...] | None:
        try:
            content = self._content(self._root / path.lstrip("/"), self._root / account.home.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            self.faults_count += 1
            return None
        keys = [key for line in content.data.split(b"\n") if (key := _key_of(line)) is not None]
        more = [(entry, "") for entry in _bounded([fingerprint for fingerprint, _ in keys])[_KEYS_MAX:]]
        return (*((oddity, "") for oddity in content.oddities), *keys[:_KEYS_MAX], *more)

    def _content(self, path: Path, home: Path | None) -> _Content:
        """What stands at ``path``; a link is followed for its content to a file below ``home`` and nowhere else.

        Raises:
            OSError: there is nothing, or it cannot be read.
        """
        try:
            return _Content(read_bounded(path, _SIZE_MAX), ())
        except LimitError:
            return _Content(b"", (_large(path),))
        except OSError as error:
            if error.errno != errno.ELOOP or not path.is_symlink():
                raise
        said = os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")[:_TARGET_MAX]
        # What opens nothing: the usual way to say that an account has no keys.
        if said == "/dev/null":
            return _Content(b"", ())
        target = self._end_of(path)
        if target is None:
            return _Content(b"", (f"{_LINK}{said} (leads nowhere)",))
        if home is None or not _is_below(target, home):
            return _Content(b"", (f"{_LINK}{said} (state {_state(target)})",))
        try:
            return _Content(read_bounded(target, _SIZE_MAX), (f"{_LINK}{said}",))
        except LimitError:
            return _Content(b"", (f"{_LINK}{said}", _large(target)))
        except OSError:
            self.faults_count += 1
            return _Content(b"", (f"{_LINK}{said} (cannot be read)",))

    def _end_of(self, path: Path) -> Path | None:
        """Where a chain of links ends, read as in the root that is looked at; ``None`` when at nothing."""
        try:
            for _ in range(_LINKS_MAX):
                if not path.is_symlink():
                    return path.resolve(strict=True)
                said = str(path.readlink())
                path = self._root / said.lstrip("/") if said.startswith("/") else path.parent / said
        except (OSError, RuntimeError):
            pass
        return None


def _is_below(target: Path, home: Path) -> bool:
    """A home that is the root itself holds everything, and is nobody's own."""
    folder = Path(os.path.realpath(home))
    return folder != Path(folder.anchor) and folder in target.parents


def _large(path: Path) -> str:
    return f"{_LARGE}{_SIZE_MAX} bytes (state {_state(path)})"


def _state(path: Path) -> str:
    """Short digest of which file stands there and when it changed last: its change time cannot be set by a program."""
    try:
        status = path.stat()
    except OSError:
        return "unknown"
    state = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_ctime_ns}"
    return hashlib.sha256(state.encode()).hexdigest()[:8]


def _bounded(entries: Sequence[str]) -> list[str]:
    """The first entries, and one more for all that are left out."""
    if len(entries) <= _KEYS_MAX:
        return list(entries)
    rest = hashlib.sha256("\n".join(entries[_KEYS_MAX:]).encode()).hexdigest()[:8]
    return [*entries[:_KEYS_MAX], f"{_MORE}{_KEYS_MAX} entries (digest {rest})"]


def _key_of(line: bytes) -> tuple[str, str] | None:
    """(fingerprint, comment) of a line; options are put behind the fingerprint as a digest of their own."""
    # sshd reads a line as a text of C: what stands behind a zero byte is not there.
    text = line.split(b"\0", 1)[0].strip(b" \t\r")
    if not text or text.startswith(b"#"):
        return None
    if (found := _plain(text)) is not None:
        return found
    end = _options_end(text)
    if (found := _plain(text[end:].lstrip(_BLANKS))) is not None:
        return f"{found[0]}+{hashlib.sha256(text[:end]).hexdigest()[:8]}", found[1]
    return f"line sha256:{hashlib.sha256(text).hexdigest()[:16]}", "cannot be read as a key"


def _plain(text: bytes) -> tuple[str, str] | None:
    """(fingerprint, comment) of a line without options, ``None`` when it is none."""
    words = re.split(rb"[ \t]+", text, maxsplit=2)
    if len(words) < 2 or _TYPE.fullmatch(words[0]) is None:
        return None
    try:
        key = b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    # The type stands in the key once more; sshd refuses a key that names another.
    if not key.startswith(len(words[0]).to_bytes(4, "big") + words[0]):
        return None
    fingerprint = "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return fingerprint, b" ".join(words[2:]).decode("utf-8", "backslashreplace")[:_COMMENT_MAX]


def _options_end(text: bytes) -> int:
    """Where the options end: at the first blank outside of quotes; the whole length when a quote has no end."""
    at, is_quoted = 0, False
    while at < len(text) and (is_quoted or text[at] not in _BLANKS):
        if text.startswith(b'\\"', at):
            at += 1
        elif text[at : at + 1] == b'"':
            is_quoted = not is_quoted
        at += 1
    return min(at, len(text))
