"""Accounts and groups: derived on the host so that no hash leaves it, and put together here."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.collect.probes_accounts import GroupsProbe, UsersProbe
from govsec.collect.readers import numbers, texts, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

USERS_MAX = 2000
_NOT_SHELLS = frozenset({"nologin", "false", "sync", "shutdown", "halt", "true"})

#: name, uid, gid, home, shell, and what stands in the password field: shadow, empty, other.
PASSWD = Source(
    "passwd",
    """need awk; [ -r /etc/passwd ] || exit 91
lim awk -F: 'NF >= 7 && NR <= 20000 {
  p = $2; f = p == "x" ? "shadow" : p == "" ? "empty" : p ~ /^[!*]/ ? "locked" : "hash"
  print $1 ":" $3 ":" $4 ":" $6 ":" $7 ":" f }' /etc/passwd""",
    size_max=2 << 20,
)
#: name, state (empty, locked, usable), algorithm, then the six numbers.
SHADOW = Source(
    "shadow",
    """need awk; [ -e /etc/shadow ] || exit 90; [ -r /etc/shadow ] || exit 91
lim awk -F: '
function algorithm(h,  a) {
  sub(/^[!*]+/, "", h)
  if (h == "" || h == "LK" || h == "LOCK" || h == "NP") return "none"
  if (h ~ /^\\$y\\$/) return "yescrypt"
  if (h ~ /^\\$gy\\$/) return "gost_yescrypt"
  if (h ~ /^\\$7\\$/) return "scrypt"
  if (h ~ /^\\$2[abxy]?\\$/) return "bcrypt"
  if (h ~ /^\\$6\\$/) return "sha512"
  if (h ~ /^\\$5\\$/) return "sha256"
  if (h ~ /^\\$sm3\\$/) return "sm3"
  if (h ~ /^\\$sha1/) return "sha1"
  if (h ~ /^\\$(1|md5)/) return "md5"
  if (h ~ /^_/ || length(h) == 13) return "des"
  return "other"
}
NR <= 20000 { a = algorithm($2); s = $2 == "" ? "empty" : $2 ~ /^[!*]/ || a == "none" ? "locked" : "usable"
  print $1 ":" s ":" a ":" $3 ":" $4 ":" $5 ":" $6 ":" $7 ":" $8 }' /etc/shadow""",
    sudo=True,
    size_max=2 << 20,
)
KEYS = Source(
    "keys",
    """n=0
while IFS=: read -r name x uid gid gecos home shell; do
  case $shell in */nologin|*/false|*/sync|*/shutdown|*/halt) continue;; esac
  for f in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
    [ -f "$f" ] && [ -r "$f" ] && c=$(lim grep -c '^[^#]' "$f") && printf '%s:%s\\n' "$name" "$c"
  done
  n=$((n + 1)); [ $n -gt 2000 ] && break
done </etc/passwd
:""",
    sudo=True,
)
LASTLOG = Source("lastlog", "need lastlog; lim lastlog", size_max=1 << 20, cut_allowed=True)
UID_MIN = Source("uid_min", "[ -r /etc/login.defs ] && grep -E '^[[:space:]]*UID_MIN[[:space:]]' /etc/login.defs; :")


def users_sources(probe: UsersProbe) -> tuple[Source, ...]:
    """passwd and shadow as derived on the host, keys counted, last log-ins."""
    return (PASSWD, SHADOW, KEYS, LASTLOG, UID_MIN)


def parse_users(probe: UsersProbe, reading: Reading) -> JsonValue:
    """See :class:`UsersProbe`."""
    rows = passwd_rows(reading)
    if not rows:
        raise NoFactError("error", "the host's list of accounts is empty")
    shadow = {
        line.split(":")[0]: line.split(":") for line in reading.text("shadow").split("\n") if line.count(":") == 8
    }
    keys = _keys(reading)
    logins = _last_logins(reading)
    minimum = next((int(word) for word in reading.text("uid_min").split() if word.isdigit() and len(word) < 8), 1000)
    users: list[JsonValue] = []
    for row in rows[:USERS_MAX]:
        user = _user(row, shadow.get(row[0]), reading.now, minimum)
        seen = logins.get(row[0]) if logins is not None else None
        user["last_login"] = format_time(seen) if seen else None
        user["last_login_days"] = max(0, (reading.now - seen).days) if seen else None
        user["authorized_keys"] = keys.get(row[0])
        users.append(user)
    names, uids = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    return {
        "users": users,
        "uid_zero": texts(row[0] for row in rows if row[1] == 0),
        "duplicate_uids": numbers(sorted(uid for uid, count in uids.items() if count > 1)),
        "duplicate_names": texts(sorted(name for name, count in names.items() if count > 1)),
        "logins_recorded": logins is not None,
        "without_shadow": texts(row[0] for row in rows if row[5] != "shadow"),
        "truncated": len(rows) > USERS_MAX,
    }


