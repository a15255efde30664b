"""How a system is watched, for :mod:`govsec.policy.watching`: trials of the ledger, the agent that answers now.

What cannot be asked is missing by name. That no agent answers is itself an answer: nobody watches.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from pydantic import JsonValue

from govsec import canonical
from govsec.agent.control import ask_agent
from govsec.agent.plans import control_path
from govsec.assemble.systems import Site
from govsec.assemble.trialrecord import PastTrial, is_here, past_trials
from govsec.config import Config, SystemConfig
from govsec.errors import GovsecError, HostUnreachableError
from govsec.policy.watching import TrialFact, WatchingFacts

_SERVICES = "services"
_RUNNING = ("running", "throttled")
#: A module that has been silent for so long does not ask anybody; its budget ends it at the same age.
_SILENT_S_MAX = 120.0
_ANSWER_S = 30.0


def watching_facts(site: Site, system: SystemConfig, level: int) -> WatchingFacts:
    """Everything about one system that can be asked from here. Never raises for what cannot be: it is missing then."""
    missing: dict[str, str] = {}
    trials: tuple[TrialFact, ...] | None = ()
    # Without centers there is no ledger that could hold a trial.
    if site.config.centers:
        try:
            trials = tuple(_fact(past) for past in past_trials(site, system))
        except GovsecError as error:
            trials, missing["trials"] = None, str(error)
    is_watching: bool | None = None
    digest = ""
    if trials:
        try:
            status = ask_agent(control_path(site.config.agent.run_dir, "host"), {"ask": "status"}, _ANSWER_S)
            is_watching, digest = _asks_services(status), hashlib.sha256(canonical.dumps(status)).hexdigest()
        except HostUnreachableError:
            is_watching = False
        except (GovsecError, ValueError) as error:
            missing["agent host"] = str(error)
    return WatchingFacts(
        system=system.name,
        now=site.clock.now(),
        level=level,
        hosts=system.register_.hosts,
        borders=system.register_.borders,
        trials=trials,
        is_watching=is_watching,
        watched=watched_hosts(site.config, system),
        status_digest=digest,
        missing=missing,
    )


def watched_hosts(config: Config, system: SystemConfig) -> frozenset[str]:
    """The registered hosts that some service of the configuration is asked at; this machine is watched by its agent."""
    asked: set[str] = set()
    for service in config.services:
        asked |= {urlsplit(url).hostname or "" for url in service.urls()}
        asked |= {certificate.host.lower() for certificate in service.certificates}
    found = set()
    for name in system.register_.hosts:
        address = config.hosts[name].address if name in config.hosts else ""
        if is_here(config, name) or {name.lower(), address.lower()} & asked - {""}:
            found.add(name)
    return frozenset(found)


def _asks_services(status: dict[str, JsonValue]) -> bool:
    modules = status.get("modules")
    module = modules.get(_SERVICES) if isinstance(modules, dict) else None
    if not isinstance(module, dict) or module.get("state") not in _RUNNING:
        return False
    silent_s = module.get("silent_s")
    return isinstance(silent_s, int | float) and silent_s <= _SILENT_S_MAX


def _fact(past: PastTrial) -> TrialFact:
    trial, said = past.trial, past.acknowledgement
    return TrialFact(
        id=trial.id,
        agent=trial.agent,
        host=trial.host,
        machine=trial.machine,
        began=trial.began,
        ended=trial.ended,
        is_passed=trial.is_passed,
        is_delivered=trial.is_delivered,
        digest=past.entry.digest,
        acknowledged=past.acknowledged,
        acknowledged_by=said.by if said is not None else "",
        has_specimen=trial.specimen is not None,
        case=said.case.id if said is not None and said.case is not None else "",
    )
