"""The newest entries of a ledger, without walking all of it: for what is asked often and is about now.

Each entry is authentic by itself (a pinned key signed it into its chain); that none is missing or older ones were
changed is ``verify``'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError, StoreError, StoreUnavailableError
from govsec.ledger.entry import ENTRY_SIZE_MAX, Entry, decode, entry_name
from govsec.ledger.replicate import list_numbers
from govsec.store.api import ReadStore

#: Of one chain; what lies further back is not looked at, however young it is.
_ENTRIES_MAX = 20_000


def recent_entries(stores: Sequence[ReadStore], trusted: TrustedKeys, since: datetime) -> Iterator[Entry]:
    """The entries that were written after ``since``, newest first in each chain; without any that no store has whole.

    Raises:
        StoreUnavailableError: no center could be listed.
    """
    held: dict[str, dict[int, list[ReadStore]]] = {}
    errors: list[GovsecError] = []
    for store in stores:
        try:
            found = list_numbers(store)
        except StoreError as error:
            errors.append(error)
            continue
        for chain, numbers in found.items():
            for number in numbers:
                held.setdefault(chain, {}).setdefault(number, []).append(store)
    if len(errors) == len(stores):
        raise StoreUnavailableError(f"the ledger: no center could be asked: {errors[0] if errors else 'there is none'}")
    for chain, numbers_held in sorted(held.items()):
        for number in sorted(numbers_held, reverse=True)[:_ENTRIES_MAX]:
            entry = _read(numbers_held[number], trusted, chain, number)
            if entry is None:
                continue
            if entry.written < since:
                break
            yield entry


def _read(stores: Sequence[ReadStore], trusted: TrustedKeys, chain: str, number: int) -> Entry | None:
    for store in stores:
        try:
            entry = decode(trusted, store.get(entry_name(chain, number), size_max=ENTRY_SIZE_MAX))
        except (StoreError, IntegrityError):
            continue
        if (entry.chain, entry.number) == (chain, number):
            return entry
    return None
