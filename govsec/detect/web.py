"""Attacks on web applications in clear text: injection, traversal, JNDI look-ups, scanners (ATT&CK T1190, T1595.002).

Idea: the grammar of an attack (a quote that ends a string and goes on with SQL, two steps out of a directory, a look-up
that fetches code) does not occur in what people send. Single words such as ``select`` do, and count for nothing. Every
field is matched in the plain form of :mod:`govsec.detect.webtext`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation, Settings
from govsec.detect.judgement import Evidence, Measure, judge
from govsec.detect.tables import Recent
from govsec.detect.webtext import fields
from govsec.detect.windows import SECOND_NS
from govsec.dissect.messages import HttpRequest, HttpResponse
from govsec.records import Finding, Severity

INJECTION, TRAVERSAL, JNDI, SCANNER = "net.web.injection", "net.web.traversal", "net.web.jndi", "net.web.scanner"
_VALUE = r"""(?:\d+|'[^']{0,20}'?|"[^"]{0,20}"?|[a-z_]{1,20})"""
#: (kind, what it is called, form). Forms are matched against lower-case plain text; repetitions are bounded.
_FORMS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, name, re.compile(form))
    for kind, name, form in (
        (JNDI, "jndi", r"jndi: ?(?:ldaps?|rmi|dns|iiop|corba|nds|https?):"),
        (INJECTION, "sql", r"\bunion(?: all| distinct)?[ (]{1,8}select\b"),
        (INJECTION, "sql", rf"""['")] ?(?:or|and|\|\||&&) ?\(? ?{_VALUE} ?(?:=|<>|like|<|>) ?{_VALUE}"""),
        (INJECTION, "sql", r"\b(?:or|and) \(?(\d{1,6}) ?= ?\1\b"),
        (INJECTION, "sql", r"""['"] ?; ?(?:drop|insert|update|delete|exec|shutdown|select)\b"""),
        (INJECTION, "sql", r"""['"] ?\)? ?(?:or|and|union|order by|group by|having)\b.{0,80}(?:--|#)"""),
        (
            INJECTION,
            "sql",
            r"\b(?:pg_)?sleep ?\( ?\d{1,5} ?\)|\bbenchmark ?\( ?\d+ ?,"
            r"|\b(?:extractvalue|updatexml|load_file) ?\( ?['\"\d]",
        ),
        (INJECTION, "sql", r"\bwaitfor delay '|\bxp_cmdshell\b|\binformation_schema\.\w|\binto (?:out|dump)file '"),
        (
            INJECTION,
            "script",
            r"< ?script[ >/]|< ?(?:img|svg|body|iframe|video|details)\b[^>]{0,200}\bon[a-z]{3,20} ?=",
        ),
        (INJECTION, "script", r"""["'> ]javascript:[a-z(]"""),
        (
            INJECTION,
            "command",
            r"(?:[;|`]|&&|\$\() ?(?:/bin/|/usr/bin/)?"
            r"(?:cat|ls|id|whoami|wget|curl|nc|bash|sh|ping|powershell|cmd(?:\.exe)?) [-/\w]",
        ),
        (INJECTION, "command", r"(?:[;|`]|&&|\$\() ?(?:id|whoami|uname -a)(?:[;|&`)]|$)"),
        (
            INJECTION,
            "code",
            r"<\?(?:php|=)|\b(?:eval|assert|system|passthru|shell_exec|base64_decode) ?\( ?(?:\$_|base64_decode|['\"])",
        ),
        (TRAVERSAL, "traversal", r"(?:\.\.[/\\]){2}|\.\.[/\\](?:etc|windows|winnt|boot\.ini)\b"),
        (TRAVERSAL, "file", r"/etc/(?:passwd|shadow)\b|/proc/self/(?:environ|cmdline)|\bc:[/\\](?:windows|boot\.ini)"),
        (TRAVERSAL, "file", r"\bphp://(?:filter|input)|\bfile:///[a-z]"),
    )
)
_SCANNERS = re.compile(
    r"\b(?:sqlmap|nikto|nmap scripting engine|acunetix|nessus|openvas|wpscan|dirbuster|dirb|gobuster|feroxbuster|ffuf|"
    r"wfuzz|masscan|zgrab|nuclei|w3af|arachni|netsparker|appscan|goby|xray|awvs|afrog|whatweb|commix|hydra)\b"
)
_ANSWERS_KEPT = 512
_MISSING = (400, 403, 404, 405, 501)


