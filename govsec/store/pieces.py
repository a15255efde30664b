"""Moving objects piece by piece where a store can, and as a whole where it cannot.

Between two directories an object passes through one buffer that stays in the processor's cache: read, hashed, written.
A buffer of the size of a pack costs more time in new pages of memory than in hashing (16 MiB: 40 ms against 12 ms).

A wrapper that has nothing to say about pieces (retries, meters) need not know of them: ``get`` and ``put`` are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from govsec.store.api import ObjectInfo, ObjectStore, Piece, PieceSource, PieceTarget, ReadStore


def pieces_of(store: ReadStore, name: str, *, size_max: int) -> Iterator[Piece]:
    """The bytes of an object, in pieces or all at once. Raises as ``get`` does, also while it is consumed."""
    if isinstance(store, PieceSource):
        yield from store.pieces(name, size_max=size_max)
    else:
        yield store.get(name, size_max=size_max)


def put_pieces(store: ObjectStore, name: str, pieces: Iterable[Piece]) -> ObjectInfo:
    """Store the pieces as one object. When ``pieces`` raises, that leaves here, and nothing is stored."""
    if isinstance(store, PieceTarget):
        return store.put_pieces(name, pieces)
    return store.put(name, joined(pieces))


def joined(pieces: Iterable[Piece]) -> bytes:
    """All pieces in one; a single one that is whole already is not copied."""
    parts = [piece if isinstance(piece, bytes) else bytes(piece) for piece in pieces]
    return parts[0] if len(parts) == 1 else b"".join(parts)
