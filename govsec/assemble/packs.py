"""The packs of a site: those that came with govsec, and those of the configuration, signed by pinned keys."""

from __future__ import annotations

from collections.abc import Sequence

from govsec.assemble.packpins import check_versions
from govsec.assemble.systems import Site
from govsec.errors import UsageError
from govsec.policy.catalog import Catalog
from govsec.policy.expressions import Expressions
from govsec.policy.highrisk import HighRiskCatalog
from govsec.policy.pack import Pack
from govsec.policy.packload import Known, load_shipped, load_signed, shipped_packs


def known_names() -> Known:
    """What a pack may name: keys of the catalog and high-risk cases."""
    return Known(Catalog.load().keys, frozenset(case.id for case in HighRiskCatalog.load().cases))


def load_packs(site: Site, expressions: Expressions, wanted: Sequence[str] = ()) -> tuple[Pack, ...]:
    """The packs of the site, or those of ``wanted`` ids.

    Raises:
        UsageError: there is no pack of that id, or two have the same one.
        ConfigurationError, IntegrityError: a pack is damaged, nobody whom people pinned signed it, or it is older than
            the one that was used here before.
    """
    known = known_names()
    ids = [pack_id for pack_id in shipped_packs() if not wanted or pack_id in wanted]
    packs = [load_shipped(pack_id, known, expressions) for pack_id in ids]
    if site.config.assessment.packs:
        trusted = site.trusted()
        others = [load_signed(folder, trusted, known, expressions) for folder in site.config.assessment.packs]
        check_versions(site.config.state_dir, others)
        packs += [pack for pack in others if not wanted or pack.id in wanted]
    names = [pack.id for pack in packs]
    if absent := set(wanted) - set(names):
        raise UsageError(f"there is no pack {', '.join(sorted(absent))}; see: govsec assess pack list")
    if len(set(names)) != len(names):
        raise UsageError(f"two packs have the same id: {', '.join(sorted(names))}")
    return tuple(packs)
