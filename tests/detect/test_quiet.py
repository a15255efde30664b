"""What a site does not want to be told: one pattern, for a reason, for a time; allowances between networks; counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from govsec.config import AllowConfig
from govsec.detect.allowances import allowances_of
from govsec.detect.judgement import judge
from govsec.errors import FormatError, UsageError
from govsec.findings.quiet import Dismissal, DismissalFile, Quiet
from govsec.records import Finding, Severity

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOON_NS = 1_780_315_200 * 10**9


def scan(originator: str = "10.1.2.3", responders: tuple[str, ...] = ("10.9.0.1",), port: int = 22) -> Finding:
    return judge(
        kind="net.scan.horizontal",
        detector="scan_horizontal",
        severity=Severity.HIGH,
        time_ns=NOON_NS,
        subject=originator,
        summary="seen",
        pattern=(originator, port),
        originators=(originator,),
        responders=responders,
    )


def dismissal(pattern: str = "net.scan.horizontal|10.1.2.3|22", *, days: int = 90) -> Dismissal:
    return Dismissal(pattern=pattern, reason="our scanner", owner="li", made=NOON, expires=NOON + timedelta(days=days))


def allowance(**changes: object) -> AllowConfig:
    entry: dict[str, object] = {
        "name": "inventory",
        "kinds": ["net.scan.horizontal"],
        "originators": ["10.1.0.0/16"],
        "owner": "wang",
        "reason": "weekly inventory",
        "expires": date(2026, 7, 1),
    }
    return AllowConfig.model_validate({**entry, **changes})


def test_a_dismissal_quietens_its_pattern_and_no_other_and_is_counted() -> None:
    quiet = Quiet([dismissal()])

    assert quiet.covers(scan())
    assert not quiet.covers(scan(port=23))
    assert not quiet.covers(scan("10.1.2.4"))
    assert quiet.counters() == {"dismissed net.scan.horizontal|10.1.2.3|22": 1}


def test_a_dismissal_ends() -> None:
    assert not Quiet([dismissal(days=0)]).covers(scan())


@pytest.mark.parametrize(
    "pattern", ["net.scan.horizontal", "net.scan.horizontal|", "net.scan", "*", "net.scan.*|10.1.2.3"]
)
def test_a_whole_kind_cannot_be_dismissed(pattern: str) -> None:
    with pytest.raises(ValidationError):
        dismissal(pattern)


def test_an_allowance_quietens_its_kinds_between_its_networks() -> None:
    quiet = Quiet(allowed=allowances_of([allowance(responders=["10.9.0.0/24"])]))

    assert quiet.covers(scan())
    assert not quiet.covers(scan("10.2.0.1"))
    assert not quiet.covers(scan(responders=("10.9.0.1", "10.8.0.1")))
    assert not quiet.covers(scan().model_copy(update={"kind": "net.scan.vertical"}))
    assert quiet.counters() == {"allowed inventory": 1}


def test_an_allowance_does_not_hold_where_a_finding_has_more_hosts_than_it_lists() -> None:
    many = scan(responders=tuple(f"10.9.0.{number}" for number in range(1, 40)))

    assert not Quiet(allowed=allowances_of([allowance(responders=["10.9.0.0/24"])])).covers(many)
    assert Quiet(allowed=allowances_of([allowance()])).covers(many)


def test_an_allowance_ends_on_its_day() -> None:
    assert not Quiet(allowed=allowances_of([allowance(expires=date(2026, 6, 1))])).covers(scan())


@pytest.mark.parametrize(
    "changes",
    [{"originators": []}, {"originators": ["0.0.0.0/0"]}, {"originators": ["x"]}, {"kinds": []}, {"owner": ""}],
    ids=lambda change: next(iter(change)),
)
def test_an_allowance_of_everything_or_of_nobody_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        allowance(**changes)


def test_dismissals_are_kept_replaced_and_withdrawn(tmp_path: Path) -> None:
    file = DismissalFile(tmp_path / "monitor" / "dismissals.json")
    assert file.read() == ()

    file.add(dismissal(days=1))
    file.add(dismissal(days=9))
    file.add(dismissal("net.scan.horizontal|10.1.2.3|23"))
    assert [one.expires for one in file.read()] == [NOON + timedelta(days=9), NOON + timedelta(days=90)]

    file.withdraw("net.scan.horizontal|10.1.2.3|23")
    assert len(file.read()) == 1
    with pytest.raises(UsageError, match="no dismissal"):
        file.withdraw("net.scan.horizontal|10.1.2.3|23")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version":2,"dismissals":[]}', b"\xff", b'{"dismissals":[{}]}'])
def test_a_file_that_holds_no_dismissals_is_an_error_and_quietens_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dismissals.json"
    path.write_bytes(content)

    with pytest.raises(FormatError, match="no dismissals"):
        DismissalFile(path).read()


def test_a_file_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "dismissals.json"
    with path.open("wb") as file:
        file.truncate((8 << 20) + 1)

    with pytest.raises(FormatError, match="no dismissals"):
        DismissalFile(path).read()
