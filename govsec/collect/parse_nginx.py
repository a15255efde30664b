"""nginx: its configuration files, known directives only, with includes put together here.

nginx is not asked to test its configuration: that creates log files and directories. On the host an awk keeps the lines
of blocks and of known directives and drops every other, so that what a site keeps in its configuration (keys in
``set``, tokens in ``if``) stays there.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_servers import NginxProbe
from govsec.collect.quote import quote
from govsec.collect.readers import texts
from govsec.collect.sources import NoFactError, Reading, Source
from govsec.redact import redact

SERVERS_MAX = 300
SERVER = Server("nginx", frozenset({"nginx", "openresty"}), r"(nginx|openresty|tengine)(@.*)?")
_DEPTH_MAX = 12
NGINX_DIRECTIVES: tuple[str, ...] = (
    "access_log", "add_header", "allow", "alias", "auth_basic", "auth_request", "autoindex", "client_body_timeout",
    "client_header_timeout", "client_max_body_size", "deny", "disable_symlinks", "error_log", "error_page", "expires",
    "hsts", "http2", "include", "index", "keepalive_timeout", "large_client_header_buffers", "limit_conn",
    "limit_conn_zone", "limit_except", "limit_rate", "limit_req", "limit_req_zone", "listen", "log_format",
    "modsecurity", "modsecurity_rules_file", "pid", "proxy_hide_header", "proxy_pass", "proxy_ssl_protocols",
    "proxy_ssl_verify",
    "reset_timedout_connection", "resolver", "return", "rewrite", "root", "send_timeout", "server_name",
    "server_tokens", "ssl", "ssl_certificate", "ssl_certificate_key", "ssl_ciphers", "ssl_client_certificate",
    "ssl_conf_command",
    "ssl_dhparam", "ssl_ecdh_curve", "ssl_ntls", "ssl_prefer_server_ciphers", "ssl_protocols", "ssl_session_cache",
    "ssl_session_tickets", "ssl_session_timeout", "ssl_sign_certificate", "ssl_enc_certificate", "ssl_stapling",
    "ssl_verify_client", "stub_status", "user", "valid_referers", "worker_connections", "worker_processes",
)  # fmt: skip
#: Shipped tables of media types and parameters: without any directive that is looked at, so they are not read.
_DATA_FILES = frozenset({"mime.types", "fastcgi_params", "uwsgi_params", "scgi_params", "proxy_params"})
_BLOCKS = "server|location|http|events|stream|upstream|mail"
_FILTER = r"""function keep(s) { print " " cut(substr(s, 1, 4096)) }
FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n }
{ sub(/^[ \t]+/, ""); if ($0 ~ /^#/ || $0 == "") next }
/^(@BLOCKS@)([ \t{]|$)/ || /^(@DIRECTIVES@)[ \t;]/ { keep($0); next }
/[{]/ { w = $1; sub(/[({].*/, "", w); x = $0; o = gsub(/[{]/, "", x); c = gsub(/[}]/, "", x)
  print " " w " {"; if (c >= o) print " }"; next }
/^[^"']*[}]/ { print " }" }""".replace("@BLOCKS@", _BLOCKS).replace("@DIRECTIVES@", "|".join(NGINX_DIRECTIVES))


def nginx_sources(probe: NginxProbe) -> tuple[Source, ...]:
    """The files that configurations usually lie in; which of them count is decided by the includes."""
    path = quote(probe.configuration)
    folder = probe.configuration.rsplit("/", 1)[0] or "/"
    base = quote(folder)
    places = " ".join(
        f"{base}/{place}"
        for place in (
            "*.conf",
            "conf.d/*",
            "sites-enabled/*",
            "default.d/*",
            "snippets/*",
            "vhost*/*",
            "conf/*",
            "modules-enabled/*",
            "servers/*",
        )
    )
    shell = f"""f={path}; [ -e "$f" ] || {{ have nginx && exit 92; exit 90; }}
have nginx && mark "version $(lim nginx -v 2>&1 | head -n 1)"
FILTER=$CUT{quote(chr(10) + _FILTER)}
show "$f" {places}"""
    return (
        Source("nginx", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=2 << 20),
        RUNNING,
        UNITS,
    )


@dataclass(slots=True)
class Block:
    """One block: its words, its directives, its blocks."""

    words: tuple[str, ...]
    directives: dict[str, list[str]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def facts(self) -> dict[str, JsonValue]:
        return {name: texts(values) for name, values in self.directives.items()}


def parse_nginx(probe: NginxProbe, reading: Reading) -> JsonValue:
    """See :class:`NginxProbe`."""
    is_running = SERVER.refuse_idle(reading, "nginx")
    files = reading.files("nginx")
    version = None
    for path in [path for path in files if path.startswith("version ")]:
        match = re.search(r"nginx(?: version: \S*?)?/([0-9][0-9.]*)", path)
        version = match.group(1) if match else None
        del files[path]
    if probe.configuration not in files:
        status = "denied" if probe.configuration in reading.unreadable("nginx") else "error"
        raise NoFactError("denied" if status == "denied" else "error", f"{probe.configuration} was not read")
    unresolved: list[str] = []
    used: dict[str, None] = {}
    main = Block(())
    _fill(main, probe.configuration, files, used, unresolved, 0)
    https = [block for block in main.blocks if block.words[:1] == ("http",)]
    http: dict[str, JsonValue] = {name: value for block in https for name, value in block.facts().items()}
    servers = [server for block in https for server in block.blocks if server.words[:1] == ("server",)]
    return {
        "version": version,
        "running": is_running,
        "main": main.facts(),
        "http": http,
        "servers": [_server(server, http) for server in servers[:SERVERS_MAX]],
        "files": texts(used),
        "unresolved": texts(unresolved[:100]),
        "truncated": len(servers) > SERVERS_MAX,
    }


def _server(server: Block, http: dict[str, JsonValue]) -> JsonValue:
    listen = server.directives.get("listen", ["80"])
    locations: list[JsonValue] = [
        {"path": " ".join(block.words[1:])[:500], "directives": block.facts()}
        for block in _descend(server)
        if block.words[:1] == ("location",)
    ]
    return {
        "listen": texts(listen),
        "names": texts(name for value in server.directives.get("server_name", []) for name in value.split()),
        "ssl": any("ssl" in value.split() for value in listen) or server.directives.get("ssl") == ["on"],
        "directives": server.facts(),
        "effective": {**http, **server.facts()},
        "locations": locations[:SERVERS_MAX],
    }


def _descend(block: Block) -> Iterator[Block]:
    for inner in block.blocks:
        yield inner
        yield from _descend(inner)


def _fill(
    block: Block, path: str, files: dict[str, list[str]], used: dict[str, None], unresolved: list[str], depth: int
) -> None:
    used[path] = None
    stack = [block]
    for words, end in _statements("\n".join(files[path])):
        if end == "}":
            if len(stack) > 1:
                stack.pop()
        elif end == "{":
            inner = Block(words or ("",))
            stack[-1].blocks.append(inner)
            if len(stack) < _DEPTH_MAX:
                stack.append(inner)
            else:
                stack.append(Block(()))
        elif words[:1] == ("include",) and len(words) == 2:
            pattern = words[1] if words[1].startswith("/") else f"{path.rsplit('/', 1)[0]}/{words[1]}"
            found = [name for name in sorted(files) if fnmatch.fnmatchcase(name, pattern)]
            if not found and "*" not in pattern and pattern.rsplit("/", 1)[-1] not in _DATA_FILES:
                unresolved.append(pattern)
            for name in found:
                if depth < _DEPTH_MAX and len(used) < 500:
                    _fill(stack[-1], name, files, used, unresolved, depth + 1)
        elif words and words[0] in NGINX_DIRECTIVES:
            stack[-1].directives.setdefault(words[0], []).append(redact(" ".join(words[1:]))[:1000])


_TOKEN = re.compile(
    r"""\s+|#[^\n]*|([;{}])|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|((?:\\.|\$\{[^}]*\}|[^\s;{}"'\\])+)|(.)""", re.S
)


def _statements(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        end, double, single, bare, stray = match.groups()
        if end:
            yield tuple(words), end
            words = []
        else:
            word = next((part for part in (double, single, bare, stray) if part is not None), None)
            if word is not None:
                words.append(word)
