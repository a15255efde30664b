"""Assessments from the configuration: who is asked what, what came back, what follows, put on disk and on record.

Three steps with values between them: :func:`prepare` chooses items, packs and hosts; :mod:`govsec.assemble.hosts`
collects facts; :func:`evaluate` makes one :class:`Assessment` of them, together with govsec's own record and people's
words. The last step touches no host, so it can be done again on stored facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from govsec.assemble.assessscope import Request, scope_of
from govsec.assemble.hostfiles import without_gaps
from govsec.assemble.hosts import WALK, Collected, collect_all
from govsec.assemble.packpins import remember_versions
from govsec.assemble.packs import load_packs
from govsec.assemble.runs import (
    Earlier,
    earlier_facts,
    earlier_run,
    gone_records,
    newest_facts,
    record_run,
    runs_directory,
)
from govsec.assemble.systems import Site
from govsec.collect.probes import AnyProbe
from govsec.ledger.entry import Entry
from govsec.policy.expressions import Expressions
from govsec.policy.judge import Judge, check_parameters, levels_of
from govsec.policy.pack import Pack
from govsec.policy.results import CheckResult
from govsec.policy.run import Assessment
from govsec.policy.runfolder import StoredRun, write_run
from govsec.progress import Progress, ProgressSink, silent
from govsec.runtime.lanes import Lane

if TYPE_CHECKING:  # what judges and writes is read while the hosts answer
    from govsec.assemble.attestations import Records
    from govsec.policy.continuityfacts import ContinuityFacts
    from govsec.policy.watching import WatchingFacts

#: From so many hosts on a second child that evaluates expressions saves more time than its 20 MB are worth.
_HOSTS_FEW = 10


@dataclass(frozen=True, slots=True)
class AssessRun:
    """An assessment with its place on disk and in the ledger."""

    assessment: Assessment
    stored: StoredRun
    entry: Entry | None = None
    #: Why it is not in the ledger.
    ledger_error: str = ""
    #: Records of people that were not believed, and why.
    refused_records: tuple[str, ...] = ()
    #: Hosts that are not the ones they should be, or whose answer was forged.
    broken_hosts: tuple[str, ...] = ()
    #: What is wrong with the run before, when it was altered since.
    altered_run: str = ""


class Assessor:
    """A run, step by step. A context manager: leaving ends the child that evaluates the packs' expressions."""

    def __init__(self, site: Site, request: Request) -> None:
        """Choose items, packs and hosts.

        Raises:
            UsageError, ConfigurationError, IntegrityError: no such system, host or pack; a pack that is damaged or
                not signed by a pinned key.
        """
        self.site = site
        self.request = request
        self.earlier = Earlier()
        self.scope = scope_of(site, request)
        children = 1 if len(self.scope.targets) < _HOSTS_FEW else 2
        self._expressions = Expressions(site.clock, children_count=children)
        self._judge: Future[Judge] | None = None
        try:
            self.packs = load_packs(site, self._expressions, request.packs)
            self._left_out = self._packs_left_out() if request.packs else ()
            check_parameters(self.packs, site.config.assessment.parameters)
            wanted = _probes_of(self.packs)
            self.walks = () if request.is_walking else tuple(probe for probe in wanted if probe.kind == WALK)
            self.probes = tuple(probe for probe in wanted if probe not in self.walks)
        except BaseException:
            self._expressions.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._judge is not None:
            wait([self._judge])  # it would start the child anew that is ended here
        self._expressions.close()

    def collect(self, progress: ProgressSink = silent) -> tuple[Collected, ...]:
        """The facts of every host, or why there are none. Never raises for a host that does not answer."""
        self._begin_judge()
        previous = earlier_facts(self.site.config.state_dir, self.scope.row.name)
        probes = {target.name: self.probes_of(target.name) for target in self.scope.targets}
        return collect_all(
            self.site, self.scope.targets, probes, walks=self.walks, previous=previous, progress=progress
        )

    def probes_of(self, host: str) -> tuple[AnyProbe, ...]:
        """What this host is asked: not what only checks for hosts of another role read."""
        checks = [check for pack in self.packs for check in pack.checks]
        roles = self.scope.hosts_of
        wanted = [check for check in checks if check.hosts is None or host in roles[check.hosts]]
        asked = {probe.identity for check in wanted for probe in check.probes.values()}
        return tuple(probe for probe in self.probes if probe.identity in asked)

    def handed_in(self, collected: Sequence[Collected]) -> tuple[Collected, ...]:
        """Facts that come from files, held against what was asked for: a host of the system without any gave none.

        Raises:
            UsageError: facts of a host that was not asked for.
        """
        is_named = bool(self.request.hosts or self.scope.entry.hosts)
        names = [one.target.name for one in collected]
        newest = newest_facts(self.site.config.state_dir, self.scope.row.name, names)
        return without_gaps(collected, self.scope.targets if is_named else (), self.site.clock.now(), newest)

    def evaluate(self, collected: Sequence[Collected]) -> tuple[Assessment, Records]:
        """One assessment of what was collected; no host is touched. With it the records of people that were read."""
        from govsec.assemble.assesswrite import Parts, write_assessment
        from govsec.assemble.attestations import read_records
        from govsec.policy.continuity import judge_continuity
        from govsec.policy.watching import judge_watching

        judge = self._begin_judge().result()
        started = min((one.began for one in collected), default=self.site.clock.now())
        results: list[CheckResult] = []
        judged_hosts = judge.judge_each(one.facts for one in collected if one.facts)
        for one in collected:
            results += next(judged_hosts) if one.facts else judge.unreachable(one.target.name, one.error)
        record = self._record()
        watching = self._watching()
        judged = judge_continuity(record, is_cloud="cloud" in self.scope.scopes)
        judged += judge_watching(watching) if watching is not None else ()
        results += [one.result for one in judged]
        people = read_records(self.site, self.scope.row.name)
        self.earlier = earlier_run(self.site.config.state_dir, self.scope.row.name, self.request.compare)
        present = {record.id for record in people.records}
        gone = gone_records(self.earlier.run, present, self.site.clock.now())
        missed = (
            f"{record}: counted in a run before and holds until {until.date()}, and is not on this disk any more"
            for record, until in gone.items()
        )
        people = replace(people, refused=(*people.refused, *missed))
        parts = Parts(
            scope=self.scope,
            packs=self.packs,
            left_out=self._left_out,
            probes=self.probes,
            collected=tuple(collected),
            results=tuple(results),
            record=record,
            watching=watching,
            judged=judged,
            people=people,
            earlier=self.earlier.run,
            altered_run=self.earlier.altered,
            gone_records=gone,
        )
        return write_assessment(self.site, parts, operator=self.request.operator, started=started), people

    def _begin_judge(self) -> Future[Judge]:
        """Get ready to judge, in a thread: hosts take a second or more, and this has nothing to do meanwhile."""
        if self._judge is None:
            self._judge = Lane("judge").start(self._made_judge)
        return self._judge

    def _made_judge(self) -> Judge:
        import govsec.assemble.assesswrite  # noqa: F401 - read now, while the hosts answer

        checks = [check for pack in self.packs for check in pack.checks]
        item_levels = {item.key: item.level for item in self.scope.items}
        return Judge(
            self.packs,
            self._expressions,
            levels=levels_of(checks, item_levels, self.scope.levels.system),
            parameters=self.site.config.assessment.parameters,
            hosts_of=self.scope.hosts_of,
        )

    def _packs_left_out(self) -> tuple[Pack, ...]:
        """The site's packs that were not asked for: what their checks decide stays open."""
        chosen = {pack.id for pack in self.packs}
        return tuple(pack for pack in load_packs(self.site, self._expressions) if pack.id not in chosen)

    def _record(self) -> ContinuityFacts:
        """What govsec itself knows of the system, and what its register says."""
        scope, now = self.scope, self.site.clock.now()
        if scope.system is None:
            from govsec.policy.continuityfacts import nothing_known

            why = "there is no configuration, and so no record of jobs, drills and centers"
            return nothing_known(scope.row.name, scope.levels.a, now, why)
        from govsec.assemble.registry import continuity_facts  # centers and drills; a bare host does without

        return continuity_facts(self.site, scope.system, scope.levels.a)

    def _watching(self) -> WatchingFacts | None:
        """What is known of how the system is watched; None where there is no system that anybody wrote down."""
        if self.scope.system is None:
            return None
        from govsec.assemble.watching import watching_facts  # the ledger, agents and notices; a bare host does without

        return watching_facts(self.site, self.scope.system, self.scope.levels.system)


