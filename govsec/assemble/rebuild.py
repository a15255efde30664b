"""Bringing a lost center back, from the configuration: what can be known is asked before the first object is written.

Production needs more than objects: somebody who can open the repository, signing keys, and near centers that agree
again. So at the production site the password must open what is left, the keys that this machine lacks are made and
pinned, and at the end the near centers are resynchronised, which finishes what the lost machine had begun.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from govsec.assemble.centers import THREADS, adopt, begun, open_near, prepare_keys
from govsec.assemble.locks import Locking, lock_shipped
from govsec.assemble.systems import Site
from govsec.centers.log import Position, read_log
from govsec.centers.rebuild import RebuildReport, Remains, rebuild, survey_remains
from govsec.config import Role, SystemConfig
from govsec.crypto.signing import PublicKey
from govsec.errors import ConfigurationError, IntegrityError, StoreError, TryAgainError
from govsec.ledger.replicate import replicate
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What is left and where the center stood, and, unless it was a dry run, what a rebuild made of it."""

    center: str
    remains: Remains
    #: Where the log of the center ended before.
    before: Position | None
    report: RebuildReport | None = None
    evidence_count: int = 0
    #: Signing keys of this site, those made now among them.
    keys: tuple[PublicKey, ...] = ()
    locking: Locking | None = None
    #: Why the near centers are not in step yet; empty when they are, or when this site does not write commits.
    unsettled: str = ""

    @property
    def is_complete(self) -> bool:
        """True when nothing that is left is missing there and nothing else is to be done."""
        is_locked = self.locking is None or self.locking.problem is None
        return self.report is not None and not self.report.missed and not self.unsettled and is_locked


def rebuild_center(
    site: Site,
    system: SystemConfig,
    center: str,
    *,
    source: str | None = None,
    is_dry_run: bool = False,
    progress: ProgressSink = silent,
) -> Rebuilt:
    """Fill a lost center from ``source``, or from every center that can be read.

    Raises:
        ConfigurationError: this site may not write there, its directory is not there, or it has no password (for
            production). ``WrongPasswordError``: the password opens nothing of what is left.
        RefusedError: there is nothing to rebuild from, or the center holds another repository.
        IntegrityError, StoreError: it did not get as far as what is left; what it got is valid, and the same command
            goes on.
    """
    name, found = site.center(center)
    site.check_place(name)
    wanted = None if source is None else site.center(source)[0]
    origins = [store for store in begun(site, system) if store.name != name and wanted in (None, store.name)]
    remains = survey_remains(origins, site.trusted())
    if found.role is Role.PRODUCTION:
        site.repository(system, remains.holder.name)  # who cannot open it should not found a production on it
    if is_dry_run:
        return Rebuilt(name, remains, _where(site, system, name))
    target = site.store(system, name, create=True)
    before = _where(site, system, name)
    keys = prepare_keys(site) if found.role is Role.PRODUCTION else []
    trusted = site.trusted()
    report = rebuild(target, remains, trusted, clock=site.clock, threads=THREADS, progress=progress)
    evidence = [replicate(origin, target, trusted) for origin, _ in remains.ranked]
    commits_count = sum(round_.commits_count for round_ in report.rounds)
    return Rebuilt(
        name,
        remains,
        before,
        report,
        sum(len(part.copied) for part in evidence),
        tuple(keys),
        lock_shipped(site, system, name, commits_count, progress=progress),
        _settle(site, system, target) if found.role is not Role.REMOTE else "",
    )


def _where(site: Site, system: SystemConfig, center: str) -> Position | None:
    if not any(store.name == center for store in begun(site, system, center)):
        return None
    store = site.read_store(system, center)
    return read_log(store, site.trusted(), threads=THREADS).head


def _settle(site: Site, system: SystemConfig, target: ObjectStore) -> str:
    """Finish what the lost machine began; gives why that could not be done now."""
    from govsec.repo.repository import Repository

    if site.config.signing.commit_key_file is None or system.password_file is None:
        return ""  # a site that writes no commits: production's next backup does it
    try:
        with closing(open_near(site, system)) as near:
            near.resync()
            adopt(near, Repository.open(near, site.password(system)))
    except (StoreError, IntegrityError, TryAgainError, ConfigurationError) as error:
        return str(error)
    return ""
