"""Which directories of a source have to be looked at, as a tree of marks: what a watcher collects until a window ends.

A mark says of a directory that its entries are to be listed, or that everything below is to be walked; directories
above it only lead there. It is bounded: past ``marks_max`` a mark is put on the nearest directory above that has one,
which is looked at wholly then, so a storm of changes costs time and never memory, and nothing is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Mark:
    """One directory."""

    #: Its own entries are to be looked at.
    is_listed: bool = False
    #: Everything below is to be walked.
    is_whole: bool = False
    below: dict[bytes, Mark] = field(default_factory=dict)


class Marks:
    """Marks from ``/`` down. Paths are absolute bytes."""

    def __init__(self, marks_max: int = 100_000) -> None:
        self.root = Mark()
        self._marks_max = marks_max
        self._count = 0
        #: How often a directory was marked wholly because there was no room for marks below it.
        self.widened_count = 0

    def __bool__(self) -> bool:
        return self.root.is_listed or self.root.is_whole or bool(self.root.below)

    def listed(self, path: bytes) -> None:
        """The entries of the directory ``path`` are to be looked at."""
        self._reach(path).is_listed = True

    def whole(self, path: bytes) -> None:
        """Everything below the directory ``path`` is to be walked."""
        mark = self._reach(path)
        mark.is_whole = True
        self._count -= _size(mark) - 1
        mark.below.clear()

    def add(self, other: Marks) -> None:
        """Take in what ``other`` marks: after a window that failed, its marks come back."""
        stack = [(b"/", other.root)]
        while stack:
            path, mark = stack.pop()
            if mark.is_whole:
                self.whole(path)
                continue
            if mark.is_listed:
                self.listed(path)
            prefix = path.rstrip(b"/") + b"/"
            stack += [(prefix + name, below) for name, below in mark.below.items()]

    def _reach(self, path: bytes) -> Mark:
        mark = self.root
        for name in path.strip(b"/").split(b"/") if path != b"/" else ():
            if mark.is_whole:
                return mark
            below = mark.below.get(name)
            if below is None:
                if self._count >= self._marks_max:
                    self.widened_count += 1
                    mark.is_whole = True
                    self._count -= _size(mark) - 1
                    mark.below.clear()
                    return mark
                below = mark.below[name] = Mark()
                self._count += 1
            mark = below
        return mark


def _size(mark: Mark) -> int:
    count, stack = 0, [mark]
    while stack:
        count += 1
        stack += stack.pop().below.values()
    return count
