"""Real captures with a known content, where somebody has put them: ``GOVSEC_CAPTURES`` names the folder.

They are of others and not shipped. The table says which detector must find what on whom in which file, and which
files must be silent; a file that is not there is skipped by name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from govsec.assemble.monitor import replay
from govsec.config import MonitorConfig
from tests.detect.observations import hosts_of

FOLDER = os.environ.get("GOVSEC_CAPTURES", "")
if not FOLDER:
    pytest.skip("no folder of real captures is named (GOVSEC_CAPTURES)", allow_module_level=True)
FINDINGS = [
    ("scan_vertical_syn.pcap", ["net.scan.vertical"], {"172.16.0.8", "64.13.134.52"}),
    ("scan_horizontal_telnet_iot.pcap", ["net.scan.horizontal"], {"192.168.2.16"}),
    ("scan_arp_sweep.pcap", ["net.scan.arp"], {"192.168.1.247"}),
    ("flood_syn_small.pcap", ["net.flood.syn"], {"192.0.2.10", "198.51.100.5"}),
    ("flood_dhcp_starvation.pcap", ["net.spoof.dhcp", "net.starvation.dhcp"], {"128.2.7.31"}),
    ("ipv6_ra_kill_router.pcap", ["net.spoof.router"], {"fe80::6600:6aff:fe5b:8eb3", "00:50:b6:19:e6:50"}),
    ("c2_beacon_periodic_2s.pcap", ["net.beacon.periodic"], {"147.32.80.37", "141.193.213.21"}),
    ("dns_tunnel_iodine.pcap", ["net.tunnel.dns"], {"10.0.2.30"}),
    ("icmp_tunnel.pcap", ["net.tunnel.icmp"], {"192.168.154.131", "192.168.154.132"}),
    ("lateral_zerologon.pcap", ["net.lateral.netlogon"], {"172.16.0.10", "172.16.5.58"}),
    ("tls_expired_cert.pcap", ["net.certificate.expired", "net.certificate.expiring"], {"87.98.220.10"}),
    ("web_log4shell.pcap", ["net.web.jndi"], {"172.16.238.1", "172.16.238.10"}),
    ("web_sqli.pcap", ["net.web.injection"], {"172.16.0.1", "192.168.10.50"}),
    ("brute_ftp.pcap", ["net.guessing.ftp"], {"192.168.56.1", "192.168.56.101"}),
    ("brute_ssh_zeek.pcap", ["net.guessing.ssh"], {"192.168.56.1", "192.168.56.103"}),
]
SILENT = ["benign_backscatter.pcap", "benign_weibo_browsing.pcap"]
#: What this table knows of; other classes have their own tests.
KINDS = {kind for _, kinds, _ in FINDINGS for kind in kinds} | {
    "net.scan.slow",
    "net.spoof.arp",
    "net.guessing.flows",
    "net.scan.icmp",
    "net.flood.udp",
    "net.flood.icmp",
    "net.flood.http",
    "net.exfiltration.volume",
    "net.volume.unusual",
}


def capture(name: str) -> Path:
    path = Path(FOLDER, name)
    if not path.exists():
        pytest.skip(f"capture {name} is not there (GOVSEC_CAPTURES)")
    return path


@pytest.mark.parametrize(
    ("name", "kinds", "hosts"), FINDINGS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_capture_gives_the_finding_of_its_class_and_no_other_of_these(
    name: str, kinds: list[str], hosts: set[str]
) -> None:
    findings = [finding for finding in replay(capture(name), MonitorConfig()).findings if finding.kind in KINDS]

    assert [finding.kind for finding in findings] == kinds
    assert hosts <= hosts_of(findings[0])


@pytest.mark.parametrize("name", SILENT)
def test_a_benign_capture_is_silent(name: str) -> None:
    assert [finding.summary for finding in replay(capture(name), MonitorConfig()).findings] == []
