"""sudo for real: an account that may, one that may not, and what a host then answers. In a mount namespace of its own,
so that the machine's accounts and rules stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.facts import Facts
from govsec.collect.probes import LoginDefsProbe, UsersProbe
from govsec.collect.transport import LocalTransport
from tests.support.require import require, require_root

CLOCK = SystemClock()
PROBES = (UsersProbe(), LoginDefsProbe())
#: Of nobody on this machine; the account exists in the namespace alone.
NAME, NUMBER = "assessor-of-a-test", 64242
_WRAPPER = """set -e
here={folder}
for name in passwd group shadow; do mount --bind "$here/$name" /etc/$name; done
mount -t tmpfs -o mode=0755 tmpfs /etc/sudoers.d
[ ! -e "$here/rule" ] || install -m 0440 "$here/rule" /etc/sudoers.d/assessor
exec setpriv --reuid={number} --regid={number} --clear-groups -- sh "$@"
"""


def _asked(folder: Path, rule: str, *, is_root_asked: bool = True) -> Facts:
    """What this machine answers to a plain account under sudo's ``rule``."""
    require("sudo")
    require_root()
    lines = {
        "passwd": f"{NAME}:x:{NUMBER}:{NUMBER}::/nonexistent:/bin/sh",
        "group": f"{NAME}:x:{NUMBER}:",
        "shadow": f"{NAME}:!:20000:0:99999:7:::",
    }
    for name, line in lines.items():
        original = Path("/etc", name)
        copy = folder / name
        copy.write_text(f"{original.read_text(encoding='utf-8').rstrip()}\n{line}\n", encoding="utf-8")
        copy.chmod(original.stat().st_mode & 0o777)
    if rule:
        (folder / "rule").write_text(rule + "\n", encoding="utf-8")
    wrapper = folder / "wrapper.sh"
    wrapper.write_text(_WRAPPER.format(folder=folder, number=NUMBER), encoding="utf-8")
    interpreter = ("unshare", "--mount", "--propagation", "private", "sh", str(wrapper))
    return collect("here", PROBES, LocalTransport(CLOCK, sudo=is_root_asked, interpreter=interpreter), CLOCK)


def _statuses(facts: Facts) -> list[str]:
    return [facts.outcomes[probe.identity].status for probe in PROBES]


def test_sudo_answers_what_needs_root_and_plain_questions_stay_plain(tmp_path: Path) -> None:
    facts = _asked(tmp_path, f"{NAME} ALL=(root) NOPASSWD: /usr/bin/sh, /bin/sh")

    assert _statuses(facts) == ["ok", "ok"]
    users = facts.outcomes[PROBES[0].identity].value
    assert isinstance(users, dict)
    assert NAME in str(users), "it looked at the accounts of its own namespace"
    assert facts.platform.root


@pytest.mark.parametrize(
    "rule", ["", f"{NAME} ALL=(root) ALL", f"{NAME} ALL=(root) NOPASSWD: /usr/bin/true, /bin/true"]
)
def test_without_the_right_rule_what_needs_root_is_denied_and_nobody_is_asked_for_a_password(
    tmp_path: Path, rule: str
) -> None:
    facts = _asked(tmp_path, f"{NAME} {rule}" if rule else "")

    assert _statuses(facts) == ["denied", "ok"]
    assert not facts.platform.root


def test_a_host_that_is_not_to_use_sudo_does_not(tmp_path: Path) -> None:
    facts = _asked(tmp_path, f"{NAME} ALL=(root) NOPASSWD: ALL", is_root_asked=False)

    assert _statuses(facts) == ["denied", "ok"]
