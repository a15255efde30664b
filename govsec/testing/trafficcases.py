"""All attacks with their benign twins, in one table, for tests of detectors and rates of false alarms.

A case names the finding that its attack must give; its twin must give none. Builders take a seeded ``Random``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from govsec.testing import (
    trafficfloods,
    trafficlan,
    trafficlogins,
    trafficscans,
    trafficsmb,
    traffictls,
    traffictunnels,
    trafficweb,
)
from govsec.testing.packets import Frame, Station

Builder = Callable[[Random], list[Frame]]


@dataclass(frozen=True, slots=True)
class Case:
    """One attack: the kind of its finding, who does it, and the twin that looks like it."""

    name: str
    kind: str
    culprit: Station
    attack: Builder
    twin: Builder


def build(builder: Builder, seed: int = 1) -> list[Frame]:
    """The traffic of one builder; the same seed gives the same bytes."""
    return builder(Random(seed))  # noqa: S311 - traffic is to be the same again


_PORTAL = Station("198.51.100.90", "02:00:00:00:0a:01")
_FLOOD_VICTIM = trafficfloods.WEB_SERVER
_ATTACKER = trafficfloods.ATTACKER
_SCANNER, _INTRUDER, _GUESSER = trafficscans.SCANNER, trafficlan.INTRUDER, trafficlogins.GUESSER
_INFECTED, _WEB = traffictunnels.INFECTED, trafficweb.ATTACKER

#: ``culprit`` is the victim where the sources are forged, and the server for certificates.
CASES: tuple[Case, ...] = (
    Case("vertical", "net.scan.vertical", _SCANNER, trafficscans.vertical_scan, trafficscans.service_check),
    Case("horizontal", "net.scan.horizontal", _SCANNER, trafficscans.horizontal_scan, trafficscans.fleet_round),
    Case("slow", "net.scan.slow", _SCANNER, trafficscans.slow_scan, trafficscans.lost_printer),
    Case("sweep", "net.scan.icmp", _SCANNER, trafficscans.icmp_scan, trafficscans.ping_monitor),
    Case("arp-scan", "net.scan.arp", _INTRUDER, trafficlan.arp_scan, trafficlan.arp_refresh),
    Case("syn-flood", "net.flood.syn", _FLOOD_VICTIM, trafficfloods.syn_flood, trafficfloods.busy_server),
    Case("udp-flood", "net.flood.udp", _ATTACKER, trafficfloods.udp_flood, trafficfloods.video_call),
    Case("icmp-flood", "net.flood.icmp", _ATTACKER, trafficfloods.icmp_flood, trafficfloods.impatient_ping),
    Case("http-flood", "net.flood.http", _FLOOD_VICTIM, trafficfloods.http_flood, trafficfloods.page_visits),
    Case("arp-spoofing", "net.spoof.arp", _INTRUDER, trafficlan.arp_spoofing, trafficlan.arp_refresh),
    Case("rogue-dhcp", "net.spoof.dhcp", trafficlan.ROGUE_SERVER, trafficlan.rogue_dhcp, trafficlan.dhcp_morning),
    Case("router", "net.spoof.router", _INTRUDER, trafficlan.router_spoofing, trafficlan.router_routine),
    Case("starvation", "net.starvation.dhcp", _INTRUDER, trafficlan.dhcp_starvation, trafficlan.dhcp_morning),
    Case("dns-tunnel", "net.tunnel.dns", _INFECTED, traffictunnels.dns_tunnel, traffictunnels.ordinary_lookups),
    Case("generated", "net.dns.generated", _INFECTED, traffictunnels.generated_names, traffictunnels.ordinary_lookups),
    Case("icmp-tunnel", "net.tunnel.icmp", _INFECTED, traffictunnels.icmp_tunnel, traffictunnels.path_probe),
    Case("beacon", "net.beacon.periodic", _INFECTED, traffictunnels.beacon, traffictunnels.human_browsing),
    Case("jitter", "net.beacon.periodic", _INFECTED, traffictunnels.jittered_beacon, traffictunnels.human_browsing),
    Case("udp-beacon", "net.beacon.periodic", _INFECTED, traffictunnels.udp_beacon, traffictunnels.human_browsing),
    Case(
        "exfiltration", "net.exfiltration.volume", _INFECTED, traffictunnels.exfiltration, traffictunnels.large_download
    ),
    Case("unknown-port", "net.guessing.flows", _GUESSER, trafficlogins.unknown_port_guessing, trafficlogins.ssh_work),
    Case("ssh", "net.guessing.ssh", _GUESSER, trafficlogins.ssh_guessing, trafficlogins.ssh_work),
    Case("spread-ssh", "net.guessing.ssh", _GUESSER, trafficlogins.spread_ssh_guessing, trafficlogins.ssh_errands),
    Case("ftp", "net.guessing.ftp", _GUESSER, trafficlogins.ftp_guessing, trafficlogins.ftp_work),
    Case("rdp", "net.guessing.rdp", _GUESSER, trafficlogins.rdp_guessing, trafficlogins.rdp_work),
    Case("smb", "net.guessing.smb", _SCANNER, trafficlogins.smb_guessing, trafficlogins.smb_work),
    Case("http", "net.guessing.http", _GUESSER, trafficlogins.http_guessing, trafficlogins.http_work),
    Case("shares", "net.lateral.shares", trafficsmb.INTRUDER, trafficsmb.admin_shares, trafficsmb.domain_routine),
    Case("service", "net.lateral.service", trafficsmb.INTRUDER, trafficsmb.service_creation, trafficsmb.domain_routine),
    Case("netlogon", "net.lateral.netlogon", trafficsmb.INTRUDER, trafficsmb.netlogon_abuse, trafficsmb.domain_routine),
    Case("sql", "net.web.injection", _WEB, trafficweb.sql_injection, trafficweb.web_reading),
    Case("script", "net.web.injection", _WEB, trafficweb.script_injection, trafficweb.web_reading),
    Case("traversal", "net.web.traversal", _WEB, trafficweb.path_traversal, trafficweb.web_reading),
    Case("jndi", "net.web.jndi", _WEB, trafficweb.jndi_lookup, trafficweb.web_reading),
    Case("web-scanner", "net.web.scanner", _WEB, trafficweb.web_scanner, trafficweb.web_reading),
    Case("expired", "net.certificate.expired", _PORTAL, traffictls.expired_certificate, traffictls.good_certificate),
    Case("expiring", "net.certificate.expiring", _PORTAL, traffictls.expiring_certificate, traffictls.good_certificate),
    Case(
        "self", "net.certificate.self_signed", _PORTAL, traffictls.self_signed_certificate, traffictls.good_certificate
    ),
    Case(
        "mismatch", "net.certificate.mismatch", _PORTAL, traffictls.mismatched_certificate, traffictls.good_certificate
    ),
    Case(
        "sm2", "net.certificate.expired", _PORTAL, traffictls.expired_sm2_certificate, traffictls.good_sm2_certificate
    ),
)
