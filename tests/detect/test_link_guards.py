"""What looks like forging on the local cable and is none: routers, failovers, spare servers, second routers."""

from __future__ import annotations

from random import Random

from govsec.testing.packets import (
    MILLISECOND,
    SECOND,
    START_NS,
    SYN,
    Frame,
    Station,
    merge,
    outside,
    station,
    tcp_frame,
)
from govsec.testing.trafficlan import (
    DHCP_SERVER,
    GATEWAY,
    ROUTER6,
    arp_reply,
    arp_request,
    dhcp_lease,
    router_advertisement,
)
from tests.detect.observations import found


def sweep(asking: Station) -> list[Frame]:
    return [
        arp_request(START_NS + number * 50 * MILLISECOND, asking, station(number).address) for number in range(1, 120)
    ]


def test_a_router_that_looks_for_those_who_are_scanned_from_outside_is_no_scanner() -> None:
    packet = Frame(START_NS - SECOND, tcp_frame(outside("198.51.100.9"), 4000, station(9), 80, SYN))

    assert found([packet, *sweep(GATEWAY)], "scan_arp") == []
    assert len(found([packet, *sweep(station(9))], "scan_arp")) == 1


def announcements(mac: str, *, first_s: int = 0, count: int = 3) -> list[Frame]:
    sender = Station(station(200).address, mac)
    return [
        arp_reply(
            START_NS + (first_s + number) * SECOND, sender.address, mac, Station(sender.address, "ff:ff:ff:ff:ff:ff")
        )
        for number in range(count)
    ]


def test_an_address_that_moves_to_another_card_is_no_spoofing() -> None:
    old, new = "02:00:00:00:00:01", "02:00:00:00:00:02"

    assert found(announcements(old) + announcements(new, first_s=20), "spoof_arp") == []


def test_a_card_that_announces_itself_while_the_owner_speaks_is() -> None:
    old, new = "02:00:00:00:00:01", "02:00:00:00:00:02"

    assert len(found(merge(announcements(old), announcements(new, first_s=20, count=5)), "spoof_arp")) == 1


def test_a_virtual_router_moves_by_design() -> None:
    frames = announcements("02:00:00:00:00:01", count=2) + announcements("00:00:5e:00:01:07", first_s=20, count=30)

    assert found(frames, "spoof_arp") == []


def test_answers_that_were_asked_for_are_none() -> None:
    frames = []
    for number in range(20):
        moment = START_NS + number * SECOND
        frames.append(arp_request(moment, station(41), GATEWAY.address))
        mac = GATEWAY.mac if number % 2 else "02:00:00:00:00:02"
        frames.append(arp_reply(moment + MILLISECOND, GATEWAY.address, mac, station(41)))

    assert found(frames, "spoof_arp") == []


def test_a_spare_server_that_says_the_same_is_true_and_a_listed_one_needs_no_comparison() -> None:
    rng, parts = Random(1), []
    spare = station(4)
    for number in range(10):
        moment, host = START_NS + number * 60 * SECOND, station(100 + number)
        parts.append(dhcp_lease(rng, moment, host.mac, host.address, spare if number % 3 == 2 else DHCP_SERVER))
    frames = merge(*parts)

    # In the builder every server names itself as name server, so it is told, until the site says that it is true.
    assert len(found(frames, "dhcp_servers")) == 1
    settings = {"dhcp_servers": {"servers": [spare.address, DHCP_SERVER.address]}}
    assert found(frames, "dhcp_servers", settings=settings) == []
    only = {"dhcp_servers": {"servers": [DHCP_SERVER.address]}}
    assert [finding.subject for finding in found(frames, "dhcp_servers", settings=only)] == [spare.address]


def test_a_building_that_gets_its_power_back_is_no_starvation() -> None:
    rng = Random(1)
    parts = [
        dhcp_lease(rng, START_NS + number * 200 * MILLISECOND, f"02:00:00:00:02:{number:02x}", station(number).address)
        for number in range(1, 200)
    ]

    assert found(merge(*parts), "dhcp_starvation") == []


def test_a_second_router_with_the_same_prefix_and_a_router_that_is_switched_off_are_true() -> None:
    second = Station("fe80::a00:2", "02:00:00:00:0a:02")
    frames = [router_advertisement(START_NS + number * 200 * SECOND, ROUTER6) for number in range(4)]
    frames += [router_advertisement(START_NS + (300 + number * 200) * SECOND, second) for number in range(4)]
    frames += [router_advertisement(START_NS + (2000 + number) * SECOND, second, lifetime_s=0) for number in range(3)]

    assert found(merge(frames), "spoof_router") == []


def test_many_routers_at_once_are_a_flood_that_is_told_once() -> None:
    frames = [
        router_advertisement(
            START_NS + number * 10 * MILLISECOND, Station(f"fe80::{number + 1:x}", "02:00:00:00:66:66")
        )
        for number in range(60)
    ]

    findings = found(frames, "spoof_router")

    assert len(findings) == 1
    assert findings[0].facts["how"] == "many"
