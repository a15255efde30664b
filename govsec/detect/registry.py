"""All detectors, by the name that the configuration gives them, with their settings.

One idea: this table is the only place that knows which detectors there are. A new detector is a file and a line here;
its settings are then read, checked and printed with all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from govsec.detect.api import Detector
from govsec.detect.beacon import Beacon, BeaconSettings
from govsec.detect.capture_loss import CaptureLoss, CaptureLossSettings
from govsec.detect.certificate import Certificate, CertificateSettings
from govsec.detect.dhcp_servers import DhcpServers, DhcpServersSettings
from govsec.detect.dhcp_starvation import DhcpStarvation, DhcpStarvationSettings
from govsec.detect.dns_generated import DnsGenerated, DnsGeneratedSettings
from govsec.detect.exfiltration import Exfiltration, ExfiltrationSettings
from govsec.detect.flood_http import FloodHttp, FloodHttpSettings
from govsec.detect.flood_icmp import FloodIcmp, FloodIcmpSettings
from govsec.detect.flood_syn import FloodSyn, FloodSynSettings
from govsec.detect.flood_udp import FloodUdp, FloodUdpSettings
from govsec.detect.guessing_flows import GuessingFlows, GuessingFlowsSettings
from govsec.detect.guessing_logins import GuessingLogins, GuessingLoginsSettings
from govsec.detect.guessing_sessions import GuessingSessions, GuessingSessionsSettings
from govsec.detect.hosts import Networks
from govsec.detect.indicator_match import IndicatorMatch, IndicatorMatchSettings
from govsec.detect.indicators import IndicatorFiles
from govsec.detect.lateral import Lateral, LateralSettings
from govsec.detect.scan_arp import ScanArp, ScanArpSettings
from govsec.detect.scan_horizontal import ScanHorizontal, ScanHorizontalSettings
from govsec.detect.scan_icmp import ScanIcmp, ScanIcmpSettings
from govsec.detect.scan_slow import ScanSlow, ScanSlowSettings
from govsec.detect.scan_vertical import ScanVertical, ScanVerticalSettings
from govsec.detect.sensor_degraded import SensorDegraded, SensorDegradedSettings
from govsec.detect.spoof_arp import SpoofArp, SpoofArpSettings
from govsec.detect.spoof_router import SpoofRouter, SpoofRouterSettings
from govsec.detect.tunnel_dns import TunnelDns, TunnelDnsSettings
from govsec.detect.tunnel_icmp import TunnelIcmp, TunnelIcmpSettings
from govsec.detect.volume import Volume, VolumeSettings
from govsec.detect.web import Web, WebSettings
from govsec.findings.api import Settings
from govsec.findings.baseline import Baseline
from govsec.findings.configured import read_settings as configured_settings
from govsec.findings.configured import settings_schema as schema_of


@dataclass(frozen=True, slots=True)
class Site:
    """What detectors need to know of the site they work for."""

    home: Networks
    baseline: Baseline
    indicator_lists: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A detector: the model of its settings, and how it is made."""

    settings: type[Settings]
    build: Callable[[Any, Site], Detector]


def _match(settings: IndicatorMatchSettings, site: Site) -> Detector:
    return IndicatorMatch(settings, IndicatorFiles(site.indicator_lists, ttl_s=settings.ttl_s))


DETECTORS: Mapping[str, Entry] = {
    "scan_vertical": Entry(ScanVerticalSettings, lambda settings, site: ScanVertical(settings, site.home)),
    "scan_horizontal": Entry(ScanHorizontalSettings, lambda settings, site: ScanHorizontal(settings, site.home)),
    "scan_slow": Entry(ScanSlowSettings, lambda settings, site: ScanSlow(settings, site.home)),
    "scan_icmp": Entry(ScanIcmpSettings, lambda settings, site: ScanIcmp(settings, site.home)),
    "scan_arp": Entry(ScanArpSettings, lambda settings, site: ScanArp(settings, site.home)),
    "spoof_arp": Entry(SpoofArpSettings, lambda settings, _: SpoofArp(settings)),
    "spoof_router": Entry(SpoofRouterSettings, lambda settings, _: SpoofRouter(settings)),
    "dhcp_servers": Entry(DhcpServersSettings, lambda settings, _: DhcpServers(settings)),
    "dhcp_starvation": Entry(DhcpStarvationSettings, lambda settings, _: DhcpStarvation(settings)),
    "flood_syn": Entry(FloodSynSettings, lambda settings, _: FloodSyn(settings)),
    "flood_udp": Entry(FloodUdpSettings, lambda settings, _: FloodUdp(settings)),
    "flood_icmp": Entry(FloodIcmpSettings, lambda settings, _: FloodIcmp(settings)),
    "flood_http": Entry(FloodHttpSettings, lambda settings, _: FloodHttp(settings)),
    "beacon": Entry(BeaconSettings, lambda settings, site: Beacon(settings, site.home)),
    "guessing_flows": Entry(GuessingFlowsSettings, lambda settings, _: GuessingFlows(settings)),
    "guessing_logins": Entry(GuessingLoginsSettings, lambda settings, _: GuessingLogins(settings)),
    "guessing_sessions": Entry(GuessingSessionsSettings, lambda settings, _: GuessingSessions(settings)),
    "tunnel_dns": Entry(TunnelDnsSettings, lambda settings, _: TunnelDns(settings)),
    "tunnel_icmp": Entry(TunnelIcmpSettings, lambda settings, _: TunnelIcmp(settings)),
    "dns_generated": Entry(DnsGeneratedSettings, lambda settings, _: DnsGenerated(settings)),
    "lateral": Entry(LateralSettings, lambda settings, _: Lateral(settings)),
    "web": Entry(WebSettings, lambda settings, _: Web(settings)),
    "certificate": Entry(CertificateSettings, lambda settings, _: Certificate(settings)),
    "exfiltration": Entry(
        ExfiltrationSettings, lambda settings, site: Exfiltration(settings, site.home, site.baseline)
    ),
    "volume": Entry(VolumeSettings, lambda settings, site: Volume(settings, site.home, site.baseline)),
    "indicator_match": Entry(IndicatorMatchSettings, _match),
    "capture_loss": Entry(CaptureLossSettings, lambda settings, _: CaptureLoss(settings)),
    "sensor_degraded": Entry(SensorDegradedSettings, lambda settings, _: SensorDegraded(settings)),
}


_MODELS = {name: entry.settings for name, entry in DETECTORS.items()}


def read_settings(configured: Mapping[str, Mapping[str, JsonValue]]) -> dict[str, Settings]:
    """The settings of all detectors, ``configured`` in place of defaults.

    Raises:
        ConfigurationError: no such detector, no such setting, or a value out of its bounds; names it.
    """
    return configured_settings("monitor.detectors", _MODELS, configured)


def build_detectors(configured: Mapping[str, Mapping[str, JsonValue]], site: Site) -> list[Detector]:
    """All enabled detectors, in the order of the table.

    Raises:
        ConfigurationError: as :func:`read_settings`; or a list of indicators cannot be read.
    """
    settings = read_settings(configured)
    return [DETECTORS[name].build(settings[name], site) for name in DETECTORS if settings[name].enabled]


def settings_schema() -> dict[str, Any]:
    """JSON Schema of ``monitor.detectors``."""
    return schema_of(_MODELS)
