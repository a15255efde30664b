"""Claims: who gets a number of the commit log, and who finishes a commit that its writer could not.

``govsec/claims/<number>`` is put with ``if_absent`` at one center, the arbiter, and holds the whole signed commit: of
two writers one gets the number, and whoever finds a claim whose writer died can store its commit. A claim below the
head of the log has no effect any more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from enum import Enum

from govsec.centers import names
from govsec.centers.commits import COMMIT_SIZE_MAX, Entry, open_commit
from govsec.centers.log import Position
from govsec.crypto.signing import TrustedKeys
from govsec.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError, RefusedError, StoreError
from govsec.store.api import ObjectStore

log = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of a claim."""

    OURS = "ours"
    #: Somebody claimed the number and may have died: the claim is to be finished.
    HELD_BY_ANOTHER = "held by another"
    #: There is a commit of that number already.
    TAKEN = "taken"


def claim(arbiter: ObjectStore, entry: Entry, data: bytes) -> Outcome:
    """Claim the number of ``entry`` with the bytes of its commit. Our own claim, met again, is ours."""
    name = _name(entry.number)
    try:
        arbiter.put(name, data, if_absent=True)
    except ObjectExistsError:
        is_ours = arbiter.get(name, size_max=COMMIT_SIZE_MAX) == data
        return Outcome.OURS if is_ours else Outcome.HELD_BY_ANOTHER
    except RefusedError:
        # A store without conditional writes cannot arbitrate. Two writers may then fork the log, which the next
        # commit joins again.
        log.warning("number not claimed", extra={"center": arbiter.name})
    taken = next(iter(arbiter.list(names.numbered(names.COMMITS, entry.number))), None)
    if taken is None or taken.name == entry.name:
        return Outcome.OURS
    unclaim(arbiter, entry.number)
    return Outcome.TAKEN


def finish_claim(stores: Sequence[ObjectStore], trusted: TrustedKeys, repository: str, head: Position) -> None:
    """Store the commit that somebody claimed the number after ``head`` for and did not write; remove junk in its place.

    ``stores`` hold everything up to ``head``.
    """
    number = head.number + 1
    for store in stores:
        try:
            data = store.get(_name(number), size_max=COMMIT_SIZE_MAX)
        except ObjectNotFoundError:
            continue
        try:
            digest = hashlib.sha256(data).hexdigest()
            entry = open_commit(trusted, names.numbered(names.COMMITS, number, digest), data)
        except IntegrityError as error:
            log.warning("claim is not a commit", extra={"center": store.name, "error": str(error)})
        else:
            commit = entry.commit
            if head.digest in (commit.previous, *commit.merges) and commit.repository == repository:
                store.put(entry.name, data)
        unclaim(store, number)


def unclaim(store: ObjectStore, number: int) -> None:
    """Remove the claim of ``number``, where this credential may."""
    try:
        store.delete(_name(number))
    except StoreError as error:
        # At same-city production may not delete; a claim below the head has no effect any more.
        log.info("claim stays", extra={"center": store.name, "claim": _name(number), "error": str(error)})


def _name(number: int) -> str:
    return f"{names.CLAIMS}{number:0{names.NUMBER_DIGITS}d}"
