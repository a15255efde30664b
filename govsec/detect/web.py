"""Attacks on web applications in clear text: injection, traversal, JNDI look-ups, scanners (ATT&CK T1190, T1595.002).

Idea: the grammar of an attack (a quote that ends a string and goes on with SQL, two steps out of a directory, a look-up
that fetches code) does not occur in what people send. Single words such as ``select`` do, and count for nothing. Every
field is matched in the plain form of :mod:`govsec.detect.webtext`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, flow_name, judge
from govsec.detect.webtext import fields
from govsec.dissect.messages import HttpRequest, HttpResponse
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

INJECTION, TRAVERSAL, JNDI, SCANNER = "net.web.injection", "net.web.traversal", "net.web.jndi", "net.web.scanner"
_QUOTED = r"""(?:'[^'"]{0,20}'?|"[^'"]{0,20}"?)"""
#: (kind, what it is called, form). Forms are matched against lower-case plain text; repetitions are bounded.
_FORMS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, name, re.compile(form))
    for kind, name, form in (
        (JNDI, "jndi", r"jndi: ?(?:ldaps?|rmi|dns|iiop|corba|nds|https?):"),
        (
            INJECTION,
            "sql",
            r"\bunion (?:all |distinct )?\(?select "
            r"(?:[\d'\"(*@-]|null|char|concat|count|[a-z_.]{1,30},|[a-z_.,]{1,60} from\b)",
        ),
        # A quote or a number, then a comparison that is always true: of numbers, or of quoted texts.
        (
            INJECTION,
            "sql",
            r"""['"\d)] ?(?:or|and|\|\||&&) ?\(? ?"""
            rf"""(?:\d{{1,8}} ?(?:=|<|>|like) ?\d|{_QUOTED} ?(?:=|<>|like) ?{_QUOTED})""",
        ),
        (INJECTION, "sql", r"\b(?:or|and) \(?(\d{1,6}) ?= ?\1\b"),
        (
            INJECTION,
            "sql",
            r"""['"\d)] ?; ?(?:drop|truncate|alter) (?:table|database) [a-z_]"""
            r"""|['"\d)] ?; ?(?:exec|shutdown|insert into|delete from) ?[a-z_(]""",
        ),
        # A quote ends a text, SQL goes on, and the rest of the line is made a comment.
        (
            INJECTION,
            "sql",
            r"""['"] ?\)? ?(?:or|and|union|order by|group by|having)\b[^'"\r\n]{0,80}(?:(?<![a-z])-- ?-?|#) ?(?:&|$)""",
        ),
        (INJECTION, "sql", r"\b(?:pg_)?sleep ?\( ?\d{1,5} ?\)|\bbenchmark ?\( ?\d+ ?,"),
        (INJECTION, "sql", r"\b(?:extractvalue|updatexml|load_file) ?\( ?['\"\d]"),
        (INJECTION, "sql", r"\bwaitfor delay '|\bxp_cmdshell\b|\binformation_schema\.\w|\binto (?:out|dump)file '"),
        (INJECTION, "script", r"< ?script[ >/]"),
        (
            INJECTION,
            "script",
            r"< ?(?:img|svg|body|iframe|video|audio|details|input|a|div|marquee)\b[^>]{0,200}\bon[a-z]{3,20} ?=",
        ),
        (INJECTION, "script", r"""["'> ]javascript:[a-z(]"""),
        (
            INJECTION,
            "command",
            r"(?:[;|`]|&&|\$\() ?(?:/usr)?/bin/[a-z]|\$\((?:cat|ls|id|whoami|wget|curl|nc|bash|sh|ping)\b",
        ),
        (
            INJECTION,
            "command",
            r"(?:[;|]|&&) ?(?:cat|ls|nc|bash|sh|ping|powershell|cmd(?:\.exe)?) (?:/[a-z]|-[a-z]{1,3}\b|\d{1,3}\.\d)",
        ),
        (INJECTION, "command", r"(?:[;|]|&&) ?(?:wget|curl) (?:-|https?:)|[;|] ?(?:id|whoami|uname -a)(?:[;|&`)]|$)"),
        (
            INJECTION,
            "code",
            r"<\?(?:php|=)|\b(?:eval|assert|system|passthru|shell_exec) ?\( ?(?:\$_|base64_decode|['\"])",
        ),
        (TRAVERSAL, "traversal", r"(?:\.\.;?[/\\]){2}|\.\.[/\\](?:etc|windows|winnt|boot\.ini)\b"),
        (TRAVERSAL, "file", r"/etc/(?:passwd|shadow)\b|/proc/self/(?:environ|cmdline)|\bc:[/\\]boot\.ini|\bwin\.ini\b"),
        (TRAVERSAL, "file", r"\bphp://(?:filter|input)|\bfile:///[a-z]"),
    )
)
_SCANNERS = re.compile(
    r"\b(?:sqlmap|nikto|nmap scripting engine|acunetix|nessus|openvas|wpscan|dirbuster|dirb|gobuster|feroxbuster|ffuf|"
    r"wfuzz|masscan|zgrab|nuclei|w3af|arachni|netsparker|appscan|goby|xray|awvs|afrog|whatweb|commix|hydra)\b"
)
_ANSWERS_KEPT = 128
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
        self._pairs: Recent[tuple[str, str], deque[tuple[int, bytes, bool]]] = Recent(
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
        # Who asks is the client, also where the capture begins with an answer and the flow goes by its sender.
        originator, responder = message.sender, message.receiver
        port = message.flow.responder_port if message.is_originator else message.flow.originator_port
        shown = _printable(text[max(0, found.start() - 16) : found.end() + 32])
        # Who makes Java fetch code is called back: that belongs to the evidence, on a flow of its own.
        flows = () if kind == JNDI else (flow_name(message.flow),)
        request = f"{message.method} {_printable(message.target.partition('?')[0][:80])}"
        return judge(
            kind=kind,
            detector=self.name,
            severity=Severity.HIGH if kind == JNDI else Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} sent {responder} port {port} a request ({request}) with the form of an attack "
            f"({name}) in its {field}: {shown!r}.",
            pattern=(originator, responder, kind),
            attack=("T1190",),
            originators=(originator,),
            responders=(responder,),
            ports=(port,),
            measured={"forms": Measure(1, 1, "forms")},
            evidence=Evidence(message.time_ns, message.time_ns, flows),
            facts={"form": name, "field": field, "host": message.host[:200], "excerpt": shown, "request": request},
        )

    def _answer(self, message: HttpResponse) -> Iterator[Finding]:
        settings = self._settings
        originator, responder = message.receiver, message.sender
        answers = self._pairs.at((originator, responder))
        # Of a path its digest is kept: paths are the client's choice, and long.
        path = blake2b(message.target.partition("?")[0].encode("utf-8", "replace"), digest_size=8).digest()
        answers.append((message.time_ns, path, message.status in _MISSING))
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
        is_request = isinstance(message, HttpRequest)
        originator, responder = (message.sender, message.receiver)[:: 1 if is_request else -1]
        flow = message.flow
        port = flow.responder_port if is_request == message.is_originator else flow.originator_port
        return judge(
            kind=SCANNER,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=message.time_ns,
            subject=originator,
            summary=f"{originator} looks for weak spots of {responder} port {port}: it {said}.",
            pattern=(originator, responder),
            attack=("T1595.002",),
            originators=(originator,),
            responders=(responder,),
            ports=(port,),
            measured=measured,
            evidence=Evidence(message.time_ns, message.time_ns),
            facts={"program": program, "how": "missing" if program is None else "named"},
        )


def _printable(text: str) -> str:
    """What a terminal shows as it is; everything else is escaped: a request is the attacker's own words."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
