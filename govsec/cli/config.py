"""``govsec config``: the schema of the configuration, a check of it, and what is in force."""

from __future__ import annotations

import argparse
import json

from govsec.cli import frame


def register(parser: frame.Parser) -> None:
    """Add the verbs ``schema``, ``check`` and ``show``."""
    verbs = frame.verbs_of(parser)
    frame.add_verb(
        verbs,
        "schema",
        run_schema,
        "print the JSON Schema of the configuration",
        examples=["govsec config schema > govsec.schema.json    # for editors that complete and check YAML"],
    )
    frame.add_verb(
        verbs,
        "check",
        run_check,
        "read the configuration and the recovery plans that it names, and say what is wrong with them",
        examples=["govsec config check --config ./govsec.yaml"],
    )
    frame.add_verb(
        verbs,
        "show",
        run_show,
        "print the configuration in force, defaults included (it holds no secrets)",
        examples=["govsec config show --json | jq .systems"],
    )


def run_schema(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the JSON Schema."""
    from govsec.assemble.agentguard import GuardModuleSettings
    from govsec.assemble.agenthost import GUARD, METRICS
    from govsec.assemble.agentmetrics import MetricsSettings
    from govsec.config import Config
    from govsec.detect.registry import settings_schema
    from govsec.guard.registry import settings_schema as guard_schema
    from govsec.guard.sampling import SamplingSettings
    from govsec.host.settings import SweepSettings
    from govsec.net.evidence import EvidenceOptions
    from govsec.net.live import LiveOptions

    schema = Config.model_json_schema()
    # Each detector's settings stand in its own file; the configuration's model knows only that there are some.
    monitor = schema["$defs"]["MonitorConfig"]["properties"]
    monitor["detectors"] = settings_schema()
    monitor["live"], monitor["evidence"] = LiveOptions.model_json_schema(), EvidenceOptions.model_json_schema()
    guard = schema["$defs"]["GuardConfig"]["properties"]
    guard["detectors"], guard["sampling"] = guard_schema(), SamplingSettings.model_json_schema()
    guard["sweeps"] = SweepSettings.model_json_schema()
    # What a module of an agent takes stands with the module.
    modules = schema["$defs"]["AgentConfig"]["properties"]["modules"]
    modules["properties"] = {}
    for name, model in ((GUARD, GuardModuleSettings), (METRICS, MetricsSettings)):
        settings = model.model_json_schema()
        schema["$defs"] |= settings.pop("$defs", {})
        modules["properties"][name] = {
            "allOf": [{"$ref": "#/$defs/AgentModuleConfig"}, {"properties": {"settings": settings}}]
        }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    io.result(schema, lambda: json.dumps(schema, ensure_ascii=False, indent=2))
    return 0


def run_check(args: argparse.Namespace, io: frame.IO) -> int:
    """Read the configuration, its detectors, agents and plans; what is wrong leaves as ``ConfigurationError``."""
    from govsec.assemble.agent import check_agents
    from govsec.assemble.plans import plans_of
    from govsec.assemble.systems import Site
    from govsec.detect.registry import read_settings
    from govsec.guard.registry import read_settings as read_guard_settings

    config = io.config()
    read_settings(config.monitor.detectors)
    read_guard_settings(config.guard.detectors)
    check_agents(config)
    # Found here and not in the night of the drill.
    plans = plans_of(Site(config, io.clock))
    facts = {
        "config": str(io.config_path),
        "centers": sorted(config.centers),
        "systems": [system.name for system in config.systems],
        "plans": [plan.name for plan in plans],
    }
    counts = f"{len(config.centers)} centers, {len(config.systems)} systems, {len(plans)} plans"
    io.result(facts, f"{io.config_path}: good ({counts})")
    return 0


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the configuration with every default written out."""
    import yaml

    plain = io.config().model_dump(mode="json", by_alias=True)
    io.result(plain, lambda: yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))
    return 0
