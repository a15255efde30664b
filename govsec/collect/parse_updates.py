"""Pending updates, from the package lists that a host already has.

With apt the lists themselves are read and compared here: apt's own simulation builds its cache anew where none is kept
(five seconds and 70 MB on a small host), and as root it writes it. So holds and pins are not considered: a held package
with a newer version counts as pending. Lists of archives that apt does not install from by itself (NotAutomatic:
backports) are left out.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from pydantic import JsonValue

from govsec.collect.parse_software import PACKAGES, installed_packages
from govsec.collect.probes_services import UpdatesProbe
from govsec.collect.readers import decimal_number, texts
from govsec.collect.sources import NoFactError, Reading, Source

NAMES_MAX = 500
_SHELL = """newest() { n=; for f do [ -e "$f" ] && { t=$(stat -c %Y "$f"); [ "${n:-0}" -lt "$t" ] && n=$t; }; done
  [ -n "$n" ] && echo "lists $(( ($(date +%s) - n) / 60 ))"; }
if have apt-get && have dpkg-query; then
  echo 'manager apt'; l=/var/lib/apt/lists; newest $l/*_Packages* $l/*InRelease
  grep -q -E '^[^/]*Unattended-Upgrade[^;]*"[1-9]' /etc/apt/apt.conf.d/* && echo 'automatic 1'
  [ -e /run/reboot-required ] && echo 'reboot 1'
  i=$(lim dpkg-query -W -f '${Package}\\n') || exit $?
  for f in $l/*_Packages*; do
    case $f in *.diff*|*partial*) continue;; esac
    [ -f "$f" ] || continue
    r=${f%_*_binary-*}_InRelease; [ -r "$r" ] && grep -q '^NotAutomatic: yes' "$r" && continue
    case $f in *.lz4|*.gz|*.xz|*.zst|*.bz2) set -- /usr/lib/apt/apt-helper cat-file "$f";; *) set -- cat "$f";; esac
    mark "list ${f##*/}"
    { printf '%s\\n' "$i"; echo; { lim "$@" || echo 'failed 1'; } | grep -E '^(Package|Version): |^failed 1$'; } |
      awk 'NR == 1, /^$/ { own[$1] = 1; next }
      /^failed 1$/ { print } /^Package: / { p = $2; k = p in own } k && /^Version: / { print "is " p " " $2; k = 0 }'
  done
elif have dnf || have yum; then
  m=yum; have dnf && m=dnf; echo "manager $m"; newest /var/cache/$m/*/repodata/repomd.xml /var/cache/$m/*.solv
  for f in /etc/systemd/system/timers.target.wants/dnf-automatic*.timer; do [ -e "$f" ] && echo 'automatic 1'; done
  x=$(lim $m -q -C --setopt=logfilelevel=0 check-update); r=$?; case $r in 0|100) ;; *) exit $r;; esac
  printf '%s\\n' "$x" | awk 'NF == 3 && $1 ~ /[.]/ { print "update " $1 }'
  x=$(lim $m -q -C --setopt=logfilelevel=0 updateinfo list security) && {
    echo 'security known'; printf '%s\\n' "$x" | awk 'NF >= 3 { print "security " $NF }'; }
  have needs-restarting && { lim needs-restarting -r >/dev/null; case $? in 1) echo 'reboot 1';; esac; }
elif have zypper; then
  echo 'manager zypper'; newest /var/cache/zypp/raw/*/repodata/repomd.xml
  x=$(lim zypper -q -n --no-refresh list-updates) || exit $?
  printf '%s\\n' "$x" | awk -F'|' '$1 ~ /^v/ { gsub(/ /, "", $3); print "update " $3 }'
  x=$(lim zypper -q -n --no-refresh list-patches --category security) && {
    echo 'security known'
    printf '%s\\n' "$x" | awk -F'|' '$3 ~ /security/ { gsub(/ /, "", $2); print "security " $2 }'; }
