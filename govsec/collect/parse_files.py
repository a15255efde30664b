"""How files are kept, and declared fields of them: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.collect.parse_platform import moment
from govsec.collect.probes_host import FileProbe, FilesProbe, WalkProbe
from govsec.collect.probes_services import FileAgeProbe
from govsec.collect.quote import quote, quote_glob
from govsec.collect.readers import texts, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

ENTRIES_MAX = 2000
_DAY_S = 86_400
#: A delimiter of sed's ``s`` that no expression can hold: expressions are printable.
_SOH = "\x01"


def stats_source(name: str, words: str, *, sudo: bool = True, timeout_s: int = 5) -> Source:
    """How the files are kept that the shell ``words`` name."""
    # stat ends with 1 when a file went away meanwhile; what it printed stands.
    return Source(name, f"stats {words}", sudo=sudo, timeout_s=timeout_s, size_max=1 << 20, codes=(0, 1))


def file_sources(probe: FileProbe) -> tuple[Source, ...]:
    """One source: the file's state, then each field."""
    path = quote(probe.path)
    lines = [
        f"f={path}",
        '[ -e "$f" ] || { [ -x "${f%/*}/" ] || [ ! -e "${f%/*}/" ] && exit 90; exit 91; }',
        'stats "$f"',
        '[ -h "$f" ] && mark "link $(readlink -f "$f")"',
        '[ -n "$GNU" ] && { x=$(ls -lLd "$f"); mark "mode ${x%% *}"; }',
    ]
    if probe.fields:
        lines += [
            '[ -f "$f" ] || exit 0',
            '[ -r "$f" ] || exit 91',
            'secret "$f" && exit 91',
            "grep -q -e 'PRIVATE KEY-----' \"$f\" && exit 91",
        ]
    for name, expression in sorted(probe.fields.items()):
        match, group = quote(expression), quote(f"s{_SOH}^({expression})${_SOH}\\2{_SOH}p")
        # Caught first and printed after, so that a failure is not lost behind a pipe; 1 is grep's "no match".
        lines += [
            f'mark "field {name}"',
            f'x=$(lim grep -o -E -e {match} "$f"); [ $? -gt 1 ] && exit 94',
            f'[ -z "$x" ] || printf "%s\\n" "$x" | lim sed -n -E {group} || exit 94',
        ]
    source = Source(
        "file", "\n".join([*lines, ":"]), sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=1 << 20
    )
    return (source,)


def parse_file(probe: FileProbe, reading: Reading) -> JsonValue:
    """See :class:`FileProbe`."""
    records = reading.records("file")
    states = [state for record in records if (state := read_state(record, reading)) is not None]
    if not states:
        raise NoFactError("error", f"{probe.path}: the host did not say how it is kept")
    fields: dict[str, JsonValue] = {}
    link: str | None = None
    acl: bool | None = None
    for record in records:
        head, _, body = record.partition("\n")
        if head.startswith("field "):
            values = [line[:4096] for line in body.split("\n") if line]
            fields[head[6:]] = texts(values[:200])
        elif head.startswith("link "):
            link = head[5:][:500]
        elif head.startswith("mode "):
            acl = head.endswith("+")
    if set(fields) != set(probe.fields):
        raise NoFactError("error", f"{probe.path}: not every field was looked for")
    return {**states[0], "path": probe.path, "link": link is not None, "target": link, "acl": acl, "fields": fields}


_STATE = re.compile(
    r"([0-7]{1,6})\|([0-9]{1,10})\|([0-9]{1,10})\|([0-9]{1,18})\|(-?[0-9]{1,15})(?:\.[0-9]+)?"
    r"\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)",
    re.S,
)
_TYPES = (
    ("regular", "file"), ("directory", "directory"), ("fifo", "fifo"), ("socket", "socket"), ("block", "block"),
    ("character", "char"),
)  # fmt: skip


