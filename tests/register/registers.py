"""A register in which nothing is wrong on 2026-11-22, to break one thing at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from govsec.register.register import Register, System

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
ENTRY: dict[str, Any] = {
    "kind": "portal",
    "owner": "市大数据局",
    "responsible": [{"name": "Wang", "role": "security officer", "contact": "010-1"}],
    "level": 3,
    "s": 2,
    "a": 3,
    "scopes": ["cloud"],
    "filing": {"number": "11010013012-00001", "issued": "2025-06-01"},
    "assessment": {"held": "2026-05-10", "body": "Body", "rate_percent": 91.5},
    "platform": {"name": "city cloud", "system": "cloud"},
    "data": [{"name": "applications", "level": "important", "personal_count": 1200, "jobs": ["database"]}],
    "plan": {"version": "3", "reviewed": "2026-03-01"},
    "training": [{"held": "2025-01-10"}, {"held": "2026-09-01", "people_count": 12}],
}
CLOUD: dict[str, Any] = ENTRY | {"kind": "platform", "platform": None, "s": 3}


def system(name: str = "portal", *, jobs: tuple[str, ...] = ("database", "files"), **changes: Any) -> System:
    """The good system with some fields of its entry changed."""
    return System.model_validate(
        {
            "name": name,
            "title": "Portal",
            "objectives": {"rpo_s": 3600, "rto_s": 14400},
            "jobs": jobs,
            "register": ENTRY | changes,
        }
    )


def register(*systems: System) -> Register:
    """These systems and the platform they run on."""
    platform = System.model_validate(
        {"name": "cloud", "title": "Cloud", "objectives": {}, "jobs": ["database"], "register": CLOUD}
    )
    return Register(systems=(*systems, platform))