def passwd_rows(reading: Reading) -> list[tuple[str, int, int, str, str, str]]:
    """name, uid, gid, home, shell, state of the password field; lines that are none are left out."""
    rows = []
    for line in reading.text("passwd").split("\n"):
        words = line.split(":")
        uid, gid = (whole_number(word) for word in words[1:3]) if len(words) == 6 else (None, None)
        if uid is not None and gid is not None and words[0]:
            rows.append((words[0], uid, gid, words[3], words[4], words[5]))
    return rows


def _user(
    row: tuple[str, int, int, str, str, str], shadow: list[str] | None, now: datetime, uid_min: int
) -> dict[str, JsonValue]:
    name, uid, gid, home, shell, field = row
    # Without a line in shadow, an "x" in passwd lets nobody in by password.
    state, algorithm, rest = (
        (shadow[1], shadow[2], shadow[3:]) if shadow and field == "shadow" else
        ("locked" if field in ("shadow", "locked") else "empty" if field == "empty" else "usable",
         "other" if field == "hash" else "none", [""] * 6)
    )  # fmt: skip
    change, minimum, maximum, warn, inactive, expires = (whole_number(word) for word in rest)
    changed_on, expires_on = _day(change), _day(expires)
    today = now.date()
    return {
        "name": name,
        "uid": uid,
        "gid": gid,
        "home": home,
        "shell": shell,
        "login": shell.rsplit("/", 1)[-1] not in _NOT_SHELLS,
        "system": uid < uid_min or uid == 65534,
        "locked": state == "locked",
        "empty": state == "empty",
        "has_password": state == "usable",
        "algorithm": algorithm,
        "last_change": changed_on.isoformat() if changed_on and change else None,
        "password_age_days": max(0, (today - changed_on).days) if changed_on and change else None,
        "min_days": minimum,
        "max_days": maximum,
        "warn_days": warn,
        "inactive_days": inactive,
        "expires": expires_on.isoformat() if expires_on else None,
        "expired": expires_on is not None and expires_on <= today,
        "must_change": change == 0,
    }


def _day(days: int | None) -> date | None:
    """The day that shadow counts from 1970; None for none and for nonsense."""
    return date(1970, 1, 1) + timedelta(days=days) if days is not None and 0 <= days < 200_000 else None


def _keys(reading: Reading) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in reading.text("keys").split("\n"):
        name, _, count = line.rpartition(":")
        if name and (number := whole_number(count)) is not None:
            counts[name] = counts.get(name, 0) + number
    return counts


_LOGIN = re.compile(r"([A-Z][a-z]{2}) ([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9:]{8}) ([+-][0-9]{4}) ([0-9]{4})$")


def _last_logins(reading: Reading) -> dict[str, datetime] | None:
    """When each user last came in, as lastlog(8) prints it; None where the host keeps no such record."""
    text = reading.maybe("lastlog")
    if text is None:
        return None
    logins = {}
    for line in text.split("\n")[1:]:
        match = _LOGIN.search(line.strip())
        if match:
            _, month, day, time, zone, year = match.groups()
            try:
                when = datetime.strptime(f"{month} {day} {time} {zone} {year}", "%b %d %H:%M:%S %z %Y")
                logins[line.split()[0]] = when.astimezone(UTC)
            except (ValueError, OverflowError):
                continue
    return logins


GROUPS = Source(
    "groups",
    'need awk; [ -r /etc/group ] || exit 91\nlim awk -F: \'NF >= 4 { print $1 ":" $3 ":" $4 }\' /etc/group',
    size_max=1 << 20,
)


def groups_sources(probe: GroupsProbe) -> tuple[Source, ...]:
    """group without its password field, and passwd for primary groups."""
    return (GROUPS, PASSWD)


def parse_groups(probe: GroupsProbe, reading: Reading) -> JsonValue:
    """See :class:`GroupsProbe`."""
    primary: dict[int, list[str]] = {}
    for row in passwd_rows(reading):
        primary.setdefault(row[2], []).append(row[0])
    groups: list[JsonValue] = []
    members: dict[str, JsonValue] = {}
    names: Counter[str] = Counter()
    gids: Counter[int] = Counter()
    for line in reading.text("groups").split("\n"):
        words = line.split(":")
        gid = whole_number(words[1]) if len(words) == 3 else None
        if gid is None:
            continue
        listed = [name for name in words[2].split(",") if name]
        groups.append(
            {"name": words[0], "gid": gid, "members": texts(listed), "primary_of": texts(primary.get(gid, []))}
        )
        members[words[0]] = texts(sorted({*listed, *primary.get(gid, [])}))
        names[words[0]] += 1
        gids[gid] += 1
    if not groups:
        raise NoFactError("error", "the host's list of groups is empty")
    return {
        "groups": groups[:USERS_MAX],
        "members": members,
        "duplicate_gids": numbers(sorted(gid for gid, count in gids.items() if count > 1)),
        "duplicate_names": texts(sorted(name for name, count in names.items() if count > 1)),
    }
