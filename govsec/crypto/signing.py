"""Who said it: Ed25519 signatures, each key bound to one purpose, verified against keys that people pinned.

What is signed is ``b"govsec\\0" + purpose + b"\\0" + payload``, so a signature made for one purpose proves nothing for
another. A key id is the first 32 hex digits of the SHA-256 of the raw public key. Verifiers never take a key from
beside the data: :class:`TrustedKeys` is read from a roots file that people put in place.

Files. Private key: JSON, mode 0600, ``{"purpose","private" (base64 of the 32-byte seed)}``. Roots: YAML,
``version: 1`` and ``keys:``, a list of ``{purpose, key, public (base64), name}``.

Source: RFC 8032 (Ed25519).
"""

from __future__ import annotations

import binascii
import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from govsec.config import read_secret, read_yaml
from govsec.errors import ConfigurationError, IntegrityError

_KEY_SIZE = 32
_ROOTS_MAX = 1000


class Purpose(StrEnum):
    """What a key may sign. One key, one purpose."""

    COMMIT = "commit"
    EVIDENCE = "evidence"
    RELEASE = "release"
    APPROVAL = "approval"
    ATTESTATION = "attestation"
    PACK = "pack"
    BASELINE = "baseline"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key with the purpose it is trusted for and a name that people gave it."""

    purpose: Purpose
    raw: bytes
    name: str = ""

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:32]


class Signer:
    """A private key that signs for one purpose."""

    def __init__(self, purpose: Purpose, seed: bytes) -> None:
        if len(seed) != _KEY_SIZE:
            raise ConfigurationError(f"signing key: {len(seed)} bytes, not {_KEY_SIZE}")
        self._purpose = purpose
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, purpose: Purpose) -> Signer:
        """A new key for ``purpose``."""
        return cls(purpose, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path, purpose: Purpose) -> Signer:
        """The key in ``path``, which only its owner may read.

        Raises:
            ConfigurationError: unreadable, open to others, not a key, or a key for another purpose.
        """
        data = read_secret(path)
        try:
            fields = json.loads(data)
            found, seed = Purpose(fields["purpose"]), b64decode(fields["private"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigurationError(f"{path}: not a signing key") from error
        if found is not purpose:
            raise ConfigurationError(f"{path}: a key that signs {found.value}, where {purpose.value} is asked for")
        return cls(purpose, seed)

    def save(self, path: Path) -> None:
        """Write the key to a new file with mode 0600; an existing file is never overwritten."""
        data = json.dumps({"purpose": self._purpose.value, "private": b64encode(self._seed).decode()}) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot write the signing key: {error.strerror}") from error

    @property
    def purpose(self) -> Purpose:
        """What this key signs."""
        return self._purpose

    @property
    def key_id(self) -> str:
        """Names the key in signatures."""
        return self.public().key_id

    def public(self, name: str = "") -> PublicKey:
        """The half that is pinned at the verifiers."""
        return PublicKey(self._purpose, self._public, name)

    def sign(self, payload: bytes) -> bytes:
        """64 bytes that only this key's holder can make for ``payload`` and this purpose."""
        return self._private.sign(_message(self._purpose, payload))


class TrustedKeys:
    """The public keys that people pinned. Empty trusts nobody."""

    def __init__(self, keys: Iterable[PublicKey] = ()) -> None:
        self._keys = {(key.purpose, key.key_id): key for key in keys}

    def __iter__(self) -> Iterator[PublicKey]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def with_key(self, key: PublicKey) -> TrustedKeys:
        """These keys and one more."""
        return TrustedKeys([*self, key])

    def get(self, purpose: Purpose, key_id: str) -> PublicKey:
        """The pinned key. Raises ``IntegrityError`` when none of this id is trusted for this purpose."""
        key = self._keys.get((purpose, key_id))
        if key is None:
            raise IntegrityError(f"signature: key {key_id[:64]!r} is not trusted for {purpose.value}")
        return key

    def verify(self, purpose: Purpose, key_id: str, payload: bytes, signature: bytes) -> None:
        """Return when ``signature`` is the pinned key's for ``payload``.

        Raises:
            IntegrityError: unknown key, key of another purpose, or a signature that is not its own.
        """
        key = self.get(purpose, key_id)
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, _message(purpose, payload))
        except InvalidSignature as error:
            raise IntegrityError(f"signature: not made by key {key_id} for {purpose.value}") from error

    def save(self, path: Path) -> None:
        """Write the roots file whole, or leave the old one. JSON is YAML, and has one writer."""
        keys = [
            {"purpose": key.purpose.value, "key": key.key_id, "public": b64encode(key.raw).decode(), "name": key.name}
            for key in self
        ]
        text = json.dumps({"version": 1, "keys": keys}, indent=2, ensure_ascii=False) + "\n"
        temporary = path.with_name(path.name + ".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot write the roots: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> TrustedKeys:
        """The roots in ``path``. Raises ``ConfigurationError`` with the file and what is wrong with it."""
        value = read_yaml(path)
        if not isinstance(value, dict) or value.get("version") != 1 or set(value) != {"version", "keys"}:
            raise ConfigurationError(f"{path}: not a roots file of version 1")
        entries = value["keys"]
        if not isinstance(entries, list) or len(entries) > _ROOTS_MAX:
            raise ConfigurationError(f"{path}: keys is not a list of at most {_ROOTS_MAX}")
        return cls([_root(path, position, entry) for position, entry in enumerate(entries)])


def _root(path: Path, position: int, entry: object) -> PublicKey:
    where = f"{path}: keys.{position}"
    if not isinstance(entry, dict) or not {"purpose", "key", "public"} <= set(entry) <= {
        "purpose",
        "key",
        "public",
        "name",
    }:
        raise ConfigurationError(f"{where}: expected purpose, key, public and perhaps name")
    try:
        purpose = Purpose(entry["purpose"])
        raw = b64decode(entry["public"], validate=True)
    except (ValueError, TypeError, binascii.Error) as error:
        raise ConfigurationError(f"{where}: unknown purpose, or public is not base64") from error
    key = PublicKey(purpose, raw, str(entry.get("name", "")))
    if len(raw) != _KEY_SIZE or key.key_id != entry["key"]:
        raise ConfigurationError(f"{where}: the key id does not belong to the public key")
    return key


def _message(purpose: Purpose, payload: bytes) -> bytes:
    return b"govsec\0" + purpose.value.encode("ascii") + b"\0" + payload
