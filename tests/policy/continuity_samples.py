"""A system that does everything right, to be spoiled one thing at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from govsec.policy.continuityfacts import CenterFact, ContinuityFacts, DrillFact, LagFact

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
_FRESH = NOW - timedelta(minutes=3)
_MORNING = NOW - timedelta(hours=8)


def drill(days: float = 10, **changes: object) -> DrillFact:
    """A drill that passed, ``days`` ago."""
    good = DrillFact(
        id="20261112T080000Z-00000001",
        plan="lose-the-city",
        started=NOW - timedelta(days=days),
        verdict="pass",
        scenario="lose_production_and_same_city",
        restored_from="far",
        is_content_verified=True,
        restore_time_s=120.0,
        rto_s=600,
        passed=frozenset({"restore", "start", "switch_address"}),
        is_plan_current=True,
        digest="d" * 64,
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


def center(name: str, role: str, **changes: object) -> CenterFact:
    """A center in order."""
    good = CenterFact(
        name=name,
        role=role,  # type: ignore[arg-type]  # one of the three
        site=f"site of {name}",
        region="CN-33",
        premises="own" if role == "remote" else "cloud",
        is_repository=True,
        newest=_FRESH,
        verified=_MORNING,
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


def lag(**changes: object) -> LagFact:
    """Continuous protection that is in order."""
    good = LagFact(NOW - timedelta(days=7), NOW - timedelta(minutes=10), 0.99, 5000, 600.0, 14.0, 90.0)
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


def facts(**changes: object) -> ContinuityFacts:
    """Everything in order: every check passes."""
    good = ContinuityFacts(
        system="permits",
        now=NOW,
        level=3,
        rpo_s=3600,
        rto_s=600,
        is_rpo_set=True,
        is_rto_set=True,
        is_retention_set=True,
        centers=(center("main", "production"), center("near", "same_city"), center("far", "remote")),
        jobs=("files",),
        snapshots=tuple(NOW - timedelta(minutes=3 + 5 * back) for back in range(40, -1, -1)),
        lags_s=(20.0,) * 41,
        drills=(drill(), drill(20, scenario="rollback_before")),
        plans=("lose-the-city",),
        data_classes=(("permits", "files"),),
        training=NOW - timedelta(days=30),
        has_emergency_plan=True,
        log_digest="c" * 64,
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # names of its fields


def with_center(role: str, **changes: object) -> ContinuityFacts:
    """All in order but one center."""
    good = facts()
    return replace(good, centers=tuple(replace(c, **changes) if c.role == role else c for c in good.centers))  # type: ignore[arg-type]
