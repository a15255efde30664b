"""Files that open accounts or change every program: ``authorized_keys`` and ``ld.so.preload``, read as they are now.

Only fingerprints are kept of keys, as ``ssh-keygen -l`` prints them (SHA-256 of the decoded key, base64 without
padding). Options of a line are part of its identity: a key that may suddenly run anything is another key.

Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; ld.so(8), FILES.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path

from govsec.errors import LimitError
from govsec.guard.api import KeyFile, PreloadFile
from govsec.host.tables import Account
from govsec.localfile import read_bounded

_SIZE_MAX = 1 << 20
_KEYS_MAX = 1000
_TYPES = ("ssh-", "ecdsa-", "sk-")
_COMMENT_MAX = 100


class KeyView:
    """Reads the key files of accounts. ``names``: as in sshd_config, ``%h`` and ``%u`` and paths below the home."""

    def __init__(self, names: Sequence[str], root: Path = Path("/")) -> None:
        self._names = tuple(names)
        self._root = root
        self.faults_count = 0

    def look(self, time_ns: int, accounts: Iterable[Account]) -> list[KeyFile]:
        """The key files of the accounts that have some, each once."""
        found: dict[str, KeyFile] = {}
        for account in accounts:
            for name in self._names:
                path = self._place(name, account)
                if path is None or path in found:
                    continue
                keys = self._keys(path)
                if keys is not None:
                    found[path] = KeyFile(time_ns, path, account.name, account.uid, keys)
        return list(found.values())

    def preload(self, time_ns: int) -> PreloadFile | None:
        """``ld.so.preload``; without entries when there is none, ``None`` when it cannot be read."""
        path = self._root / "etc/ld.so.preload"
        try:
            text = read_bounded(path, _SIZE_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            text = ""
        except (OSError, LimitError):
            self.faults_count += 1
            return None
        lines = [line.split("#", 1)[0] for line in text.split("\n")]
        entries = [word for line in lines for word in line.replace(":", " ").split()]
        return PreloadFile(time_ns, str(path), tuple(entries[:_KEYS_MAX]))

    def _place(self, name: str, account: Account) -> str | None:
        if not account.home.startswith("/"):
            return None
        place = name.replace("%h", account.home).replace("%u", account.name)
        return place if place.startswith("/") else f"{account.home.rstrip('/')}/{place}"

    def _keys(self, path: str) -> tuple[tuple[str, str], ...] | None:
        try:
            data = read_bounded(self._root / path.lstrip("/"), _SIZE_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, LimitError, ValueError):
            self.faults_count += 1
            return None
        keys = [key for line in data.split(b"\n") if (key := _key_of(line)) is not None]
        return tuple(keys[:_KEYS_MAX])


def _key_of(line: bytes) -> tuple[str, str] | None:
    """(fingerprint, comment) of a line; options are put behind the fingerprint as a digest of their own."""
    text = line.decode("utf-8", "surrogateescape").strip()
    if not text or text.startswith("#"):
        return None
    words = text.split()
    at = next((at for at, word in enumerate(words) if word.startswith(_TYPES)), None)
    if at is None or at + 1 >= len(words):
        return None
    try:
        key = b64decode(words[at + 1], validate=True)
    except (binascii.Error, ValueError):
        return None
    fingerprint = "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    if at:
        options = " ".join(words[:at]).encode("utf-8", "surrogateescape")
        fingerprint += "+" + hashlib.sha256(options).hexdigest()[:8]
    return fingerprint, " ".join(words[at + 2 :])[:_COMMENT_MAX]
