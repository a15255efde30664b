"""Where the folders are that the kernel names by a handle: every folder below the watched roots, by handle.

One idea: a folder is kept as a name in its parent, so a rename of a folder with a million files below is one entry. The
map is filled by walking once and kept right by the events themselves, so that reading events needs no right to open
anything. A handle that is not in the map lies outside of what is watched. What the map had no room for is counted.
"""

from __future__ import annotations

from govsec.host.fanotifykernel import Handle

#: No honest tree is deeper: a path has at most 4,096 bytes.
_DEPTH_MAX = 2048


class _Folder:
    __slots__ = ("generation", "name", "parent", "path")

    def __init__(self, parent: Handle | None, name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.path: bytes | None = None
        self.generation = -1


class FolderMap:
    """At most ``folders_max`` folders."""

    def __init__(self, folders_max: int) -> None:
        self._folders: dict[Handle, _Folder] = {}
        self._max = folders_max
        self._generation = 0
        #: Folders that were left out for want of room.
        self.refused_count = 0

    def __len__(self) -> int:
        return len(self._folders)

    def __contains__(self, handle: object) -> bool:
        return handle in self._folders

    def clear(self) -> None:
        """Forget all, before walking anew."""
        self._folders.clear()
        self.refused_count = 0

    def add_root(self, handle: Handle, path: bytes) -> None:
        """The folder at ``path``, whose parents do not count."""
        self._folders[handle] = _Folder(None, path)
        self._generation += 1

    def put(self, handle: Handle, parent: Handle, name: bytes) -> bool:
        """The folder is ``name`` in ``parent`` now; false when there is no room for it."""
        folder = self._folders.get(handle)
        if folder is None:
            if len(self._folders) >= self._max:
                self.refused_count += 1
                return False
            self._folders[handle] = _Folder(parent, name)
        elif folder.parent is not None and (folder.parent, folder.name) != (parent, name):
            folder.parent, folder.name = parent, name
            self._generation += 1  # the paths of all below it are others now
        return True

    def drop(self, handle: Handle) -> None:
        """The folder is gone, or lies outside now, with all below it; a root stays."""
        folder = self._folders.get(handle)
        if folder is not None and folder.parent is not None:
            del self._folders[handle]

    def stale(self) -> None:
        """A folder that was dropped had others below it: what is known of their paths is to be forgotten."""
        self._generation += 1

    def path(self, handle: Handle | None) -> bytes | None:
        """Where the folder is; ``None`` when it is not below a root."""
        folder = self._folders.get(handle) if handle is not None else None
        if folder is None:
            return None
        if folder.generation == self._generation:
            return folder.path
        chain = [folder]
        base: bytes | None = None
        while base is None:
            last = chain[-1]
            if last.parent is None:
                last.path, last.generation = last.name, self._generation
                base = last.path
                chain.pop()
                break
            above = self._folders.get(last.parent)
            if above is None or len(chain) >= _DEPTH_MAX:
                return None
            if above.generation == self._generation:
                base = above.path
                break
            chain.append(above)
        if base is None:
            return None
        for each in reversed(chain):
            base = each.path = base.rstrip(b"/") + b"/" + each.name
            each.generation = self._generation
        return base