else exit 90; fi
:"""


def updates_sources(probe: UpdatesProbe) -> tuple[Source, ...]:
    """The newest versions in the lists, of what is installed; nothing is fetched or written."""
    return (
        Source("updates", _SHELL, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s, size_max=1 << 20),
        PACKAGES,
    )


def parse_updates(probe: UpdatesProbe, reading: Reading) -> JsonValue:
    """See :class:`UpdatesProbe`."""
    head, *lists = reading.text("updates").split(f"@{reading.token} ")
    words: dict[str, str] = {}
    names: list[str] = []
    security: list[str] = []
    for line in head.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "update" and rest:
            names.append(rest)
        elif word == "security" and rest not in ("", "known"):
            security.append(rest)
        elif rest:
            words.setdefault(word, rest)
    manager = words.get("manager", "")
    if manager not in ("apt", "dnf", "yum", "zypper"):
        raise NoFactError("error", "the host did not say which package manager it has")
    minutes = decimal_number(words.get("lists", ""))
    is_known = "security" in words or bool(security)
    if manager == "apt":
        names, security = _newer(lists, reading)
        is_known = bool(lists)
    names, security = list(dict.fromkeys(names)), list(dict.fromkeys(security))
    return {
        "manager": manager,
        "pending": len(names),
        "security": len(security) if is_known and minutes is not None else None,
        "names": texts(names[:NAMES_MAX]),
        "security_names": texts(security[:NAMES_MAX]),
        "lists_age_days": round(max(0.0, minutes) / 1440, 2) if minutes is not None else None,
        "automatic": "automatic" in words,
        "reboot_needed": "reboot" in words,
    }


def _newer(lists: list[str], reading: Reading) -> tuple[list[str], list[str]]:
    """Names of installed packages that some list has a newer version of, and those of security lists."""
    _, installed = installed_packages(reading)
    newer: dict[str, bool] = {}
    for record in lists:
        title, *lines = record.split("\n")
        if "failed 1" in lines:
            raise NoFactError("error", f"the list {title[5:]} could not be read to its end")
        for line in lines:
            words = line.split(" ")
            is_version = len(words) == 3 and words[0] == "is" and words[1] in installed
            if is_version and compare_versions(words[2], installed[words[1]][0]) > 0:
                newer[words[1]] = newer.get(words[1], False) or "security" in title
    return sorted(newer), sorted(name for name, is_security in newer.items() if is_security)


def compare_versions(a: str, b: str) -> int:
    """Below, at or above zero as version ``a`` is older, equal or newer than ``b``. Source: Debian Policy, 5.6.12."""
    for one, other in zip(_parts(a), _parts(b), strict=True):
        if order := _compare_part(one, other):
            return order
    return 0


def _parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return epoch, upstream, revision or "0"


def _compare_part(a: str, b: str) -> int:
    # Text and number in turn: text by letters first, "~" before the end of the text, numbers by value.
    for (text_a, digits_a), (text_b, digits_b) in zip_longest(_runs(a), _runs(b), fillvalue=("", "0")):
        width = max(len(text_a), len(text_b))
        ranks_a, ranks_b = ([_rank(text, place) for place in range(width)] for text in (text_a, text_b))
        if ranks_a != ranks_b:
            return 1 if ranks_a > ranks_b else -1
        number_a, number_b = digits_a.lstrip("0"), digits_b.lstrip("0")
        if number_a != number_b:
            # By length, then by digits: a host may send a number of any length.
            return 1 if (len(number_a), number_a) > (len(number_b), number_b) else -1
    return 0


def _runs(text: str) -> list[tuple[str, str]]:
    return [(run, digits or "0") for run, digits in re.findall(r"([^0-9]*)([0-9]*)", text) if run or digits]


def _rank(text: str, place: int) -> int:
    if place >= len(text):
        return 0
    letter = text[place]
    return -1 if letter == "~" else ord(letter) if letter.isalpha() else ord(letter) + 256
