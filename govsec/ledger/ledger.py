"""Appending to the ledger: one home center decides, mirrors follow.

A conditional put at the home center makes an entry; its mirrors get the same bytes right after, and what they missed
before. Killed at any call, the chain at every center is whole entries in order, and the next append goes on. A second
process with the same key that lost the race for a number takes the next one.

A home that has lost entries which a mirror still has gets them back before anything is added (a gap would otherwise
be filled with something else), and the repair is itself written down as evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.crypto.signing import Signer, TrustedKeys
from govsec.errors import IntegrityError, ObjectExistsError, StoreError, TryAgainError
from govsec.ledger.entry import ENTRY_SIZE_MAX, NO_PREVIOUS, Entry, Head, decode, encode, entry_name
from govsec.ledger.replicate import copy_entry, list_numbers
from govsec.records import Evidence
from govsec.store.api import ObjectStore

log = logging.getLogger(__name__)
#: Each lost race means that another writer made progress; this many in a row is a fault, not contention.
ATTEMPTS_MAX = 32
_REPAIRED = "ledger.repaired"


class Ledger:
    """The chain of one evidence key over a home center and its mirrors.

    ``trusted`` are the roots pinned by people; the signer's own public key must be among them, or nobody could ever
    verify what is about to be written.
    """

    def __init__(
        self,
        home: ObjectStore,
        signer: Signer,
        clock: Clock,
        *,
        trusted: TrustedKeys,
        mirrors: Sequence[ObjectStore] = (),
    ) -> None:
        self._home = home
        self._mirrors = tuple(mirrors)
        self._signer = signer
        self._clock = clock
        self._trusted = trusted

    @property
    def chain(self) -> str:
        """The id of the key whose chain this continues."""
        return self._signer.key_id

    def append(self, evidence: Evidence) -> Entry:
        """Sign ``evidence`` into the chain; durable at the home center when this returns.

        Evidence that equals the head's is taken for a repetition after an unclear answer, and the head is given back.
        ``held_by`` of the entry names the home and every mirror that has it; a mirror that could not be reached gets
        it with a later append.

        Raises:
            StoreError: the home center could not list, read or put.
            IntegrityError: the home's head is not authentic, or a mirror's chain contradicts it; nothing was added.
            FormatError: the evidence cannot be written down.
        """
        for note in self._repair_home():
            self._append_at_home(note)
        entry = self._append_at_home(evidence)
        holders = [self._home.name]
        for mirror in self._mirrors:
            try:
                self._catch_up(mirror)
            except (StoreError, IntegrityError) as error:
                log.warning("ledger mirror behind", extra={"center": mirror.name, "reason": str(error)})
            else:
                holders.append(mirror.name)
        return replace(entry, held_by=tuple(holders))

    def head(self) -> Head | None:
        """The newest authentic entry at home or at a mirror that answers; None before the first.

        Raises:
            StoreError: the home center could not list or read. IntegrityError: its head is not authentic.
        """
        heads = [self._head(self._home)]
        for mirror in self._mirrors:
            try:
                heads.append(self._head(mirror))
            except (StoreError, IntegrityError) as error:
                log.warning("ledger mirror unreadable", extra={"center": mirror.name, "reason": str(error)})
        newest = max((entry for entry in heads if entry is not None), key=lambda entry: entry.number, default=None)
        return None if newest is None else Head(newest.chain, newest.number, newest.digest)

    def _append_at_home(self, evidence: Evidence) -> Entry:
        for _ in range(ATTEMPTS_MAX):
            head = self._head(self._home)
            if head is not None and head.evidence == evidence:
                return head
            number, previous = (1, NO_PREVIOUS) if head is None else (head.number + 1, head.digest)
            data = encode(self._signer, number, previous, self._clock.now(), evidence)
            # Opened again before it leaves: a key that nobody pinned must fail here and not at the assessor's.
            entry = decode(self._trusted, data)
            try:
                self._home.put(entry_name(self.chain, number), data, if_absent=True)
            except ObjectExistsError:
                continue
            return entry
        raise TryAgainError(f"{self._home.name}: {ATTEMPTS_MAX} other writers took the next ledger number")

    def _head(self, store: ObjectStore) -> Entry | None:
        numbers = list_numbers(store, self.chain).get(self.chain)
        if not numbers:
            return None
        name = entry_name(self.chain, max(numbers))
        entry = decode(self._trusted, store.get(name, size_max=ENTRY_SIZE_MAX))
        if (entry.chain, entry.number) != (self.chain, max(numbers)):
            raise IntegrityError(f"{store.name}: {name} holds entry {entry.number} of chain {entry.chain}")
        return entry

    def _repair_home(self) -> list[Evidence]:
        """Bring back what a mirror has and the home lacks; one piece of evidence for each mirror that gave some."""
        notes = []
        for mirror in self._mirrors:
            try:
                at_mirror = list_numbers(mirror, self.chain).get(self.chain, set())
            except StoreError as error:
                log.warning("ledger mirror unreachable", extra={"center": mirror.name, "reason": str(error)})
                continue
            at_home = list_numbers(self._home, self.chain).get(self.chain, set())
            self._require_same(mirror, at_home & at_mirror)
            lost = sorted(at_mirror - at_home)
            for number in lost:
                copy_entry(mirror, self._home, self._trusted, self.chain, number)
            if lost:
                facts: dict[str, JsonValue] = {
                    "center": self._home.name,
                    "source": mirror.name,
                    "first": lost[0],
                    "count": len(lost),
                }
                now = self._clock.now()
                notes.append(Evidence(kind=_REPAIRED, time=now, subject=f"ledger {self.chain}", facts=facts))
        return notes

    def _require_same(self, mirror: ObjectStore, common: set[int]) -> None:
        """The newest entry that both have vouches, through its chain, for all before it."""
        if not common:
            return
        name = entry_name(self.chain, max(common))
        try:
            at_mirror = mirror.get(name, size_max=ENTRY_SIZE_MAX)
        except StoreError as error:
            log.warning("ledger mirror unreadable", extra={"center": mirror.name, "reason": str(error)})
            return
        if at_mirror != self._home.get(name, size_max=ENTRY_SIZE_MAX):
            raise IntegrityError(
                f"{name} differs between {self._home.name} and {mirror.name}; run `govsec ledger verify`"
            )

    def _catch_up(self, mirror: ObjectStore) -> None:
        at_home = list_numbers(self._home, self.chain).get(self.chain, set())
        at_mirror = list_numbers(mirror, self.chain).get(self.chain, set())
        for number in sorted(at_home - at_mirror):
            copy_entry(self._home, mirror, self._trusted, self.chain, number)
