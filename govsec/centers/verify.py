"""Verification without a key: every byte of a center against the digest that its name promises.

Three things are compared: the log with itself and with the other centers' logs (forged, missing, cut off), the list of
objects with what the log names (missing, swapped in size, junk), and the bytes of each object with its name. The first
two are done whole in every run; reading bytes costs money and time, so it has a budget (:mod:`govsec.centers.reading`).

What a run did not look at is never reported as good: ``is_clean`` needs at least one object read that a commit names (a
center that was wiped has none), no damage known and the other centers' heads seen; ``oldest_verified`` says how old the
oldest look is.

No commit names key files. A center without any opens for nobody and is damaged. One that an earlier verification saw
here, and that every other center still has, was lost. One that every other center has and this one never had may have
been planted there by whoever can write to them, or its password was removed here and not there: a person decides, so it
is told and not healed. The same holds for production, whose key files are the ones that count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from govsec.centers import names
from govsec.centers.copying import Meter
from govsec.centers.inventory import named_elsewhere, take_inventory
from govsec.centers.log import START, Flaw, FlawKind, Log, compare, read_log, union
from govsec.centers.reading import Damage, DamageKind, Reading, oldest_look, read_folders, read_objects
from govsec.centers.records import (
    DAMAGED_NAMES_MAX,
    KEYS_MAX,
    VerificationRecord,
    read_record,
    write_record,
)
from govsec.centers.ship import repository_of
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, RefusedError, StoreError
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore, ReadStore

#: In one report; a center with more damage is healed in several rounds.
_DAMAGED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What one verification saw."""

    center: str
    time: datetime
    repository: str
    #: Of the expected objects, those whose bytes were read in this run.
    checked_count: int
    checked_bytes: int
    expected_count: int
    #: Bounded; ``damaged_count`` counts all that are known, those of earlier runs included.
    damaged: tuple[Damage, ...]
    damaged_count: int
    #: Junk in the folders of the repository, see ``quarantine``.
    unnamed: tuple[str, ...]
    in_flight_count: int
    absent_released_count: int
    #: Key files that every other center has and this one has not, and that are not known to have been lost here.
    unshared_keys: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    #: By center: how many commits that another center has it lacks; the verified center is one of them.
    behind: Mapping[str, int]
    #: When the oldest commit that this center lacks was made.
    behind_since: datetime | None
    #: Centers whose log could not be read, with the reason.
    unseen: Mapping[str, str]
    #: The oldest look at any object's bytes; None when some were never looked at.
    oldest_verified: datetime | None
    lag_max_s: float
    seconds: float

    @property
    def is_late(self) -> bool:
        """True when the center lacks commits for longer than it may; with no lag allowed no clock is asked."""
        if self.behind_since is None:
            return False
        return self.lag_max_s <= 0 or self.time - self.behind_since > timedelta(seconds=self.lag_max_s)

    @property
    def is_clean(self) -> bool:
        """True when something was looked at and nothing is wrong."""
        is_faulty = (
            self.damaged_count or self.flaws or self.unnamed or self.unseen or self.unshared_keys or self.is_late
        )
        return self.checked_count > 0 and not is_faulty


def verify(
    store: ReadStore,
    trusted: TrustedKeys,
    *,
    clock: Clock,
    others: Sequence[ReadStore] = (),
    record_to: ObjectStore | None = None,
    budget_bytes: int | None = None,
    lag_max_s: float = 0,
    is_production: bool = False,
    threads: int = 4,
    progress: ProgressSink = silent,
) -> VerifyReport:
    """Verify a center. ``record_to`` is the same center with a credential that may write the record.

    ``is_production``: it lets go of what it releases in the same moment, and no other center may.

    Raises:
        StoreError: the center itself cannot be listed or read; what others cannot give is in the report.
    """
    began, now = clock.monotonic(), clock.now()
    logs, unseen = _logs([store, *others], trusted, threads)
    joint = union(logs.values())
    lacking = compare(logs)
    repository, config_damage = _repository(store, others, joint)
    log, commit_damage = _own_log(store, logs[store.name], joint)
    elsewhere = named_elsewhere([store, *others], log, joint)
    inventory = take_inventory(
        store,
        trusted,
        repository,
        log,
        now=now,
        elsewhere=elsewhere,
        lists_from=[*others],
        is_production=is_production,
    )
    record = read_record(store, now)
    total_bytes = sum(inventory.present.values())
    meter = Meter(progress, "verify", min(total_bytes, budget_bytes or total_bytes), None)
    run = Reading(store, threads, meter, budget_bytes, inventory, dict(record.folders if record else {}))
    run.damaged.update((damage.name, damage) for damage in (*config_damage, *commit_damage))
    _compare_lists(run)
    unshared_keys = _compare_keys(run, others, record, is_production=is_production)
    # What an earlier run found damaged, before anything else.
    read_objects(run, [name for name in (record.damaged if record else ()) if name in inventory.present])
    read_folders(run, now)
    report_damage = tuple(sorted(run.damaged.values(), key=lambda damage: damage.name))
    own_lacking = lacking[store.name]
    if record_to is not None:
        _write(record_to, run, now)
    return VerifyReport(
        center=store.name,
        time=now,
        repository=repository,
        checked_count=run.counted,
        checked_bytes=meter.bytes_count,
        expected_count=len(inventory.expected),
        damaged=report_damage[:_DAMAGED_MAX],
        damaged_count=len(report_damage),
        unnamed=inventory.unnamed,
        in_flight_count=len(inventory.in_flight),
        absent_released_count=len(inventory.absent_released),
        unshared_keys=unshared_keys,
        flaws=_flaws_of(log, repository),
        behind={center: len(entries) for center, entries in lacking.items()},
        behind_since=min((entry.commit.time for entry in own_lacking), default=None),
        unseen=unseen,
        oldest_verified=oldest_look(run),
        lag_max_s=lag_max_s,
        seconds=clock.monotonic() - began,
    )