class WebSettings(Settings):
    """What no browser sends."""

    missing_min: int = Field(
        default=30, ge=5, description="different pages that are not there; a moved site costs a browser a dozen"
    )
    missing_ratio_min: float = Field(default=0.8, ge=0, le=1, description="share of pages asked for that are not there")
    window_s: int = Field(default=60, ge=5, le=3600, description="scanners ask many times a second")
    pairs_max: int = Field(default=8192, ge=64, description="pairs of client and server that are watched")


class Web:
    """Attacks in requests."""

    name = "web"

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._pairs: Recent[tuple[str, str], deque[tuple[int, str, bool]]] = Recent(
            settings.pairs_max, lambda: deque(maxlen=_ANSWERS_KEPT)
        )
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, HttpRequest):
                yield from self._request(message)
            elif isinstance(message, HttpResponse):
                yield from self._answer(message)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._pairs), "pairs_forgotten": self._pairs.forgotten_count}

    def _request(self, message: HttpRequest) -> Iterator[Finding]:
        texts = list(fields(message))
        # One request is one attack: a command that is injected to read a file is told as the injection.
        matches = (
            self._attack(message, kind, name, field, text, found)
            for kind, name, form in _FORMS
            for field, text in texts
            if (found := form.search(text)) is not None
        )
        if (attack := next(matches, None)) is not None:
            yield attack
        agent = message.user_agent.lower()
        if (found := _SCANNERS.search(agent)) is not None:
            yield self._scanner(message, f"calls itself {found[0]}", {"named": Measure(1, 1)}, found[0])

    def _attack(
        self, message: HttpRequest, kind: str, name: str, field: str, text: str, found: re.Match[str]
    ) -> Finding:
        originator, responder = message.flow.originator, message.flow.responder
        shown = text[max(0, found.start() - 16) : found.end() + 32]
        return judge(
            kind=kind,
            detector=self.name,
            severity=Severity.HIGH if kind == JNDI else Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} sent {responder} port {message.flow.responder_port} a request ({message.method} "
            f"{message.target.partition('?')[0][:80]}) with the form of an attack ({name}) in its {field}: {shown!r}.",
            pattern=(originator, responder, kind),
            attack=("T1190",),
            originators=(originator,),
            responders=(responder,),
            ports=(message.flow.responder_port,),
            measured={"forms": Measure(1, 1, "forms")},
            evidence=Evidence(message.time_ns, message.time_ns),
            facts={"form": name, "field": field, "host": message.host[:200], "excerpt": shown},
        )

    def _answer(self, message: HttpResponse) -> Iterator[Finding]:
        settings = self._settings
        originator, responder = message.flow.originator, message.flow.responder
        answers = self._pairs.at((originator, responder))
        answers.append((message.time_ns, message.target.partition("?")[0], message.status in _MISSING))
        while answers[0][0] < message.time_ns - settings.window_s * SECOND_NS:
            answers.popleft()
        if len(answers) < settings.missing_min or message.status not in _MISSING:
            return
        missing = {path for _, path, is_missing in answers if is_missing}
        ratio = sum(is_missing for _, _, is_missing in answers) / len(answers)
        if len(missing) < settings.missing_min or ratio < settings.missing_ratio_min:
            return
        measured = {
            "missing": Measure(len(missing), settings.missing_min, "pages"),
            "missing_ratio": Measure(ratio, settings.missing_ratio_min),
        }
        said = f"asked within {settings.window_s} s for {len(missing)} pages that are not there"
        yield self._scanner(message, f"{said} (threshold {settings.missing_min})", measured, None)

    def _scanner(
        self, message: HttpRequest | HttpResponse, said: str, measured: Mapping[str, Measure], program: str | None
    ) -> Finding:
        originator, responder = message.flow.originator, message.flow.responder
        return judge(
            kind=SCANNER,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} looks for weak spots of {responder} port {message.flow.responder_port}: it {said}.",
            pattern=(originator, responder),
            attack=("T1595.002",),
            originators=(originator,),
            responders=(responder,),
            ports=(message.flow.responder_port,),
            measured=measured,
            evidence=Evidence(message.time_ns, message.time_ns),
            facts={"program": program},
        )
