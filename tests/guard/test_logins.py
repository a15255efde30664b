"""Log-ins: guessing over all tools, getting in after it, new places, odd hours; and people who are merely human."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.findings.baseline import Baseline
from govsec.guard.registry import Site
from govsec.host.events import LoginRecord
from govsec.host.logins import LoginFiles, LoginOptions, WebLog
from govsec.records import Finding, Severity
from govsec.testing.clock import FakeClock
from tests.guard.records import DAY, HOUR, MONDAY_NS, SECOND, Judge, kinds, login

GUESSING = "host.login.guessing"
SUCCESS = "host.login.success_after_guessing"
SOURCE = "host.login.new_source"
ODD = "host.login.odd_hour"
BAD = "203.0.113.9"


def tries(count: int, gap_s: float = 2, **changes: str) -> list[LoginRecord]:
    """Failed log-ins of one source, one after the other."""
    return [login(MONDAY_NS + int(at * gap_s * SECOND), "root", BAD, **changes) for at in range(count)]


def test_guessing_is_told_at_the_eighth_failure_and_again_only_after_the_cooldown() -> None:
    judge = Judge("login_guessing")

    assert judge.each(tries(7)) == []
    found = Judge("login_guessing").each(tries(30))

    assert [(one.kind, one.subject, one.severity) for one in found] == [(GUESSING, BAD, Severity.MEDIUM)]
    assert found[0].time.second == 14
    assert found[0].facts["attack"] == ["T1110.001"]


def test_failures_of_all_tools_add_up_as_the_logs_have_them(tmp_path: Path) -> None:
    auth, web = tmp_path / "auth.log", tmp_path / "access.log"
    auth.touch()
    web.touch()
    clock = FakeClock(datetime(2026, 3, 2, 9, 5, tzinfo=UTC))
    source = LoginFiles(LoginOptions((auth,), (WebLog(web),), zone=UTC), clock)
    source.open()
    ssh = [f"Mar  2 09:00:{at:02} web sshd[9]: Failed password for root from {BAD} port 4{at} ssh2" for at in range(4)]
    auth.write_text("\n".join(ssh) + "\n")
    requests = [
        f'{BAD} - - [02/Mar/2026:09:00:{at:02} +0000] "POST /login HTTP/1.1" 401 12 "-" "-"' for at in range(20, 24)
    ]
    web.write_text("\n".join(requests) + "\n")

    records = [record for record in source.read() if isinstance(record, LoginRecord)]
    source.close()
    found = Judge("login_guessing").each(sorted(records, key=lambda record: record.time_ns))

    assert len(records) == 8
    (finding,) = found
    assert (finding.kind, finding.facts["tools"]) == (GUESSING, ["sshd", "web"])
    assert "Failed password" in str(finding.facts["lines"])


def test_one_password_at_many_accounts_is_spraying() -> None:
    records = [login(MONDAY_NS + at * SECOND, f"user{at}", BAD) for at in range(8)]

    (finding,) = Judge("login_guessing").each(records)

    assert finding.facts["attack"] == ["T1110.003"]


def test_guessing_from_many_sources_at_one_account_is_told_by_account() -> None:
    records = [login(MONDAY_NS + at * 5 * SECOND, "admin", f"198.51.100.{at % 10}") for at in range(20)]

    (finding,) = Judge("login_guessing").each(records)

    assert (finding.kind, finding.subject, finding.facts["how"]) == (GUESSING, "admin", "account")
    assert finding.severity is Severity.HIGH


def test_who_guesses_a_password_of_this_machine_is_told_by_who_asked() -> None:
    records = [login(MONDAY_NS + at * SECOND, "root", None, tool="su", by_user="www-data") for at in range(8)]

    (finding,) = Judge("login_guessing").each(records)

    assert finding.subject == "local www-data"


@pytest.mark.parametrize("tool", ["sshd", "web"])
def test_a_success_after_guessing_is_an_intrusion(tool: str) -> None:
    judge = Judge("login_guessing")
    judge.each(tries(12))

    found = judge.take(login(MONDAY_NS + 20 * 60 * SECOND, "backup", BAD, "success", tool))

    assert [(one.kind, one.severity) for one in found] == [(SUCCESS, Severity.CRITICAL)]
    assert "success for backup" in str(found[0].facts["lines"])
    assert found[0].facts["attack"] == ["T1110.001", "T1078"]


def people_who_err() -> list[LoginRecord]:
    """Three tries, then in; all day long, several people behind one address."""
    records = []
    for round_ in range(40):
        begin = MONDAY_NS + round_ * 300 * SECOND
        wrong = round_ % 4
        records += [login(begin + at * 10 * SECOND, f"user{round_ % 7}", "10.0.0.1") for at in range(wrong)]
        records.append(login(begin + 60 * SECOND, f"user{round_ % 7}", "10.0.0.1", "success"))
    return records


def a_job_with_an_old_password() -> list[LoginRecord]:
    """Every five minutes, for a day."""
    return [login(MONDAY_NS + at * 300 * SECOND, "backup", "10.0.0.7") for at in range(288)]


def an_address_that_many_share() -> list[LoginRecord]:
    """A gateway: a hundred people within minutes, a tenth of whom err."""
    return [
        login(MONDAY_NS + at * 2 * SECOND, f"user{at}", "10.0.0.9", "success" if at % 10 else "failure")
        for at in range(150)
    ]


def configuration_management() -> list[LoginRecord]:
    """Many log-ins that all succeed."""
    return [login(MONDAY_NS + at * SECOND, "deploy", "10.0.0.2", "success") for at in range(200)]


@pytest.mark.parametrize(
    "records",
    [people_who_err, a_job_with_an_old_password, an_address_that_many_share, configuration_management],
    ids=lambda records: records.__name__,
)
def test_people_and_jobs_are_silent(records: object) -> None:
    assert callable(records)

    assert Judge("login_guessing").each(records()) == []


def habits(judge: Judge, days: int, source: str | None = "10.1.2.3", user: str = "wang") -> list[Finding]:
    """Log-ins of working days, at nine and at fourteen."""
    found = []
    for day in range(days):
        for hours in (0, 5):
            found += judge.take(login(MONDAY_NS + day * DAY + hours * HOUR, user, source, "success"))
    return found


def test_a_log_in_from_a_network_that_the_account_never_came_from_is_told_once() -> None:
    judge = Judge("login_habits")
    assert habits(judge, 6) == []
    now = MONDAY_NS + 6 * DAY

    assert judge.take(login(now, "wang", "10.1.2.77", "success")) == ()  # the same network
    (finding,) = judge.take(login(now + 60 * SECOND, "wang", BAD, "success"))
    assert (finding.kind, finding.subject, finding.facts["place"]) == (SOURCE, "wang", "203.0.113.0/24")
    assert judge.take(login(now + 120 * SECOND, "wang", BAD, "success")) == ()


def test_a_new_account_and_refused_log_ins_have_no_habits_to_break() -> None:
    judge = Judge("login_habits")
    assert habits(judge, 4) == []

    assert judge.take(login(MONDAY_NS + 4 * DAY, "wang", BAD, "success")) == ()
    assert judge.take(login(MONDAY_NS + 4 * DAY, "li", BAD, "success")) == ()
    assert judge.engine.counters()["login_habits"]["not_judged_yet"] > 0

    assert habits(judge, 12, user="zhao") == []
    assert judge.take(login(MONDAY_NS + 12 * DAY, "zhao", BAD, "failure")) == ()


def test_a_log_in_at_an_hour_that_is_never_used_is_told_and_the_hours_around_the_usual_ones_are_not() -> None:
    judge = Judge("login_habits")
    assert habits(judge, 12) == []
    day = MONDAY_NS + 12 * DAY

    for hours in (-1, 0, 1, 4, 6):
        assert judge.take(login(day + hours * HOUR, "wang", "10.1.2.3", "success")) == ()
    (finding,) = judge.take(login(day + 17 * HOUR, "wang", "10.1.2.3", "success"))

    assert (finding.kind, finding.facts["hour"]) == (ODD, "02:00")
    assert finding.facts["attack"] == ["T1078"]


def test_habits_are_kept_between_runs(tmp_path: Path) -> None:
    path = tmp_path / "habits.sqlite"
    first = Baseline(path)
    habits(Judge("login_habits", site=Site(habits=first)), 12)
    first.close()

    again = Judge("login_habits", site=Site(habits=Baseline(path)))
    found = again.take(login(MONDAY_NS + 12 * DAY + 17 * HOUR, "wang", BAD, "success"))

    assert set(kinds(found)) == {SOURCE, ODD}


def test_names_and_lines_that_are_no_text_are_told_with_escapes() -> None:
    name = "r\udcffoot\x1b[2J"

    (finding,) = Judge("login_guessing").each(
        login(MONDAY_NS + at * SECOND, name, "bad\udc80host", line="x\udcfe" * 600) for at in range(8)
    )

    assert finding.canonical()
    assert "\udcff" not in str(finding.canonical())
    assert all(len(str(line)) <= 500 for line in finding.facts["lines"])  # type: ignore[union-attr]  # a list
