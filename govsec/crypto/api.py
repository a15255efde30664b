"""The seam of the cryptographic primitives: one suite per repository."""

from __future__ import annotations

from typing import Protocol


class Suite(Protocol):
    """Authenticated encryption and the digest that names blobs and objects.

    An instance is not shared between threads or processes (implementations keep cipher contexts); see ``clone``.
    """

    @property
    def name(self) -> str:
        """``restic`` or, later, ``gm``."""
        ...

    @property
    def overhead_bytes(self) -> int:
        """How much longer the sealed bytes are than the plaintext."""
        ...

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        """``plaintext`` encrypted and authenticated under a fresh nonce."""
        ...

    def seal_into(self, plaintext: bytes | bytearray | memoryview, place: memoryview) -> None:
        """As :meth:`seal`, into ``place``, which is ``overhead_bytes`` longer than ``plaintext`` and no part of it."""
        ...

    def open(self, sealed: bytes | bytearray | memoryview) -> bytes:
        """The plaintext of ``sealed``. Raises ``IntegrityError`` when it is not authentic."""
        ...

    def digest(self, data: bytes | bytearray | memoryview) -> bytes:
        """The 32 bytes that name ``data``."""
        ...

    def clone(self) -> Suite:
        """The same suite for another thread or process."""
        ...
