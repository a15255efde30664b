"""The suite of restic's repository format: AES-256-CTR with Poly1305-AES, SHA-256 for names.

::

    sealed = nonce (16) || ciphertext (length of the plaintext) || tag (16)

    ciphertext = AES-256-CTR(key = encrypt, initial counter block = nonce)
    tag        = Poly1305(one-time key = r || AES-128(k, nonce), ciphertext)

The tag is compared in constant time and before anything is decrypted. Nothing but the plaintext is authenticated: what
binds a blob to its place is its SHA-256 id, which callers compare.

Speed comes from one pair of cipher contexts that get a new nonce for each message, and from nonces drawn (and run
through AES) in batches. A batch must never be used on both sides of a ``fork``: two messages under one nonce would give
both away. So a child that inherits a suite draws a batch of its own before it seals anything.

Source: D. J. Bernstein, "The Poly1305-AES message-authentication code" (2005); restic's ``doc/design.rst``, section
"Keys, Encryption and MAC".
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

from govsec.errors import IntegrityError

NONCE_SIZE = 16
TAG_SIZE = 16
#: How much longer sealed bytes are than the plaintext.
OVERHEAD = NONCE_SIZE + TAG_SIZE
#: Nonces drawn at once: large enough to make the call to the kernel disappear, small enough to waste nothing.
_BATCH_COUNT = 256
#: From this size on, working in a reused buffer beats joining three pieces (measured; the fresh pages cost more).
_BUFFERED_FROM = 64 << 10
#: The reused buffer is not kept above this size, so one huge blob does not stay in memory.
_BUFFER_KEPT = 9 << 20
_NULL_NONCE = bytes(NONCE_SIZE)

#: Counts the forks that led to this process; see the module's docstring.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The three secrets of a repository. Printing one shows nothing of it."""

    encrypt: bytes = field(repr=False)
    mac_k: bytes = field(repr=False)
    mac_r: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, size in (("encrypt", 32), ("mac_k", 16), ("mac_r", 16)):
            value = getattr(self, name)
            if len(value) != size or not any(value):
                raise IntegrityError(f"master key: part {name} is not {size} bytes, or all zero")

    @classmethod
    def generate(cls) -> MasterKey:
        """A new key from the system's source of randomness."""
        return cls(secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_bytes(16))


class ResticSuite:
    """Implements :class:`govsec.crypto.api.Suite` with restic's primitives."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        # Clamping r (RFC 8439, 2.5) is done by the library; restic masks it as well, so both give the same tags.
        self._r = master.mac_r
        self._stream: CipherContext = Cipher(AES(master.encrypt), CTR(_NULL_NONCE)).encryptor()
        # ECB of single, never repeating blocks is what Poly1305-AES asks for; no message is encrypted with it.
        self._block: CipherContext = Cipher(AES(master.mac_k), ECB()).encryptor()  # noqa: S305
        self._batch: list[tuple[bytes, bytes]] = []
        self._batch_forks = _forks
        self._buffer = bytearray()

    @property
    def name(self) -> str:
        return "restic"

    @property
    def overhead_bytes(self) -> int:
        return OVERHEAD

    @property
    def master(self) -> MasterKey:
        """The key, for wrapping it under another password."""
        return self._master

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        size = len(plaintext)
        if size >= _BUFFERED_FROM:
            with memoryview(self._work_buffer(size + OVERHEAD))[: size + OVERHEAD] as place:
                self.seal_into(plaintext, place)
                return bytes(place)
        nonce, one_time_key = self._draw()
        self._stream.reset_nonce(nonce)
        ciphertext = self._stream.update(plaintext)
        return b"".join((nonce, ciphertext, Poly1305.generate_tag(one_time_key, ciphertext)))

    def seal_into(self, plaintext: bytes | bytearray | memoryview, place: memoryview) -> None:
        nonce, one_time_key = self._draw()
        self._stream.reset_nonce(nonce)
        place[:NONCE_SIZE] = nonce
        body = place[NONCE_SIZE:-TAG_SIZE]
        self._stream.update_into(plaintext, body)
        place[-TAG_SIZE:] = Poly1305.generate_tag(one_time_key, body)

    def open(self, sealed: bytes | bytearray | memoryview) -> bytes:
        view = memoryview(sealed)
        if len(view) < OVERHEAD:
            raise IntegrityError(f"sealed bytes: {len(view)} bytes, fewer than nonce and tag take")
        nonce = bytes(view[:NONCE_SIZE])
        if nonce == _NULL_NONCE:
            raise IntegrityError("sealed bytes: the nonce is zero")
        body = view[NONCE_SIZE:-TAG_SIZE]
        try:
            Poly1305.verify_tag(self._r + self._block.update(nonce), body, bytes(view[-TAG_SIZE:]))
        except InvalidSignature as error:
            raise IntegrityError("sealed bytes: the tag does not match (altered, or another key)") from error
        self._stream.reset_nonce(nonce)
        return self._stream.update(body)

    def digest(self, data: bytes | bytearray | memoryview) -> bytes:
        return hashlib.sha256(data).digest()

    def clone(self) -> ResticSuite:
        return ResticSuite(self._master)

    def _draw(self) -> tuple[bytes, bytes]:
        """A nonce that was never used, and the one-time key that belongs to it."""
        if not self._batch or self._batch_forks != _forks:
            self._batch = self._draw_batch()
            self._batch_forks = _forks
        return self._batch.pop()

    def _draw_batch(self) -> list[tuple[bytes, bytes]]:
        nonces = secrets.token_bytes(_BATCH_COUNT * NONCE_SIZE)
        pads = self._block.update(nonces)
        batch = []
        for start in range(0, len(nonces), NONCE_SIZE):
            nonce = nonces[start : start + NONCE_SIZE]
            # restic refuses an all-zero nonce as a sign of a broken source of randomness.
            if nonce != _NULL_NONCE:
                batch.append((nonce, self._r + pads[start : start + NONCE_SIZE]))
        if not batch:
            raise IntegrityError("the system's source of randomness gives zeros")
        return batch

    def _work_buffer(self, size: int) -> bytearray:
        if size > _BUFFER_KEPT:
            return bytearray(size)
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return self._buffer