def run_assessment(
    site: Site,
    request: Request,
    *,
    collected: Callable[[Assessor], Sequence[Collected]] | None = None,
    progress: ProgressSink = silent,
) -> AssessRun:
    """Collect (or take what ``collected`` gives), evaluate, store, and put on record.

    The run is on disk when this returns, also when the ledger could not be appended to; ``ledger_error`` says why.

    Raises:
        UsageError, ConfigurationError, IntegrityError: nothing was run, or it cannot be stored.
    """
    with Assessor(site, request) as assessor:
        found = assessor.handed_in(collected(assessor)) if collected else assessor.collect(progress)
        progress(Progress("evaluate", done_items=0, total_items=len(found)))
        assessment, people = assessor.evaluate(found)
        progress(Progress("evaluate", done_items=len(found), total_items=len(found)))
    facts = {one.target.name: one.data for one in found if one.facts is not None}
    stored = write_run(runs_directory(site.config.state_dir), assessment, facts)
    remember_versions(site.config.state_dir, assessor.packs)
    broken = tuple(one.target.name for one in found if one.is_broken)
    run = AssessRun(assessment, stored, refused_records=people.refused, broken_hosts=broken)
    run = replace(run, altered_run=assessor.earlier.altered)
    if not request.is_recorded or assessor.scope.system is None:
        return run
    entry, why = record_run(site, assessor.scope.system, stored)
    return replace(run, entry=entry, ledger_error=why)


def _probes_of(packs: Sequence[Pack]) -> tuple[AnyProbe, ...]:
    """Every probe of the packs once, in the order they are first asked for."""
    found: dict[str, AnyProbe] = {}
    for pack in packs:
        for check in pack.checks:
            for probe in check.probes.values():
                found.setdefault(probe.identity, probe)
    return tuple(found.values())
