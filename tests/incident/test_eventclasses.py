"""Classes of events: what findings suggest."""

from __future__ import annotations

import pytest

from govsec.incident.eventclasses import shipped_classes


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        (["host.ransomware.canary"], "malware"),
        (["net.scan.vertical"], "network_attack"),
        (["net.scan.vertical", "net.exfiltration.volume"], "data_security"),
        (["page.altered"], "content_security"),
        (["service.down"], "equipment_failure"),
        (["network.of.nobody"], "other"),
        ([], "other"),
    ],
)
def test_the_longest_match_of_a_finding_decides_the_class(kinds: list[str], name: str) -> None:
    assert shipped_classes().suggest(kinds) == name


def test_there_are_ten_classes_and_their_codes_wait_for_the_standard() -> None:
    classes = shipped_classes()

    assert len(classes.classes) == 10
    assert {entry.code for entry in classes.classes.values()} == {None}
