"""Keeping few snapshots and few packs where windows make many: a prune within a session, and witnesses that go with it.

A prune takes the repository for itself, so the session gives its lock back for as long as it takes; changes wait for
the window after. It forgets what thinning and retention let go, puts small packs and small indexes together, and the
log names what production no longer needs; each other center lets go under its own retention (``center release``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from govsec.assemble.repo import prune_place, system_place
from govsec.backup.witness import PREFIX, load_witness
from govsec.centers.near import Change
from govsec.errors import IntegrityError, ObjectNotFoundError
from govsec.repo.layout import Kind

if TYPE_CHECKING:
    from govsec.assemble.live import LiveSession
    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig
    from govsec.repo.prune import PruneResult

log = logging.getLogger(__name__)


def tidy(site: Site, system: SystemConfig, session: LiveSession) -> PruneResult:
    """Thin, prune, and let witnesses of snapshots go that are gone. Raises as a prune does; the session goes on."""
    results: list[PruneResult] = []
    place = system_place(site.config, site.clock, system.name, None)
    session.exclusively(lambda: results.append(prune_place(place)))
    _release_witnesses(session)
    return results[0]


def _release_witnesses(session: LiveSession) -> None:
    """Let go of witnesses whose snapshots production does not have any more."""
    near, suite = session.near, session.repository.suite
    present = {info.name.rpartition("/")[2] for info in near.production.list(Kind.SNAPSHOT.prefix)}
    gone: list[tuple[str, int]] = []
    for info in near.production.list(PREFIX):
        try:
            witness = load_witness(near.production, suite, info.name)
        except (IntegrityError, ObjectNotFoundError) as error:
            log.warning("witness passed over", extra={"object": info.name, "error": str(error)})
            continue
        if witness.snapshot_id not in present:
            gone.append((info.name, info.size_bytes))
    if gone:
        near.commit(Change(released=gone))
        for name, _ in gone:
            near.production.delete(name)
