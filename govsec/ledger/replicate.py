"""Copying entries from one center to another: additive, verified on the way, in order, restartable.

Every entry is authenticated before it is put; an object that is there under the same name is never overwritten.
Nothing here needs a private key, so the receiving side can run it with a read-only credential for its source.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from govsec.crypto.signing import TrustedKeys
from govsec.errors import IntegrityError, LimitError, ObjectExistsError
from govsec.ledger.entry import ENTRY_SIZE_MAX, PREFIX, decode, entry_name, parse_name
from govsec.store.api import ObjectStore, ReadStore

#: More names than this in one center are no ledger of ours: a century of an entry every hour.
ENTRIES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplicateReport:
    """What one round copied, and the names that were refused with the reason."""

    copied: tuple[str, ...]
    refused: tuple[str, ...]


def list_numbers(store: ReadStore, chain: str | None = None) -> dict[str, set[int]]:
    """Which entries a center has, by chain. Names that are no entry's are left out (``verify`` reports them).

    Raises:
        LimitError: more than ``ENTRIES_MAX`` names.
    """
    found: dict[str, set[int]] = {}
    prefix = PREFIX if chain is None else f"{PREFIX}{chain}/"
    for count, info in enumerate(store.list(prefix)):
        if count >= ENTRIES_MAX:
            raise LimitError(f"{store.name}: more than {ENTRIES_MAX} objects under {prefix}")
        if (parsed := parse_name(info.name)) is not None:
            found.setdefault(parsed[0], set()).add(parsed[1])
    return found


def replicate(
    source: ReadStore, target: ObjectStore, trusted: TrustedKeys, *, chains: Collection[str] | None = None
) -> ReplicateReport:
    """Bring to ``target`` every authentic entry that ``source`` has and it lacks.

    Interrupted anywhere, ``target`` holds whole entries only and the next round goes on.

    Raises:
        StoreError: as either center reports it.
    """
    at_source, at_target = list_numbers(source), list_numbers(target)
    copied: list[str] = []
    refused: list[str] = []
    for chain in sorted(at_source):
        if chains is not None and chain not in chains:
            continue
        for number in sorted(at_source[chain] - at_target.get(chain, set())):
            name = entry_name(chain, number)
            try:
                copy_entry(source, target, trusted, chain, number)
            except IntegrityError as error:
                refused.append(f"{name}: {error}")
            else:
                copied.append(name)
    return ReplicateReport(tuple(copied), tuple(refused))


def copy_entry(source: ReadStore, target: ObjectStore, trusted: TrustedKeys, chain: str, number: int) -> None:
    """Copy one entry.

    Raises:
        IntegrityError: the source's bytes are not this entry, or the target holds another under its name.
    """
    name = entry_name(chain, number)
    data = source.get(name, size_max=ENTRY_SIZE_MAX)
    entry = decode(trusted, data)
    if (entry.chain, entry.number) != (chain, number):
        raise IntegrityError(f"{source.name}: {name} holds entry {entry.number} of chain {entry.chain}")
    try:
        target.put(name, data, if_absent=True)
    except ObjectExistsError as error:
        if target.get(name, size_max=ENTRY_SIZE_MAX) != data:
            raise IntegrityError(f"{target.name}: {name} holds other bytes than at {source.name}") from error
