"""From findings to notices: told together, told once, told again, held back, and never lost on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.errors import RefusedError
from govsec.incident.levels import EventLevel
from govsec.incident.silences import Held, Inhibition, Maintenance, Match, Silence
from govsec.incident.triage import Triage, TriageSettings, fingerprint
from govsec.incident.triagebatch import Position
from govsec.incident.triagefile import TriageFile
from govsec.records import Finding, Notice, Severity

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def finding(
    subject: str = "10.0.0.8", kind: str = "net.scan.vertical", severity: Severity = Severity.MEDIUM
) -> Finding:
    return Finding(kind=kind, severity=severity, time=NOW, subject=subject, summary=f"{kind} of {subject}")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TriageFile]:
    file = TriageFile(tmp_path / "triage.db")
    yield file
    file.close()


def tell(triage: Triage, seconds: float) -> Sequence[Notice]:
    """What is due, handed over."""
    notices = triage.due(at(seconds))
    triage.told(notices, at(seconds))
    return notices


def test_a_thousand_findings_of_one_thing_are_one_incident_and_one_notice(file: TriageFile) -> None:
    triage = Triage(file)
    for second in range(10):
        triage.absorb([finding()] * 100, at(second), system="portal")

    assert tell(triage, 29) == ()
    (notice,) = tell(triage, 30)
    assert (notice.kind, notice.system, notice.subject) == ("incident.opened", "portal", "10.0.0.8")
    assert (notice.facts["incidents_count"], notice.facts["findings_count"]) == (1, 1000)
    assert tell(triage, 3000) == ()
    incident = file.incident(fingerprint("net.scan.vertical", "10.0.0.8", "portal"))
    assert incident is not None and (incident.count, incident.held_count) == (1000, 0)


def test_what_comes_together_is_told_together_and_what_is_new_later(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding("10.0.0.1"), finding("10.0.0.2", "net.scan.slow")], NOW)
    (first,) = tell(triage, 30)
    triage.absorb([finding("10.0.0.3")], at(60))
    triage.absorb([finding("10.0.0.1")], at(61))

    assert first.facts["incidents_count"] == 2
    assert tell(triage, 329) == ()
    (more,) = tell(triage, 330)
    assert (more.kind, more.facts["incidents_count"]) == ("incident.more", 3)
    assert more.key != first.key


def test_another_system_and_another_class_of_rule_have_notices_of_their_own(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding(), finding("/etc/passwd", "host.drift.file")], NOW, system="portal")
    triage.absorb([finding()], NOW, system="oa")

    assert {(notice.system, notice.facts["kind"]) for notice in tell(triage, 30)} == {
        ("portal", "net.scan"),
        ("portal", "host.drift"),
        ("oa", "net.scan"),
    }


def test_what_is_severe_does_not_wait(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding("db", "host.ransomware.canary", Severity.CRITICAL)], NOW)
    (first,) = tell(triage, 0)
    triage.absorb([finding("files", "host.ransomware.canary", Severity.CRITICAL)], at(5))
    (second,) = tell(triage, 5)

    assert (first.severity, first.subject, second.kind) == (Severity.CRITICAL, "db", "incident.more")


def test_an_incident_that_becomes_worse_is_news(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding(severity=Severity.LOW)], NOW)
    tell(triage, 30)
    triage.absorb([finding(severity=Severity.CRITICAL)], at(40))
    (worse,) = tell(triage, 40)

    assert (worse.kind, worse.severity) == ("incident.more", Severity.CRITICAL)


def test_what_goes_on_is_repeated_until_somebody_takes_it_on(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(repeat_s=600))
    mark = fingerprint("net.scan.vertical", "10.0.0.8", "")
    told = []
    for minute in range(60):
        triage.absorb([finding()], at(60 * minute))
        told += [(minute, notice.kind) for notice in tell(triage, 60 * minute + 30)]
        if minute == 25:
            triage.acknowledge([mark])

    assert told == [(0, "incident.opened"), (10, "incident.still_open"), (20, "incident.still_open")]


def test_what_was_quiet_for_long_begins_anew(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(quiet_s=3600))
    triage.absorb([finding()], NOW)
    tell(triage, 30)
    opened = triage.absorb([finding()], at(4000)).opened
    (again,) = tell(triage, 4030)

    assert [incident.count for incident in opened] == [1]
    assert again.kind == "incident.opened"


def test_ten_thousand_findings_of_as_many_groups_end_in_one_digest_a_minute(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(notices_per_minute=10))
    for number in range(10_000):
        kind = f"net.storm{number % 100}.x"
        triage.absorb([finding(f"10.0.{number // 256}.{number % 256}", kind)], NOW, system=f"system-{number // 100}")
    first = [notice.kind for notice in tell(triage, 30)]
    within = [notice.kind for second in range(31, 90) for notice in tell(triage, second)]

    assert first == ["incident.opened"] * 9 + ["incident.digest"]
    assert within == []
    assert file.counters() == {"incidents": 10_000, "forgotten": 0}
    triage.absorb([finding(f"late-{number}", f"net.late{number}.x") for number in range(50)], at(80))
    later = [notice.kind for notice in tell(triage, 111)]
    assert later == ["incident.opened"] * 9 + ["incident.digest"]


def test_a_crash_before_the_outbox_gives_the_same_notice_again_and_after_it_none(tmp_path: Path) -> None:
    path = tmp_path / "triage.db"
    file = TriageFile(path)
    Triage(file).absorb([finding()], NOW)
    before = Triage(file).due(at(30))
    file.close()
    file = TriageFile(path)
    again = Triage(file).due(at(31))
    Triage(file).told(again, at(31))
    Triage(file).told(before, at(32))
    file.close()
    file = TriageFile(path)

    assert [notice.key for notice in before] == [notice.key for notice in again]
    assert Triage(file).due(at(40)) == ()
    file.close()


def _silence(**more: object) -> Silence:
    said = {
        "id": "s1",
        "match": Match(kind="net.scan"),
        "author": "张三",
        "reason": "漏扫",
        "starts_at": NOW,
        "ends_at": at(3600),
    }
    return Silence(**{**said, **more})  # type: ignore[arg-type]  # fields of Silence, by name


def test_a_silence_holds_back_counts_and_says_so_when_it_ends(file: TriageFile) -> None:
    triage = Triage(file)
    triage.silence(_silence())
    absorbed = triage.absorb([finding(), finding(), finding("x", "net.flood.syn")], NOW)

    assert absorbed.held == {Held.SILENCED: 2}
    assert [notice.facts["kind"] for notice in tell(triage, 30)] == ["net.flood"]
    (ended,) = tell(triage, 3600)
    assert (ended.kind, ended.facts["held_count"], ended.facts["author"]) == ("incident.silence_ended", 2, "张三")
    assert tell(triage, 3700) == ()
    triage.absorb([finding()], at(3700))
    assert [notice.kind for notice in tell(triage, 3730)] == ["incident.opened"]


def test_an_event_of_a_reportable_level_cannot_be_silenced(file: TriageFile) -> None:
    mark = fingerprint("net.scan.vertical", "10.0.0.8", "")
    levels = {mark: EventLevel.RELATIVELY_MAJOR}
    triage = Triage(file, level_of=lambda known: levels.get(known, EventLevel.GENERAL))
    triage.silence(_silence())
    absorbed = triage.absorb([finding(), finding("10.0.0.9")], NOW)

    assert absorbed.held == {Held.SILENCED: 1}
    assert [notice.subject for notice in tell(triage, 30)] == ["10.0.0.8"]


def test_a_silence_can_be_ended_early_and_is_told_then(file: TriageFile) -> None:
    triage = Triage(file)
    triage.silence(_silence())
    triage.unsilence("s1", at(10))

    assert [notice.kind for notice in tell(triage, 10)] == ["incident.silence_ended"]
    with pytest.raises(RefusedError, match="none that lasts"):
        triage.unsilence("s1", at(20))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"author": " "}, "name of a person"),
        ({"reason": ""}, "a reason"),
        ({"match": Match()}, "everything at once"),
        ({"ends_at": NOW}, "ends after"),
        ({"ends_at": NOW + timedelta(days=31)}, "30 days"),
    ],
)
def test_a_silence_without_name_reason_aim_or_end_is_refused(
    file: TriageFile, more: dict[str, object], words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        Triage(file).silence(_silence(**more))


def test_two_silences_of_one_name_are_refused(file: TriageFile) -> None:
    Triage(file).silence(_silence())

    with pytest.raises(RefusedError, match="one of that name"):
        Triage(file).silence(_silence())


def test_announced_work_holds_back_for_its_time_only(file: TriageFile) -> None:
    work = Maintenance(Match(system="portal"), "升级", NOW, at(600))
    triage = Triage(file, maintenance=[work])

    assert triage.absorb([finding()], at(599), system="portal").held == {Held.MAINTENANCE: 1}
    assert triage.absorb([finding()], at(599), system="oa").held == {}
    assert triage.absorb([finding()], at(600), system="portal").held == {}
    assert [notice.system for notice in tell(triage, 660)] == ["oa", "portal"]


def test_a_host_that_is_down_takes_its_services_with_it_and_they_speak_again_after_it(file: TriageFile) -> None:
    rule = Inhibition("service.host_down", "service")
    parents = {"https://portal/": ["web-1"], "web-1": []}
    triage = Triage(file, TriageSettings(quiet_s=60), inhibitions=[rule], parents=parents)
    down = finding("web-1", "service.host_down", Severity.HIGH)
    portal = finding("https://portal/", "service.down", Severity.HIGH)
    absorbed = triage.absorb([down, portal], NOW)
    (notice,) = tell(triage, 0)

    assert absorbed.held == {Held.INHIBITED: 1}
    assert notice.subject == "web-1"
    assert triage.absorb([portal], at(50)).held == {Held.INHIBITED: 1}
    assert triage.absorb([portal], at(100)).held == {}
    assert [notice.subject for notice in tell(triage, 100)] == ["https://portal/"]


def test_a_file_that_is_full_forgets_what_has_been_quiet_for_longest_and_counts_it(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(incidents_max=1000))
    for number in range(1500):
        triage.absorb([finding(f"host-{number}")], at(number))
    counters = file.counters()

    assert counters["incidents"] <= 1000
    assert counters["incidents"] + counters["forgotten"] == 1500
    assert file.incident(fingerprint("net.scan.vertical", "host-1499", "")) is not None
    assert file.incident(fingerprint("net.scan.vertical", "host-0", "")) is None


def test_a_clock_that_jumps_back_loses_and_repeats_nothing(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding()], at(1000))
    tell(triage, 1030)
    triage.absorb([finding()], NOW)

    assert tell(triage, 0) == ()
    incident = file.incident(fingerprint("net.scan.vertical", "10.0.0.8", ""))
    assert incident is not None and incident.count == 2


def _critical(subject: str, kind: str = "net.scan.vertical") -> Finding:
    return finding(subject, kind, Severity.CRITICAL)


def test_what_comes_while_a_notice_is_handed_over_is_told_after_it(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([_critical("a")], NOW)
    first = triage.due(NOW)
    triage.absorb([_critical("b")], at(1))
    again = triage.due(at(2))
    triage.told(first, at(3))
    (second,) = tell(triage, 4)

    assert first == again
    assert (second.kind, second.facts["incidents_count"]) == ("incident.more", 2)
    assert second.key != first[0].key
    assert tell(triage, 5) == ()


def test_a_digest_that_is_handed_over_again_is_the_same_and_covers_no_more(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(notices_per_minute=1))
    triage.absorb([_critical("x", f"net.one{number}.x") for number in range(5)], NOW)
    before = triage.due(NOW)
    triage.absorb([_critical("x", f"net.two{number}.x") for number in range(5)], at(1))
    again = triage.due(at(90))
    triage.told(again, at(91))
    later = tell(triage, 92 + 60)

    assert before == again
    assert [notice.facts["groups_count"] for notice in (*before, *later)] == [5, 5]


def test_a_file_that_was_made_anew_has_keys_of_its_own(tmp_path: Path) -> None:
    keys = []
    for name in ("old.db", "new.db"):
        file = TriageFile(tmp_path / name)
        triage = Triage(file)
        triage.absorb([_critical("a")], NOW)
        keys += [notice.key for notice in tell(triage, 0)]
        file.close()

    assert len(set(keys)) == 2


def test_a_clock_that_was_a_month_ahead_silences_nobody(file: TriageFile) -> None:
    triage = Triage(file, TriageSettings(notices_per_minute=1))
    month = 30 * 86_400
    triage.absorb([_critical("x", f"net.one{number}.x") for number in range(5)], at(month))
    tell(triage, month)
    triage.absorb([_critical("x", "net.one0.x"), _critical("y", "net.one0.x"), _critical("z", "net.new.x")], at(70))
    told = [*tell(triage, 70), *tell(triage, 140)]

    assert {group for notice in told for group in _kinds(notice)} >= {"net.one0", "net.new"}


def _kinds(notice: Notice) -> list[object]:
    listed = notice.facts.get("listed")
    return [entry["kind"] for entry in listed] if isinstance(listed, list) else [notice.facts["kind"]]  # type: ignore[index,call-overload]


def test_what_became_worse_while_it_was_silenced_is_told_afterwards(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([finding(severity=Severity.LOW)], NOW)
    tell(triage, 30)
    triage.acknowledge([fingerprint("net.scan.vertical", "10.0.0.8", "")])
    triage.silence(_silence(ends_at=at(600)))
    triage.absorb([finding(severity=Severity.CRITICAL)], at(100))
    tell(triage, 600)
    triage.absorb([finding(severity=Severity.CRITICAL)], at(700))

    assert [(notice.kind, notice.severity) for notice in tell(triage, 700)] == [("incident.more", Severity.CRITICAL)]


def test_nothing_holds_back_an_event_that_must_be_reported(file: TriageFile) -> None:
    rule = Inhibition("service.host_down", "service")
    work = Maintenance(Match(system="portal"), "升级", NOW, at(600))
    triage = Triage(
        file, inhibitions=[rule], parents={"site": ["web"]}, maintenance=[work], level_of=lambda _: EventLevel.MAJOR
    )

    assert triage.absorb([finding()], NOW, system="portal").held == {}
    assert triage.absorb([finding("web", "service.host_down"), finding("site", "service.down")], NOW).held == {}


def test_a_cause_that_nobody_was_told_of_holds_nothing_back(file: TriageFile) -> None:
    triage = Triage(file, inhibitions=[Inhibition("service.host_down", "service")], parents={"site": ["web"]})
    triage.silence(_silence(match=Match(kind="service.host_down")))
    triage.absorb([_critical("web", "service.host_down"), _critical("site", "service.tampered")], NOW)

    assert [notice.subject for notice in tell(triage, 0)] == ["site"]


@pytest.mark.parametrize(
    "more", [{"match": Match(subject="**", system="?*")}, {"id": ""}, {"id": "x" * 61}, {"id": "a b"}]
)
def test_a_silence_of_everything_or_without_a_proper_name_is_refused(file: TriageFile, more: dict[str, object]) -> None:
    with pytest.raises(RefusedError):
        Triage(file).silence(_silence(**more))


def test_long_names_are_refused_before_they_could_block_all_others(file: TriageFile) -> None:
    triage = Triage(file)
    triage.absorb([_critical("a", f"net.{'k' * 90}.x")], NOW, system="s" * 200)

    assert len(tell(triage, 0)) == 1
    with pytest.raises(RefusedError, match="200 characters"):
        triage.absorb([_critical("a")], NOW, system="s" * 201)


def test_how_far_a_source_was_read_is_written_with_its_findings_or_not_at_all(file: TriageFile) -> None:
    triage = Triage(file)
    assert file.position("host") is None
    triage.absorb_all([("portal", finding()), ("oa", finding())], NOW, Position("host", "e1", 2))
    assert file.position("host") == Position("host", "e1", 2)

    with pytest.raises(RefusedError):
        triage.absorb_all([("portal", finding()), ("o" * 201, finding())], NOW, Position("host", "e1", 4))
    assert file.position("host") == Position("host", "e1", 2)
    incident = file.incident(fingerprint("net.scan.vertical", "10.0.0.8", "portal"))
    assert incident is not None and incident.count == 1
