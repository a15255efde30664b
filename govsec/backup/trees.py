"""Reading many trees: a stretch of a pack at a time, so that a tree costs no request of its own.

Trees of one snapshot lie side by side in few packs. A reader that fetches the next stretch of the pack along with the
tree it was asked for needs a hundred requests where it would need ten thousand. What cannot be had this way is asked of
the repository itself, which looks in every pack and every center that may hold it.
"""

from __future__ import annotations

from collections import OrderedDict

from govsec.errors import IntegrityError, LimitError, ObjectNotFoundError, StoreUnavailableError
from govsec.repo.codec import Codec
from govsec.repo.index import Location
from govsec.repo.layout import TREE_BLOB_SIZE_MAX, pack_name
from govsec.repo.pack import BlobType, open_blob
from govsec.repo.repository import Repository

#: One stretch, and how much is kept: about 80,000 directories' worth of sealed trees.
_STRETCH_SIZE = 2 << 20
_KEPT_BYTES_MAX = 16 << 20


class TreeLoader:
    """Loads tree blobs of one repository. Not for two threads at once; made anew after ``fork``."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._codec = Codec()
        self._stretches: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._pack_sizes: dict[bytes, int] = {}

    def load(self, tree_id: bytes) -> bytes:
        """The plaintext of a tree. Raises as :meth:`govsec.repo.repository.Repository.load_blob`."""
        for location in self._repository.index.find(BlobType.TREE, tree_id)[:1]:
            try:
                return open_blob(
                    self._repository.suite,
                    self._codec,
                    self._sealed(location),
                    blob_id=tree_id,
                    raw=location.raw,
                    size_max=TREE_BLOB_SIZE_MAX,
                )
            except (IntegrityError, ObjectNotFoundError, StoreUnavailableError):
                break
        return self._repository.load_blob(BlobType.TREE, tree_id)

    def _sealed(self, location: Location) -> memoryview:
        pack, offset, length = location.pack, location.offset, location.length
        for (held_pack, start), data in reversed(self._stretches.items()):
            if held_pack == pack and start <= offset and offset + length <= start + len(data):
                self._stretches.move_to_end((held_pack, start))
                return memoryview(data)[offset - start : offset - start + length]
        name = pack_name(pack)
        store = self._repository.store
        size = self._pack_sizes.get(pack)
        if size is None:
            size = self._pack_sizes[pack] = store.head(name).size_bytes
        if offset + length > size:
            raise IntegrityError(f"{name}: {size} bytes, where the index places a blob up to {offset + length}")
        if length > TREE_BLOB_SIZE_MAX:
            raise LimitError(f"{name}: a tree of {length} bytes")
        wanted = min(size - offset, max(length, _STRETCH_SIZE))
        data = store.get(name, offset=offset, length=wanted, size_max=wanted)
        self._stretches[pack, offset] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > _KEPT_BYTES_MAX and len(self._stretches) > 1:
            self._kept_bytes -= len(self._stretches.popitem(last=False)[1])
        return memoryview(data)[:length]
