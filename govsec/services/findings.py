"""What a service's probe has found, as findings: the failing step, what was expected and seen, and how far from usual.

``facts`` besides the common ones (:mod:`govsec.findings.judgement`)::

    service, title, service_kind      whose it is
    step, expected, seen, families    of a failure; ``addresses`` that were asked
    server, names, ends, sha256       of a certificate
    page, before, after, links        of a page; ``links`` as ``kind url (text)``
    since                             since when an outage lasts, or a page is altered
    how                               which of several ways of telling it fits
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.findings.judgement import Measure, judge, put_list
from govsec.records import Finding, Severity
from govsec.serviceentry import ServiceConfig
from govsec.services.certificates import URGENT_DAYS, ServerCertificates
from govsec.services.checks import Failure
from govsec.services.pagebaseline import Difference
from govsec.services.pagefacts import Link
from govsec.services.pages import PageResult
from govsec.services.steps import Run, RunState

KINDS = (
    "service.down", "service.recovered",
    "service.errors", "service.slow", "service.traffic", "service.saturation", "service.unmeasured",
    "service.certificate_expired", "service.certificate_expiring", "service.certificate_mismatch",
    "service.certificate_untrusted", "service.certificate_tlcp", "service.certificate_weak",
    "page.altered", "page.new_link", "page.hidden_link", "page.new_script", "page.words",
    "page.cloaked", "page.redirected", "page.restored",
)  # fmt: skip
DETECTOR = "services"
_DEFACEMENT, _DARK_LINK, _DRIVE_BY, _BETWEEN = "T1491.002", "T1608.006", "T1189", "T1557"
_CERTIFICATE_SEVERITIES = {
    "expired": Severity.HIGH, "not_yet": Severity.HIGH, "mismatch": Severity.HIGH, "untrusted": Severity.MEDIUM,
    "tlcp": Severity.MEDIUM, "weak": Severity.LOW, "expiring": Severity.LOW,
}  # fmt: skip
_CERTIFICATE_KINDS = {"not_yet": "expired"}
#: Scripts that hide what they do; others of what is looked for has honest reasons as well.
_NEVER_HONEST = frozenset({"is packed", "builds text from numbers", "asks who came from a search engine"})
#: What runs in a visitor's browser, or takes what the visitor writes.
_ACTIVE = frozenset({"script", "iframe", "frame", "form", "refresh", "embed", "object", "base", "text of script"})


@dataclass(frozen=True, slots=True)
class Judge:
    """Findings of one service at one moment."""

    config: ServiceConfig
    time_ns: int

    def _finding(
        self,
        kind: str,
        severity: Severity,
        summary: str,
        pattern: Sequence[str],
        *,
        attack: Sequence[str] = (),
        measured: Mapping[str, Measure] | None = None,
        facts: Mapping[str, JsonValue] | None = None,
    ) -> Finding:
        config = self.config
        whose: dict[str, JsonValue] = {"service": config.name, "service_kind": config.kind.value}
        if config.title:
            whose["title"] = config.title
        return judge(
            kind=kind,
            detector=DETECTOR,
            severity=severity,
            time_ns=self.time_ns,
            subject=config.title or config.name,
            summary=summary,
            pattern=(config.name, *pattern),
            attack=attack,
            measured=measured,
            facts={**whose, **(facts or {})},
        )

    def down(
        self, runs: Sequence[Run], failed_count: int, attempts_count: int, *, is_partial: bool
    ) -> Iterator[Finding]:
        """Runs that failed for sure; equal ones of both families are told as one. ``is_partial``: another passed."""
        told: dict[tuple[str, Failure | None], list[Run]] = {}
        for run in runs:
            step = run.failed
            told.setdefault((step.name, step.failure) if step else ("", None), []).append(run)
        for (name, failure), same in told.items():
            step = same[0].failed
            if failure is None or step is None:
                expected, seen, what = "an address", same[0].reason, "resolve"
            else:
                expected, seen, what = failure.expected, failure.seen, failure.what
            facts: dict[str, JsonValue] = {"step": name, "what": what, "expected": expected, "seen": seen}
            put_list(facts, "families", [run.family for run in same])
            put_list(facts, "addresses", [run.failed.address for run in same if run.failed and run.failed.address])
            if step is not None:
                put_list(facts, "visited", step.visited)
            families = " and ".join(run.family for run in same)
            yield self._finding(
                "service.down",
                Severity.MEDIUM if is_partial else Severity.HIGH,
                f"{self.config.name}: step {name or 'resolve'} fails over {families}: expected {expected}, saw {seen}.",
                (name, what, *sorted(run.family for run in same)),
                measured={"failures": Measure(failed_count, attempts_count, "")},
                facts=facts,
            )

    def recovered(self, since_ns: int) -> Finding:
        """The service can be used again, over one family at least."""
        return self._over("service.recovered", since_ns, f"{self.config.name}: it can be used again", ())

    def restored(self, page: str, since_ns: int) -> Finding:
        """A page is what was accepted again, or another one was accepted."""
        url = next((known.url for known in self.config.pages if known.name == page), "")
        summary = f"{self.config.name}: page {page} is what was accepted again"
        return self._over("page.restored", since_ns, summary, (page,), page=page, url=url)

    def _over(self, kind: str, since_ns: int, summary: str, pattern: Sequence[str], **facts: JsonValue) -> Finding:
        lasted_s = max(self.time_ns - since_ns, 0) / 1e9
        return self._finding(
            kind,
            Severity.INFO,
            f"{summary}, after {lasted_s:.0f} s.",
            pattern,
            measured={"lasted": Measure(lasted_s, None, "s")},
            facts={**facts, "since": format_time(from_ns(since_ns))},
        )

    def unmeasured(self, what: str, name: str, reason: str) -> Finding:
        """Something could not be looked at: that is never a pass.

        ``what``: service, family, signal, certificate, page or parts (of a page).
        """
        return self._finding(
            "service.unmeasured",
            Severity.LOW,
            f"{self.config.name}: {what} {name} could not be looked at: {reason}.",
            (what, name),
            facts={"what": what, "name": name, "seen": reason},
        )

    def figure(
        self,
        kind: str,
        name: str,
        value: float,
        limit: float,
        unit: str,
        usual: float | None,
        *,
        how: str,
        over: str = "",
    ) -> Finding:
        """A figure beyond its bound. ``how``: high or low, of a signal; step, share (of failed attempts). ``over``: a
        family."""
        measured = {"failed_share" if how == "share" else "figure": Measure(value, limit, unit)}
        if usual is not None:
            measured["usual"] = Measure(usual, None, unit)
        beside = f", usual is {usual:.3g} {unit}".rstrip() if usual is not None else ""
        return self._finding(
            kind,
            Severity.MEDIUM,
            f"{self.config.name}: {how} {name} {over}".rstrip() + f": {value:.3g} {unit} (bound {limit:.3g}{beside}).",
            (name, over, how),
            measured=measured,
            facts={"name": name, "families": [over] if over else [], "how": how},
        )

    def certificates(self, server: ServerCertificates) -> Iterator[Finding]:
        """The worst fault of a server's certificates, the others beside it."""
        if not server.faults:
            if not server.certificates and server.reason:
                yield self.unmeasured("certificate", f"{server.host} {server.port}", server.reason)
            return
        fault = server.faults[0]
        severity, leaf = _CERTIFICATE_SEVERITIES[fault.what], server.certificates[0] if server.certificates else None
        measured = {}
        facts: dict[str, JsonValue] = {"server": f"{server.host} {server.port}", "seen": fault.said}
        put_list(facts, "families", server.families)
        put_list(facts, "also", [f"{other.what}: {other.said}" for other in server.faults[1:]])
        if server.ends is not None and leaf is not None:
            days = (server.ends.timestamp() * 1e9 - self.time_ns) / 86_400e9
            measured["days_left"] = Measure(days, self.config.expiring_days, "days")
            facts.update(subject=leaf.subject[:200], issuer=leaf.issuer[:200], key=leaf.key, sha256=leaf.sha256)
            put_list(facts, "names", leaf.names[:8])
            if fault.what == "expiring" and days <= URGENT_DAYS:
                severity = Severity.HIGH
        if server.protocol:
            facts["protocol"] = server.protocol
        yield self._finding(
            f"service.certificate_{_CERTIFICATE_KINDS.get(fault.what, fault.what)}",
            severity,
            f"{self.config.name}: the certificate of {server.host} port {server.port}: {fault.said}.",
            (server.host, str(server.port), fault.what),
            attack=(_BETWEEN,) if fault.what in ("mismatch", "untrusted") else (),
            measured=measured,
            facts=facts,
        )

    def page(self, result: PageResult, change_max: float) -> Iterator[Finding]:
        """What is different on a page, and who is shown another one."""
        if result.sent_to:
            yield self._finding(
                "page.redirected",
                Severity.HIGH,
                f"{self.config.name}: visitors of page {result.name} are sent to {result.sent_to}.",
                (result.name, result.sent_to),
                attack=(_DARK_LINK, _DRIVE_BY),
                facts={"page": result.name, "url": result.url, "after": [result.sent_to]},
            )
        if result.reason:
            yield self.unmeasured("page", result.name, result.reason)
        elif result.accepted is None:
            yield self.unmeasured("page", result.name, "never accepted; run: govsec monitor probe --accept")
        if result.facts is not None and result.facts.cut_count:
            yield self.unmeasured("parts", result.name, f"{result.facts.cut_count} parts are beyond limits")
        if result.difference is not None and result.accepted is not None:
            yield from self._changes(result, result.difference, change_max)
        for cloak in result.cloaks:
            facts: dict[str, JsonValue] = {"page": result.name, "url": result.url, "how": cloak.who}
            if cloak.difference is not None:
                _put_difference(facts, cloak.difference)
                put_list(facts, "links", [_link(one) for one in _links(cloak.difference)])
            if cloak.sent_to:
                facts["after"] = [cloak.sent_to]
            yield self._finding(
                "page.cloaked",
                Severity.HIGH,
                f"{self.config.name}: page {result.name} is another one for {cloak.who.replace('_', ' ')}"
                + (f", who is sent to {cloak.sent_to}." if cloak.sent_to else "."),
                (result.name, cloak.who),
                attack=(_DARK_LINK,),
                facts=facts,
            )

    def _changes(self, result: PageResult, found: Difference, change_max: float) -> Iterator[Finding]:
        name = result.name
        base: dict[str, JsonValue] = {"page": name, "url": result.url}
        if found.is_altered(change_max):
            facts = dict(base)
            _put_difference(facts, found)
            yield self._finding(
                "page.altered",
                Severity.HIGH,
                f"{self.config.name}: page {name} is not what was accepted: {found.texts_gone_share:.0%} of its "
                f"lasting texts are gone, its structure changed by {found.structure_share:.0%}.",
                (name,),
                attack=(_DEFACEMENT,),
                measured={
                    "texts_gone_share": Measure(found.texts_gone_share, change_max),
                    "structure_share": Measure(found.structure_share, change_max),
                },
                facts=facts,
            )
        for kind, links in (("page.hidden_link", found.links_hidden), ("page.new_link", found.links_new)):
            if links:
                yield self._linked(kind, links, found, base)
        if tricks := [trick for trick in found.tricks if trick in _NEVER_HONEST]:
            yield self._finding(
                "page.new_script",
                Severity.MEDIUM,
                f"{self.config.name}: a new script of page {name} {', '.join(tricks)}.",
                (name, *tricks),
                attack=(_DRIVE_BY,),
                facts={**base, "tricks": [*tricks]},
            )
        if found.words:
            facts = {**base}
            put_list(facts, "words", found.words)
            yield self._finding(
                "page.words",
                Severity.HIGH if found.title or found.links_hidden else Severity.MEDIUM,
                f"{self.config.name}: page {name} has words that were not there: {', '.join(found.words[:8])}.",
                (name, *found.words[:4]),
                attack=(_DEFACEMENT, _DARK_LINK),
                facts=facts,
            )

    def _linked(self, kind: str, links: Sequence[Link], found: Difference, base: Mapping[str, JsonValue]) -> Finding:
        facts = dict(base)
        put_list(facts, "links", [_link(one) for one in links])
        put_list(facts, "hosts", [one.host for one in links])
        put_list(facts, "tricks", found.tricks)
        is_active = any(one.kind in _ACTIVE for one in links)
        is_bad = kind == "page.hidden_link" or is_active or bool(found.words)
        return self._finding(
            kind,
            Severity.HIGH if is_bad else Severity.LOW,
            f"{self.config.name}: page {base['page']} has new "
            + ("hidden links" if kind == "page.hidden_link" else "links")
            + f" to {', '.join(dict.fromkeys(one.host for one in links[:8]))}.",
            (str(base["page"]), *sorted({one.host for one in links})[:4]),
            attack=(_DARK_LINK, _DRIVE_BY) if is_active else (_DARK_LINK,),
            facts=facts,
        )


def no_way(run: Run) -> bool:
    """Nothing is known of the service from this run."""
    return run.state in (RunState.NO_ROUTE, RunState.NOT_OFFERED)


def _links(found: Difference) -> tuple[Link, ...]:
    return (*found.links_hidden, *found.links_new)


def _link(link: Link) -> str:
    said = f" ({link.text})" if link.text else ""
    return f"{link.kind} {link.url}{said}" + (f" [{link.hidden}]" if link.hidden else "")


def _put_difference(facts: dict[str, JsonValue], found: Difference) -> None:
    before, after = list(found.texts_gone), list(found.texts_new)
    if found.title is not None:
        before, after = [found.title[0], *before], [found.title[1], *after]
    put_list(facts, "before", before)
    put_list(facts, "after", after)
    put_list(facts, "words", found.words)
