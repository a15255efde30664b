"""Memory that forked workers share: anonymous, zeroed, given back when nothing refers to it any more."""

from __future__ import annotations

import mmap


def shared_memory(size: int) -> mmap.mmap:
    """``size`` zeroed bytes; pages that nobody writes take no memory."""
    return mmap.mmap(-1, max(1, size))
