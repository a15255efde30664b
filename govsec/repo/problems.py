"""What a check finds: one problem an object, bounded in number, counted beyond the bound.

A hostile repository can hold millions of faults. The first ``kept_max`` problems are kept word for word; what comes
after is only counted, by kind, so a report is never longer than agreed and never silent about what it left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from govsec.records import Severity

_DETAIL_MAX = 300


class ProblemKind(StrEnum):
    """What is wrong; the values are stable, they are what ``--json`` prints."""

    #: Something that restic's ``check`` calls non-critical: nothing is lost, ``prune`` or ``rebuild-index`` tidies it.
    PACK_ORPHAN = "pack_orphan"
    PACK_MIXED = "pack_mixed"
    INDEX_PACK_REPEATED = "index_pack_repeated"
    FOREIGN_OBJECT = "foreign_object"
    #: A second read of the same pack was good: the store, the network or the memory is not to be trusted.
    PACK_UNSTABLE = "pack_unstable"

    INDEX_UNREADABLE = "index_unreadable"
    INDEX_PACK_SPLIT = "index_pack_split"
    INDEX_OFFSETS = "index_offsets"
    PACK_MISSING = "pack_missing"
    PACK_SIZE = "pack_size"
    PACK_UNREADABLE = "pack_unreadable"
    PACK_DIGEST = "pack_digest"
    PACK_HEADER = "pack_header"
    PACK_NOT_AS_INDEXED = "pack_not_as_indexed"
    BLOB_DAMAGED = "blob_damaged"
    BLOB_MISSING = "blob_missing"
    SNAPSHOT_UNREADABLE = "snapshot_unreadable"
    TREE_MISSING = "tree_missing"
    TREE_DAMAGED = "tree_damaged"
    TREE_REFUSED = "tree_refused"
    TREE_TOO_DEEP = "tree_too_deep"
    FILE_SIZE = "file_size"

    @property
    def severity(self) -> Severity:
        """``INFO`` for a hint, ``MEDIUM`` for what casts doubt on the reading, ``HIGH`` for damage."""
        if self in _HINTS:
            return Severity.INFO
        return Severity.MEDIUM if self is ProblemKind.PACK_UNSTABLE else Severity.HIGH


_HINTS = frozenset(
    {
        ProblemKind.PACK_ORPHAN,
        ProblemKind.PACK_MIXED,
        ProblemKind.INDEX_PACK_REPEATED,
        ProblemKind.FOREIGN_OBJECT,
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one object. ``detail`` quotes names from the repository: print it escaped."""

    kind: ProblemKind
    object: str
    detail: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.kind.severity

    @property
    def is_hint(self) -> bool:
        """Whether nothing is lost by it."""
        return self.kind.severity is Severity.INFO


class Problems:
    """Collects problems up to a bound and counts all of them. Errors never give way to hints."""

    def __init__(self, kept_max: int = 1000) -> None:
        self.kept_max = kept_max
        self._hints: list[Problem] = []
        self._errors: list[Problem] = []
        self.counts: Counter[ProblemKind] = Counter()

    def add(self, kind: ProblemKind, name: str, detail: str) -> None:
        """Note one problem of the object ``name``."""
        self.counts[kind] += 1
        self._keep(Problem(kind, name, detail[:_DETAIL_MAX]))

    def extend(self, kept: Iterable[Problem], counts: Mapping[ProblemKind, int]) -> None:
        """Take over what another collector kept and counted."""
        self.counts.update(counts)
        for problem in kept:
            self._keep(problem)

    @property
    def kept(self) -> tuple[Problem, ...]:
        """What was kept: errors first."""
        return tuple(self._errors + self._hints)[: self.kept_max]

    @property
    def errors_count(self) -> int:
        """How many are no hints."""
        return sum(count for kind, count in self.counts.items() if kind not in _HINTS)

    @property
    def hints_count(self) -> int:
        """How many are hints."""
        return sum(count for kind, count in self.counts.items() if kind in _HINTS)

    @property
    def dropped_count(self) -> int:
        """How many were counted and not kept."""
        return self.counts.total() - len(self.kept)

    def _keep(self, problem: Problem) -> None:
        kept = self._hints if problem.is_hint else self._errors
        if len(kept) < self.kept_max:
            kept.append(problem)
