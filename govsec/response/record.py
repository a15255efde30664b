"""Runs and deeds as plain values, for ``--json``, pages and words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from govsec.clock import format_time
from govsec.response.playbook import FromFinding, Loaded
from govsec.response.runs import Deed, Run, Runs, Step


def run_record(run: Run, deeds: Iterable[Deed]) -> dict[str, Any]:
    """One run with its deeds."""
    return {
        "id": run.id,
        "playbook": run.playbook or None,
        "kind": run.kind,
        "subject": run.subject,
        "case": run.case or None,
        "by": run.by,
        "created": format_time(run.created),
        "left_out": list(run.left_out),
        "deeds": [deed_record(deed) for deed in deeds],
    }


def deed_record(deed: Deed) -> dict[str, Any]:
    """One deed."""
    return {
        "deed": deed.nonce,
        "verb": deed.order.verb,
        "arguments": dict(deed.order.arguments),
        "host": deed.order.host,
        "state": deed.state.value,
        "approvals_needed": deed.approvals_needed,
        "approve_until": format_time(deed.order.expires),
        "ends": None if deed.ends is None else format_time(deed.ends),
        "facts": dict(deed.facts),
        "error": deed.error or None,
    }


def detail_record(runs: Runs, deed: Deed) -> dict[str, Any]:
    """One deed with its approvals, its order and all that happened to it."""
    return {
        **deed_record(deed),
        "run": deed.run,
        "approved_by": [name for name, _ in runs.approvals(deed.nonce)],
        "order": deed.order.body(),
        "steps": [step_record(step) for step in runs.steps(deed.nonce)],
    }


def step_record(step: Step) -> dict[str, Any]:
    """One step."""
    return {
        "number": step.id,
        "step": step.step,
        "time": format_time(step.time),
        "by": step.by or None,
        "facts": dict(step.facts),
    }


def playbook_record(loaded: Loaded) -> dict[str, Any]:
    """One playbook."""
    book = loaded.playbook
    return {
        "id": book.id,
        "version": book.version,
        "zh": book.title.zh,
        "en": book.title.en,
        "kinds": list(book.when.kinds),
        "severity_min": book.when.severity_min,
        "sha256": loaded.sha256,
        "signed_by": loaded.signed_by or None,
        "actions": [
            {
                "verb": action.verb,
                "approvals": action.approvals_needed,
                "arguments": {
                    name: f"<{value.fact}>" if isinstance(value, FromFinding) else value
                    for name, value in action.arguments.items()
                },
            }
            for action in book.actions
        ],
    }