def read_state(record: str, reading: Reading) -> dict[str, JsonValue] | None:
    """One file's state as ``stats`` prints it; None for another record."""
    match = _STATE.fullmatch(record.removesuffix("\n"))
    if match is None:
        return None
    mode, uid, gid, size, modified, owner, group, kind, path = match.groups()
    bits = int(mode, 8) & 0o7777
    when = moment(whole_number(modified))
    age_s = (reading.now - when).total_seconds() if when else 0.0
    return {
        "path": path,
        "type": next((word for start, word in _TYPES if kind.startswith(start)), "other"),
        "mode": f"{bits:04o}",
        "permissions": bits,
        "owner": owner if owner != "UNKNOWN" else uid,
        "group": group if group != "UNKNOWN" else gid,
        "uid": int(uid),
        "gid": int(gid),
        "size_bytes": min(int(size), 2**53 - 1),
        "modified": format_time(when) if when else None,
        "modified_days": max(0, int(age_s // _DAY_S)),
        "setuid": bool(bits & 0o4000),
        "setgid": bool(bits & 0o2000),
        "sticky": bool(bits & 0o1000),
        "group_read": bool(bits & 0o040),
        "group_write": bool(bits & 0o020),
        "group_execute": bool(bits & 0o010),
        "other_read": bool(bits & 0o004),
        "other_write": bool(bits & 0o002),
        "other_execute": bool(bits & 0o001),
    }


def read_states(reading: Reading, name: str) -> list[dict[str, JsonValue]]:
    """All files of a ``stats`` source, by path, each once."""
    states = (read_state(record, reading) for record in reading.records(name))
    by_path = {str(state["path"]): state for state in states if state is not None}
    return [by_path[path] for path in sorted(by_path)]


def files_sources(probe: FilesProbe) -> tuple[Source, ...]:
    """The states of what the patterns match."""
    words = " ".join(map(quote_glob, probe.patterns))
    return (stats_source("files", words, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s),)


def parse_files(probe: FilesProbe, reading: Reading) -> JsonValue:
    """See :class:`FilesProbe`."""
    states = read_states(reading, "files")
    listed: list[JsonValue] = [*states[:ENTRIES_MAX]]
    return {"count": len(listed), "truncated": len(states) > ENTRIES_MAX, "files": listed}


def file_age_sources(probe: FileAgeProbe) -> tuple[Source, ...]:
    """The same question as :class:`FilesProbe`, so that both are asked once."""
    words = " ".join(map(quote_glob, probe.patterns))
    return (stats_source("files", words, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s),)


def parse_file_age(probe: FileAgeProbe, reading: Reading) -> JsonValue:
    """See :class:`FileAgeProbe`."""
    states = [state for state in read_states(reading, "files") if state["type"] == "file"]
    days = [int(str(state["modified_days"])) for state in states if state["modified"] is not None]
    return {
        "count": len(states),
        "oldest_days": max(days) if days else None,
        "newest_days": min(days) if days else None,
        "size_bytes": min(sum(int(str(state["size_bytes"])) for state in states), 2**53 - 1),
        "truncated": len(states) >= ENTRIES_MAX,
    }


def walk_sources(probe: WalkProbe) -> tuple[Source, ...]:
    """A walk over the local file systems below the roots, one at a time, each device once."""
    roots = " ".join(map(quote, probe.roots))
    shell = f"""need find stat awk
set -- $(awk '$3 ~ /^(ext[234]|xfs|btrfs|f2fs|jfs|zfs|reiserfs|bcachefs)$/ && $2 !~ /\\\\/ && !seen[$1]++ {{
  print $2 }}' /proc/self/mounts)
owned='-nouser -o -nogroup'; find / -prune -nouser >/dev/null || owned='-perm -7777'
ends=0
for r in {roots}; do
  for m in "$r" "$@"; do
    case $m/ in "${{r%/}}/"*) ;; *) continue;; esac
    [ "$m" = "$r" ] || [ -d "$m" ] || continue
    lim find "$m" -xdev \\( -type f \\( -perm -4000 -o -perm -2000 -o -perm -2 \\) \\
      -o -type d -perm -2 ! -perm -1000 -o $owned \\) \\
      ! -type l -exec stat -c "@$T %a|%u|%g|%s|%Y|%U|%G|%F|%n" {{}} +
    e=$?; [ "$e" -gt 1 ] && ends=$e
  done
done
exit $ends"""
    return (
        Source("walk", shell, sudo=True, timeout_s=probe.timeout_s, size_max=1 << 20, codes=(0, 1), cut_allowed=True),
    )


def parse_walk(probe: WalkProbe, reading: Reading) -> JsonValue:
    """See :class:`WalkProbe`."""
    entries: list[JsonValue] = []
    for state in read_states(reading, "walk"):
        why = []
        if state["type"] == "file":
            why = [word for word in ("setuid", "setgid") if state[word]]
        if state["other_write"] and not (state["type"] == "directory" and state["sticky"]):
            why.append("world_writable")
        if state["owner"] == str(state["uid"]) or state["group"] == str(state["gid"]):
            why.append("unowned")
        if why:
            mode = str(state["mode"])
            entries.append(
                {
                    "path": state["path"],
                    "mode": mode,
                    "owner": state["owner"],
                    "group": state["group"],
                    "why": texts(why),
                }
            )
    return {
        "entries": entries[:ENTRIES_MAX],
        "count": len(entries),
        "truncated": len(entries) > ENTRIES_MAX,
        "complete": not reading.was_cut("walk"),
        "age_h": 0,
    }
