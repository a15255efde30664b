"""sshd as it would behave: ``sshd -T``, without a connection, for the contexts asked, and for each Match line found."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_services import SshdContext, SshdProbe
from govsec.collect.quote import quote
from govsec.collect.readers import numbers, scalar, texts, tight, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

MATCHES_MAX = 8
_SPACE_LISTS = frozenset({"acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "authorizedkeysfile"})
_REPEATED = frozenset({"hostkey", "listenaddress", "port", "subsystem", "setenv", "permitlisten", "permitopen"})
_COMMA_LISTS = frozenset({
    "ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes",
    "casignaturealgorithms", "hostbasedacceptedalgorithms", "hostbasedacceptedkeytypes",
})  # fmt: skip
SERVER = Server("sshd", frozenset({"sshd"}), r"sshd?(@.*)?(\.socket)?")
_ALWAYS = ("acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers")

# A Match line names people and places by patterns; sshd is asked for one that each pattern means. What cannot be made
# concrete (exec, canonical, an empty group) is counted as unresolved, never as harmless.
_SHELL = """have sshd || exit 90; d=/etc/ssh
x=$(lim sshd -V 2>&1); case $x in *OpenSSH_*) ;; *) x=$(lim sshd -? 2>&1);; esac
mark "version $(printf '%s\\n' "$x" | grep -o -E 'OpenSSH_[^ ,]+' | head -n 1)"
# Where a Match line asks for the local side, sshd wants to be told it.
tell() { case $1 in *lport=*) lim sshd -T -C "$1,laddr=127.0.0.1";; *) lim sshd -T -C "$1" ||
  lim sshd -T -C "$1,laddr=127.0.0.1,lport=22";; esac; }
x=$(lim sshd -T) || x=$(tell user=root,host=localhost,addr=127.0.0.1) || exit 1
mark settings; printf '%s\\n' "$x"
one() { if x=$(tell "$1"); then mark "context $1"; printf '%s\\n' "$x"; else mark "failed $1"; fi; }
@CONTEXTS@
n=0
set -- $d/sshd_config; for f in $d/sshd_config.d/*.conf; do [ -f "$f" ] && set -- "$@" "$f"; done
grep -h -i -E '^[ \t]*match[ \t=]' "$@" | while read -r m line; do
  n=$((n + 1)); mark "match $line"
  [ $n -gt 8 ] && { mark "unresolved $line"; continue; }
  set -f; set -- $line; set +f
  user=root host=localhost addr=127.0.0.1 lport= bad=
  while [ $# -gt 0 ]; do
    k=$(printf '%s' "$1" | tr 'A-Z' 'a-z'); v=${2%%,*}; v=${v#\\"}; v=${v%\\"}
    case $v in '!'*) bad=1;; esac
    p=$(printf '%s' "$v" | tr '*?' 'xx')
    case $k in
    all) shift; continue;;
    user) user=$p;;
    host) host=$p;;
    address) addr=${v%%/*}; case $addr in *[*?]*) addr=$(printf '%s' "$addr" | tr '*?' '11');; esac;;
    localport) lport=$p;;
    group) user=$(awk -F: -v g="$v" 'FILENAME == "/etc/group" && $1 == g {
        split($4, u, ","); i = $3; if (u[1] != "") { print u[1]; exit } }
        FILENAME == "/etc/passwd" && i != "" && $4 == i { print $1; exit }' /etc/group /etc/passwd)
      [ -n "$user" ] || bad=1;;
    *) bad=1;;
    esac
    shift; [ $# -gt 0 ] && shift
  done
  c="user=$user,host=$host,addr=$addr${lport:+,lport=$lport}"
  case $c in *[!A-Za-z0-9_.:,=@-]*) bad=1;; esac
  if [ -n "$bad" ]; then mark "unresolved $line"; else one "$c"; fi
done
:"""


def sshd_sources(probe: SshdProbe) -> tuple[Source, ...]:
    """``sshd -T`` for each context. It reads the configuration and the host keys, and starts nothing."""
    contexts = "\n".join(f"one {quote(_specification(context))}" for context in probe.contexts) or ":"
    shell = _SHELL.replace("@CONTEXTS@", contexts)
    return (Source("sshd", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s), RUNNING, UNITS)


def _specification(context: SshdContext) -> str:
    return f"user={context.user},host={context.host},addr={context.address}"


def parse_sshd(probe: SshdProbe, reading: Reading) -> JsonValue:
    """See :class:`SshdProbe`."""
    is_running = SERVER.refuse_idle(reading, "sshd")
    version: str | None = None
    settings: dict[str, JsonValue] = {}
    contexts: dict[str, JsonValue] = {}
    match_lines: list[str] = []
    unresolved = 0
    for record in reading.records("sshd"):
        head, _, body = record.partition("\n")
        word, _, rest = head.partition(" ")
        if word == "version":
            version = rest[:60] or None
        elif word == "settings":
            settings = read_settings(body)
        elif word == "context":
            contexts[rest] = read_settings(body)
        elif word == "match":
            match_lines.append(tight(rest)[:500])
        elif word in ("failed", "unresolved"):
            unresolved += 1
    if "port" not in settings or "permitrootlogin" not in settings:
        raise NoFactError("error", "sshd refuses its configuration, or printed no settings")
    asked = [_specification(context) for context in probe.contexts]
    if any(one not in contexts for one in asked):
        raise NoFactError("error", "sshd printed no settings for a context that was asked")
    return {
        "version": version,
        "running": is_running,
        "settings": settings,
        "contexts": contexts,
        "all": [settings, *contexts.values()],
        "match_lines": texts(match_lines),
        "unresolved": unresolved,
    }


def read_settings(text: str) -> dict[str, JsonValue]:
    """What one ``sshd -T`` printed, by keyword."""
    settings: dict[str, JsonValue] = {}
    lists: dict[str, list[str]] = {}
    for line in text.split("\n"):
        keyword, _, value = line.strip().partition(" ")
        if not re.fullmatch(r"[A-Za-z0-9]{2,60}", keyword):
            continue
        keyword, value = keyword.lower(), value.strip()
        if keyword in _COMMA_LISTS:
            settings[keyword] = texts(value.split(",") if value else [])
        elif keyword == "authenticationmethods":
            settings[keyword] = texts(value.split())
        elif keyword in _SPACE_LISTS:
            lists.setdefault(keyword, []).extend(value.split())
        elif keyword in _REPEATED:
            lists.setdefault(keyword, []).append(value)
        elif value:
            settings[keyword] = scalar(value)
    for keyword, values in lists.items():
        ports = [number for value in values if (number := whole_number(value)) is not None]
        settings[keyword] = numbers(ports) if keyword == "port" else texts([] if values == ["none"] else values)
    for keyword in _ALWAYS if settings else ():
        settings.setdefault(keyword, [])
    return settings
