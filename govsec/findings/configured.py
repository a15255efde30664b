"""Settings of detectors as a configuration has them: each detector's own model, whatever room it is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from govsec.config import explain
from govsec.errors import ConfigurationError
from govsec.findings.api import Settings


def read_settings(
    section: str, models: Mapping[str, type[Settings]], configured: Mapping[str, Mapping[str, JsonValue]]
) -> dict[str, Settings]:
    """The settings of all detectors, ``configured`` in place of defaults; ``section`` is where they stand.

    Raises:
        ConfigurationError: no such detector, no such setting, or a value out of its bounds; names it.
    """
    for name in configured:
        if name not in models:
            raise ConfigurationError(f"{section}.{name}: no such detector; there are {', '.join(models)}")
    settings = {}
    for name, model in models.items():
        try:
            settings[name] = model.model_validate(configured.get(name, {}))
        except ValidationError as error:
            raise ConfigurationError(f"{section}.{name}: {explain(error)}") from error
    return settings


def settings_schema(models: Mapping[str, type[Settings]]) -> dict[str, Any]:
    """JSON Schema of the section."""
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "settings of the detectors, in place of their own",
        "properties": {name: model.model_json_schema() for name, model in models.items()},
    }
