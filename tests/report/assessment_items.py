"""The 211 general items of level 3 from the shipped catalog, as rows of an assessment without a verdict."""

from __future__ import annotations

from typing import Any

from govsec.policy.catalog import Catalog


def items_of_level_3() -> list[dict[str, Any]]:
    """In the order of the standard."""
    return [
        {
            "id": item.id,
            "key": item.key,
            "scope": item.scope,
            "category": {"zh": item.category_zh, "en": item.category_en},
            "control_id": item.control_id,
            "control": {"zh": item.control_zh, "en": item.control_en},
            "attribute": item.attribute,
            "summary": {"zh": item.summary_zh, "en": item.summary_en},
            "kind": item.kind,
            "automatable": item.automatable,
            "assessment_unit": item.assessment_unit or "",
            "evidence_hint": {"zh": item.evidence_hint_zh, "en": item.evidence_hint_en},
            # Every general line of level 3 is confirmed; one is told as if it were not, to see that reports mark it.
            "is_confirmed": item.confirmed and item.id != "8.1.2.3",
            "is_optional": item.optional,
        }
        for item in Catalog.load().select(s=3, a=3)
    ]
