"""Which new blobs a run of several processes has already taken on, so that two workers do not store the same one.

Shared anonymous memory, full ids, no lock. A claim is a read and a write of 32 bytes; when two processes write one slot
at the same moment, one claim is lost and its blob may be stored twice, which is legal and costs space only. A blob is
never lost: an id counts as claimed only when all its 32 bytes were read, and ids are digests, which nobody can compose
from halves. Who claims must store: when a worker dies, the run has failed.

The table grows by levels of four times the slots; memory that no slot of is used is never touched. When all levels are
full (about 40 million claims) every further id counts as new, and ``overflow_count`` says how often.
"""

from __future__ import annotations

from govsec.repo.memory import shared_memory
from govsec.repo.pack import ID_SIZE, NULL_ID

#: A level is left when all slots of an id's window are taken.
_WINDOW = 16 * ID_SIZE
_FIRST_LEVEL_BITS = 16
_LEVELS_COUNT = 6


class ClaimTable:
    """Made before ``fork``; used by all children. One table for one type of blobs."""

    def __init__(self) -> None:
        self.overflow_count = 0
        self._slot_counts = [1 << (_FIRST_LEVEL_BITS + 2 * level) for level in range(_LEVELS_COUNT)]
        self._levels = [shared_memory(count * ID_SIZE + _WINDOW) for count in self._slot_counts]

    def claim(self, blob_id: bytes) -> bool:
        """Whether the caller is the first to claim this id, and has to store the blob."""
        number = int.from_bytes(blob_id[8:16], "big")
        for slot_count, memory in zip(self._slot_counts, self._levels, strict=True):
            start = (number & (slot_count - 1)) * ID_SIZE
            window = memory[start : start + _WINDOW]
            position = window.find(blob_id)
            while position > 0 and position % ID_SIZE:
                position = window.find(blob_id, position + 1)
            if position >= 0:
                return False
            empty = window.find(NULL_ID)
            if empty >= 0:
                empty = -(-empty // ID_SIZE) * ID_SIZE
                while empty < _WINDOW and window[empty : empty + ID_SIZE] != NULL_ID:
                    empty += ID_SIZE
                if empty < _WINDOW:
                    memory[start + empty : start + empty + ID_SIZE] = blob_id
                    return True
        self.overflow_count += 1
        return True
