"""Which new blobs a run of several processes has already taken on, so that two workers do not store the same one.

Shared anonymous memory, full ids, no lock. A claim is a read and a write of 32 bytes; when two processes write one slot
at the same moment, one claim is lost and its blob may be stored twice, which is legal and costs space only. A blob is
never lost: an id counts as claimed only when all its 32 bytes were read, and ids are digests, which nobody can compose
from halves. Who claims must store: when a worker dies, the run has failed.

The table grows by levels of four times the slots; memory that no slot of is used is never touched. When all levels are
full (about ten million claims) every further id counts as new, and ``overflow_count`` says how often.
"""

from __future__ import annotations

from govsec.repo.memory import shared_memory
from govsec.repo.pack import ID_SIZE, NULL_ID

#: A level is left when all slots of an id's window are taken.
_WINDOW = 16 * ID_SIZE
_FIRST_LEVEL_BITS = 17
_LEVELS_COUNT = 4


class ClaimTable:
    """Made before ``fork``; used by all children. One table for one type of blobs."""

    def __init__(self) -> None:
        self.overflow_count = 0
        counts = [1 << (_FIRST_LEVEL_BITS + 2 * level) for level in range(_LEVELS_COUNT)]
        self._levels = [(count - 1, shared_memory(count * ID_SIZE + _WINDOW)) for count in counts]

    def claim(self, blob_id: bytes) -> bool:
        """Whether the caller is the first to claim this id, and has to store the blob."""
        number = int.from_bytes(blob_id[8:16], "little")
        for mask, memory in self._levels:
            start = position = (number & mask) * ID_SIZE
            end = start + _WINDOW
            find = memory.find
            while (position := find(blob_id, position, end)) >= 0:
                if position % ID_SIZE == 0:
                    return False
                position += 1
            position = start
            while (position := find(NULL_ID, position, end)) >= 0:
                # Zeros at the end of one id may run on into the next slot.
                position = -(-position // ID_SIZE) * ID_SIZE
                if memory[position : position + ID_SIZE] == NULL_ID and position < end:
                    memory[position : position + ID_SIZE] = blob_id
                    return True
        self.overflow_count += 1
        return True
