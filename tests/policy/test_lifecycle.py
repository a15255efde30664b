"""How long a distribution is maintained is told by its release, and unknown where nobody published it."""

from __future__ import annotations

import pytest

from govsec.clock import format_time
from govsec.collect.facts import Platform
from govsec.policy.lifecycle import _systems, maintained_until


def until(os_id: str, version: str, pretty_name: str = "") -> str | None:
    found = maintained_until(Platform(os_id=os_id, version=version, pretty_name=pretty_name))
    return format_time(found)[:10] if found else None


@pytest.mark.parametrize(
    ("os_id", "version", "pretty_name", "day"),
    [
        ("debian", "12", "Debian GNU/Linux 12 (bookworm)", "2028-06-11"),
        ("ubuntu", "22.04", "Ubuntu 22.04.5 LTS", "2027-04-02"),
        ("rhel", "8.6", "Red Hat Enterprise Linux 8.6 (Ootpa)", "2029-06-01"),
        ("centos", "7", "CentOS Linux 7 (Core)", "2024-07-01"),
        ("centos", "8", "CentOS Linux 8", "2022-01-01"),
        ("centos", "8", "CentOS Stream 8", "2024-06-01"),
        ("openEuler", "22.03", "openEuler 22.03 LTS", "2024-04-01"),
        ("openEuler", "22.03", "openEuler 22.03 (LTS-SP4)", "2026-07-01"),
    ],
)
def test_a_release_is_maintained_to_the_end_of_its_last_day(
    os_id: str, version: str, pretty_name: str, day: str
) -> None:
    assert until(os_id, version, pretty_name) == day


@pytest.mark.parametrize(
    ("os_id", "version", "pretty_name"),
    [
        ("kylin", "V10", "Kylin Linux Advanced Server V10"),
        ("uos", "20", "UnionTech OS Server 20"),
        ("debian", "", "Debian GNU/Linux trixie/sid"),
        ("debian", "99", ""),
        ("ubuntu", "22", ""),
        ("openEuler", "22.03", "openEuler 22.03 (LTS-SP10)"),
        ("openEuler", "22.03", ""),
        ("centos", "8", ""),
        ("", "", ""),
    ],
)
def test_what_nobody_published_is_unknown(os_id: str, version: str, pretty_name: str) -> None:
    assert until(os_id, version, pretty_name) is None


def test_every_row_has_a_source_and_dates() -> None:
    systems = _systems()

    assert len(systems) >= 8
    assert all(system.releases and system.source.en and system.source.status for system in systems.values())
