"""Real captures say what they are known to say, where a folder of them is named by ``GOVSEC_CAPTURES``.

They are not part of the repository: their licences are those of many projects. Each one that is missing is a skip.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from govsec.dissect.dcerpc import NETLOGON
from govsec.dissect.messages import (
    ArpMessage,
    DceRpcCall,
    DhcpMessage,
    DnsMessage,
    HttpRequest,
    HttpResponse,
    IcmpEcho,
    LdapMessage,
    LoginOutcome,
    Message,
    RouterAdvertisement,
    SshKeyExchange,
    TlsCertificates,
    TlsClientHello,
)
from tests.dissect.dissected import dissect_file, only


def _expired(messages: list[Message]) -> None:
    chains = only(messages, TlsCertificates)
    assert len(chains) == 2
    # One had expired when it was shown, the other was about to.
    left_s = sorted(chain.certificates[0].not_after.timestamp() - chain.time_ns / 1e9 for chain in chains)
    assert left_s[0] < 0 < left_s[1] < 90 * 86_400


def _ftp(messages: list[Message]) -> None:
    outcomes = only(messages, LoginOutcome)
    assert len(outcomes) == 30 and not any(outcome.is_accepted for outcome in outcomes)


def _log4shell(messages: list[Message]) -> None:
    first, *_, last = only(messages, HttpRequest)
    assert "${jndi:ldap://" in unquote_plus(first.body.decode())
    assert last.target == "/Exploit.class"
    (entry,) = {m.attributes for m in only(messages, LdapMessage) if m.operation == "search_entry"}
    assert {"javaCodeBase", "javaFactory"} <= set(entry)


def _injection(messages: list[Message]) -> None:
    requests = only(messages, HttpRequest)
    assert len(requests) == len(only(messages, HttpResponse)) == 9
    assert sum("'" in unquote_plus(request.target) for request in requests) >= 5


def _zerologon(messages: list[Message]) -> None:
    asked = [m for m in only(messages, DceRpcCall) if m.interface == NETLOGON and not m.is_response]
    assert len(asked) > 30 and all(m.has_null_credential for m in asked if m.operation in (4, 26))


def _router(messages: list[Message]) -> None:
    lifetimes = {(m.source, m.mac_source, m.lifetime_s) for m in only(messages, RouterAdvertisement)}
    assert {lifetime_s == 0 for _, _, lifetime_s in lifetimes} == {True, False}
    # The forged ones claim the router's address with another MAC on the frame.
    assert len({source for source, _, _ in lifetimes}) < len({mac for _, mac, _ in lifetimes})


def _starvation(messages: list[Message]) -> None:
    assert len(only(messages, DhcpMessage)) == 500


def _iodine(messages: list[Message]) -> None:
    queries = [m for m in only(messages, DnsMessage) if not m.is_response]
    assert sum(m.questions[0].type == "NULL" and m.questions[0].name.endswith(".pirate.sea") for m in queries) > 200


def _echoes(messages: list[Message]) -> None:
    echoes = only(messages, IcmpEcho)
    assert len(echoes) == 863
    assert len({echo.payload_digest for echo in echoes}) > 300


def _beacon(messages: list[Message]) -> None:
    hellos = only(messages, TlsClientHello)
    assert len(hellos) > 290 and len({hello.ja3 for hello in hellos}) < 5


def _ssh(messages: list[Message]) -> None:
    exchanges = only(messages, SshKeyExchange)
    assert Counter(m.is_originator for m in exchanges) == {True: 11, False: 11}


def _sweep(messages: list[Message]) -> None:
    assert len({m.target_address for m in only(messages, ArpMessage) if m.operation == 1}) >= 255


def _browsing(messages: list[Message]) -> None:
    assert len(only(messages, HttpRequest)) > 10


CAPTURES: dict[str, Callable[[list[Message]], None]] = {
    "tls_expired_cert": _expired,
    "brute_ftp": _ftp,
    "brute_ssh_zeek": _ssh,
    "web_log4shell": _log4shell,
    "web_sqli": _injection,
    "lateral_zerologon": _zerologon,
    "ipv6_ra_kill_router": _router,
    "flood_dhcp_starvation": _starvation,
    "dns_tunnel_iodine": _iodine,
    "icmp_tunnel": _echoes,
    "c2_beacon_periodic_2s": _beacon,
    "scan_arp_sweep": _sweep,
    "benign_weibo_browsing": _browsing,
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_capture_says_what_it_is_known_to_say(name: str) -> None:
    path = Path(os.environ.get("GOVSEC_CAPTURES", "captures")) / f"{name}.pcap"
    if not path.exists():
        pytest.skip(f"capture {path.name} is not there (GOVSEC_CAPTURES names the folder)")

    messages, counters = dissect_file(path)

    assert (counters["malformed_packets"], counters["malformed_flows"]) == (0, 0)
    CAPTURES[name](messages)
