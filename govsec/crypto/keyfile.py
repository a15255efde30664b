"""Key files: the master key wrapped under a password, in restic's JSON.

::

    {"created": time, "username": text, "hostname": text,
     "kdf": "scrypt", "N": int, "r": int, "p": int, "salt": base64 of 64 bytes,
     "data": base64 of sealed {"mac":{"k":base64 of 16,"r":base64 of 16},"encrypt":base64 of 32}}

``scrypt(password, salt, N, r, p)`` gives 64 bytes: the AES key (32), k (16) and r (16) that seal ``data``. Any number
of key files wrap the same master key; removing one does not change it.

A key file comes from the store and is hostile until it opened: its scrypt parameters are bounded before they are used,
in memory (128·N·r bytes) and in work (N·r·p), so that a planted file cannot take a machine's memory or its day.

Source: RFC 7914 (scrypt); restic's ``doc/design.rst``, section "Keys, Encryption and MAC".
"""

from __future__ import annotations

import binascii
import hashlib
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from govsec.clock import format_time
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import FormatError, IntegrityError, LimitError, WrongPasswordError

#: restic asks for exactly this much salt.
_SALT_SIZE = 64
#: Largest key file that is looked at; honest ones have under 1 kB.
KEY_FILE_SIZE_MAX = 64 << 10
#: 16 times what restic's calibration gives (N = 32768, r = 8: 32 MiB).
_SCRYPT_MEMORY_MAX = 512 << 20
#: N·r·p; 16 times the usual work, about ten seconds. Twenty planted files of that cost are three minutes, once.
_SCRYPT_WORK_MAX = 16 * 32768 * 8
_TEXT_MAX = 1024


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """Cost of turning a password into a key. The default is what restic's calibration usually arrives at."""

    n: int = 32768
    r: int = 8
    p: int = 1

    def check(self) -> None:
        """Raise ``LimitError`` or ``FormatError`` for parameters that no honest writer chooses."""
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or self.p < 1:
            raise FormatError(f"key file: scrypt parameters N={self.n} r={self.r} p={self.p} are impossible")
        if 128 * self.n * self.r > _SCRYPT_MEMORY_MAX or self.n * self.r * self.p > _SCRYPT_WORK_MAX:
            raise LimitError(f"key file: scrypt parameters N={self.n} r={self.r} p={self.p} ask for too much")


@dataclass(frozen=True, slots=True)
class KeyFileInfo:
    """What a key file says in the clear. Nothing of it is authenticated."""

    created: str
    username: str
    hostname: str
    kdf: KdfParameters


def create_key_file(
    master: MasterKey,
    password: bytes,
    *,
    hostname: str,
    username: str,
    created: datetime,
    kdf: KdfParameters | None = None,
) -> bytes:
    """The bytes of a new key file, opened again before they are given out.

    Raises:
        WrongPasswordError: for an empty password; a repository without one protects nothing.
    """
    if not password:
        raise WrongPasswordError("the password is empty")
    kdf = kdf or KdfParameters()
    kdf.check()
    salt = secrets.token_bytes(_SALT_SIZE)
    wrapped = _derive(password, salt, kdf).seal(_encode_master(master))
    data = json.dumps(
        {
            "created": format_time(created),
            "username": username,
            "hostname": hostname,
            "kdf": "scrypt",
            "N": kdf.n,
            "r": kdf.r,
            "p": kdf.p,
            "salt": b64encode(salt).decode(),
            "data": b64encode(wrapped).decode(),
        },
        separators=(",", ":"),
    ).encode()
    if open_key_file(data, password) != master:
        raise IntegrityError("a new key file did not give back the key that was put in; nothing was written")
    return data


def open_key_file(data: bytes, password: bytes) -> MasterKey:
    """The master key in a key file.

    Raises:
        WrongPasswordError: the password is not this file's (or the file was altered: one cannot tell).
        FormatError: not a key file, or a key derivation other than scrypt.
        LimitError: too large, or parameters that would take too much memory or time.
    """
    fields = _parse(data)
    kdf = _kdf(fields)
    kdf.check()
    salt, wrapped = _base64(fields, "salt"), _base64(fields, "data")
    if len(salt) != _SALT_SIZE:
        raise FormatError(f"key file: the salt has {len(salt)} bytes, not {_SALT_SIZE}")
    try:
        plain = _derive(password, salt, kdf).open(wrapped)
    except IntegrityError as error:
        raise WrongPasswordError("the password does not open this key file") from error
    return _decode_master(plain)


def read_key_file_info(data: bytes) -> KeyFileInfo:
    """What the file says in the clear, bounded in length. Raises ``FormatError`` or ``LimitError``."""
    fields = _parse(data)
    texts = [str(fields.get(name, ""))[:_TEXT_MAX] for name in ("created", "username", "hostname")]
    return KeyFileInfo(texts[0], texts[1], texts[2], _kdf(fields))


def _derive(password: bytes, salt: bytes, kdf: KdfParameters) -> ResticSuite:
    # OpenSSL refuses without a limit; the bound of the parameters was checked, the rest is its own overhead.
    memory_max = 128 * kdf.n * kdf.r + 128 * kdf.r * kdf.p + (1 << 20)
    try:
        key = hashlib.scrypt(password, salt=salt, n=kdf.n, r=kdf.r, p=kdf.p, maxmem=memory_max, dklen=64)
    except ValueError as error:
        raise FormatError(f"key file: scrypt refuses N={kdf.n} r={kdf.r} p={kdf.p}") from error
    return ResticSuite(MasterKey(key[:32], key[32:48], key[48:]))


def _parse(data: bytes) -> Mapping[str, object]:
    if len(data) > KEY_FILE_SIZE_MAX:
        raise LimitError(f"key file: larger than {KEY_FILE_SIZE_MAX} bytes")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError("key file: not JSON") from error
    if not isinstance(fields, dict):
        raise FormatError("key file: not a JSON object")
    return fields


def _kdf(fields: Mapping[str, object]) -> KdfParameters:
    if fields.get("kdf") != "scrypt":
        raise FormatError("key file: the key derivation is not scrypt")
    numbers = [fields.get(name) for name in ("N", "r", "p")]
    if not all(type(number) is int for number in numbers):
        raise FormatError("key file: scrypt parameters are not integers")
    n, r, p = (number for number in numbers if isinstance(number, int))
    return KdfParameters(n, r, p)


def _base64(fields: Mapping[str, object], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str):
        raise FormatError(f"key file: {name} is not text")
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"key file: {name} is not base64") from error


def _encode_master(master: MasterKey) -> bytes:
    mac = {"k": b64encode(master.mac_k).decode(), "r": b64encode(master.mac_r).decode()}
    return json.dumps({"mac": mac, "encrypt": b64encode(master.encrypt).decode()}, separators=(",", ":")).encode()


def _decode_master(plain: bytes) -> MasterKey:
    fields = _parse(plain)
    mac = fields.get("mac")
    if not isinstance(mac, dict):
        raise FormatError("key file: the master key in it has no mac")
    return MasterKey(_base64(fields, "encrypt"), _base64(mac, "k"), _base64(mac, "r"))
