"""What the configuration says of findings and cases, as the rules that the intake follows; and words for titles."""

from __future__ import annotations

from collections.abc import Callable

from govsec.config import Config
from govsec.errors import ConfigurationError, UsageError
from govsec.incident.desk import Desk
from govsec.incident.placing import PlacingRules, ServiceRule
from govsec.incidententry import ServiceDutyConfig
from govsec.records import Finding, Severity
from govsec.registerentry import SystemKind
from govsec.report.agent import spooled_finding
from govsec.report.catalog import Lang
from govsec.serviceentry import ServiceConfig


def placing_rules(config: Config, desk: Desk) -> PlacingRules:
    """The rules of this site.

    Raises:
        ConfigurationError: a service that is not there, or a fact that the rules do not know or read.
    """
    duty = config.incident.duty
    known = {service.name: service for service in config.services}
    strangers = sorted(set(duty.services) - set(known))
    if strangers and known:
        raise ConfigurationError(
            f"incident.duty.services: there is no service {strangers[0]}; there are {', '.join(sorted(known))}"
        )
    # The services may be asked by an agent with a configuration of its own: then only what stands here is known.
    names = {**dict.fromkeys(known), **dict.fromkeys(duty.services)}
    for name, entry in duty.services.items():
        try:
            desk.check(entry.facts)
        except UsageError as error:
            raise ConfigurationError(f"incident.duty.services.{name}.facts: {error}") from error
    rules = {name: _rule(name, known.get(name), duty.services.get(name, ServiceDutyConfig())) for name in names}
    return PlacingRules(open_from=Severity[duty.open_from.upper()], services=rules)


def title_of(lang: Lang) -> Callable[[Finding], str]:
    """The first line of a finding's words."""

    def title(finding: Finding) -> str:
        return " ".join(spooled_finding(finding, lang).partition("\n")[0].split()) or finding.kind

    return title


def _rule(name: str, service: ServiceConfig | None, entry: ServiceDutyConfig) -> ServiceRule:
    is_portal = service is not None and service.kind is SystemKind.PORTAL
    down = entry.down or ("portal_down_h" if is_portal else None)
    return ServiceRule(entry.system or name, down, frozenset(entry.home_pages), entry.facts)