def _logs(stores: Sequence[ReadStore], trusted: TrustedKeys, threads: int) -> tuple[dict[str, Log], dict[str, str]]:
    logs: dict[str, Log] = {}
    unseen: dict[str, str] = {}
    for position, store in enumerate(stores):
        try:
            logs[store.name] = read_log(store, trusted, after=START, threads=threads)
        except StoreError as error:
            if position == 0:
                raise
            unseen[store.name] = str(error)
    return logs, unseen


def _repository(store: ReadStore, others: Sequence[ReadStore], joint: Log) -> tuple[str, list[Damage]]:
    """The system that the commits of all centers belong to, and whether ``config`` here says the same."""
    claimed = {entry.commit.repository for entry in joint.entries}
    found = [_config_digest(center) for center in (store, *others)]
    agreed = next((digest for digest in found if digest is not None and (digest in claimed or not claimed)), None)
    is_empty = found[0] is None and next(iter(store.list(names.COMMITS)), None) is None
    if is_empty or (agreed is None and not claimed):
        raise RefusedError(f"{store.name}: holds neither config nor commits; run: govsec center init")
    if agreed is None:
        agreed = joint.entries[0].commit.repository
    if found[0] == agreed:
        return agreed, []
    if found[0] is None:
        return agreed, [Damage(DamageKind.MISSING, names.CONFIG, "there is no config that can be read")]
    message = f"config has digest {found[0][:16]}…, the commits say {agreed[:16]}…"
    return agreed, [Damage(DamageKind.CORRUPT, names.CONFIG, message)]


def _own_log(store: ReadStore, own: Log, joint: Log) -> tuple[Log, list[Damage]]:
    """What this center's log was before anybody damaged it.

    A commit that another center has whole, and of which there is anything under its name here, was here, and so was
    every commit before it: who overwrites the log of a center must not make it forget what it should hold. Commits
    after these are not damage but backlog.
    """
    here = {info.name for info in store.list(names.COMMITS)}
    last = max(
        (entry.number for entry in joint.entries if entry.digest in own.digests or entry.name in here), default=0
    )
    entries = tuple(entry for entry in joint.entries if entry.number <= last)
    # Others are whole, and only hang on a commit that is missing here.
    forged = {flaw.name for flaw in own.flaws if flaw.kind is FlawKind.FORGED}
    damage = []
    for entry in entries:
        if entry.name not in here or entry.name in forged:
            kind = DamageKind.CORRUPT if entry.name in here else DamageKind.MISSING
            damage.append(Damage(kind, entry.name, f"{entry.name}: another center has it, and it is {kind.value} here"))
    return Log(own.base, own.checkpoint, entries, own.flaws), damage


def _config_digest(store: ReadStore) -> str | None:
    try:
        return repository_of(store)
    except GovsecError:
        return None


def _flaws_of(log: Log, repository: str) -> tuple[Flaw, ...]:
    foreign = tuple(
        Flaw(FlawKind.FOREIGN, entry.name, f"{entry.name}: a commit of another system")
        for entry in log.entries
        if entry.commit.repository != repository
    )
    return (*log.flaws, *foreign)


def _compare_lists(run: Reading) -> None:
    for name in run.inventory.missing:
        run.damaged[name] = Damage(DamageKind.MISSING, name, f"{name}: a commit names it, and it is not there")
    for name, size_bytes in run.inventory.expected.items():
        found = run.inventory.present.get(name)
        if found is not None and size_bytes is not None and found != size_bytes:
            message = f"{name}: {found} bytes, the commit says {size_bytes}"
            run.damaged[name] = Damage(DamageKind.CORRUPT, name, message)


def _compare_keys(
    run: Reading, others: Sequence[ReadStore], record: VerificationRecord | None, *, is_production: bool
) -> tuple[str, ...]:
    """Note lost key files as damage; what every other center has and this one perhaps never had is returned."""
    here = _keys_in(run.inventory.present)
    there = []
    for other in others:
        with contextlib.suppress(StoreError):  # its log could not be read either, and the report says so
            there.append(_keys_in(info.name for info in islice(other.list(names.KEYS), KEYS_MAX)))
    if not here:
        there = [keys for keys in there if keys]
    shared = frozenset.intersection(*there) if there else frozenset()
    absent = shared - here
    if not here:
        lost = absent or {names.KEYS}
    else:
        lost = frozenset() if is_production or record is None else absent & set(record.keys)
    for name in lost:
        run.damaged[name] = Damage(DamageKind.MISSING, name, f"{name}: the key file is not there")
    return tuple(sorted(absent - lost))


def _keys_in(found: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in found if name.startswith(names.KEYS) and names.digest_of(name) is not None)


def _write(record_to: ObjectStore, run: Reading, now: datetime) -> None:
    damaged = sorted(run.damaged)
    keys = sorted(_keys_in([*run.inventory.present, *damaged]))
    write_record(
        record_to,
        VerificationRecord(
            time=now,
            damaged=tuple(damaged[:DAMAGED_NAMES_MAX]),
            damaged_count=len(damaged),
            keys=tuple(keys[:KEYS_MAX]),
            folders=run.folders,
        ),
    )
