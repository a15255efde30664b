"""What a case's entries leave in the ledger: who did what when, and the digests that hold the rest.

A piece of evidence covers entries ``first`` to ``last`` of a case, with the case's head before and after them, so that
nobody can write another chain into the file of cases later. Entries that prove something by themselves (a level that
was confirmed, a receipt, who took the case on, what a playbook did) stand in it in full; of all others who, when and
which kind, and the digest: what was found and noted may name people, and the ledger can be read without any key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.incident.chain import link, written_form
from govsec.incident.entries import Entry
from govsec.records import Evidence

KIND = "incident.entries"
_ENTRIES_MAX = 200
#: What an assessor must be able to read without the file of cases.
_IN_FULL = frozenset(
    {"level", "circumstance", "received", "receipt", "late", "acknowledged", "assigned", "moved", "handling_ended"}
    | {"evidence", "custody", "action", "recovered", "report_made"}
)


def entries_evidence(case_id: str, entries: Sequence[Entry], recorded_count: int) -> Iterator[tuple[int, Evidence]]:
    """Evidence of the entries after the first ``recorded_count``, in pieces; each with the number that it reaches."""
    head = ""
    heads = [head := link(case_id, number, head, written_form(entry)) for number, entry in enumerate(entries, 1)]
    for start in range(recorded_count, len(entries), _ENTRIES_MAX):
        part = entries[start : start + _ENTRIES_MAX]
        last = start + len(part)
        facts: dict[str, JsonValue] = {
            "first": start + 1,
            "last": last,
            "head_before": heads[start - 1] if start else "",
            "head": heads[last - 1],
            "entries": [_line(entry, heads[start + position]) for position, entry in enumerate(part)],
        }
        yield last, Evidence(kind=KIND, time=max(entry.time for entry in part), subject=case_id, facts=facts)


def _line(entry: Entry, digest: str) -> JsonValue:
    line: dict[str, JsonValue] = {
        "kind": entry.kind, "by": entry.by, "time": format_time(entry.time), "digest": digest,
    }  # fmt: skip
    if entry.kind in _IN_FULL:
        line["entry"] = entry.model_dump(mode="json")
    return line
