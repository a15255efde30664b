"""YAML of packs and tables: a strict subset, read fast, in which every value knows its line.

The subset is what a reviewer can read without surprises: one document of mappings, lists and scalars. Anchors, aliases
and tags are refused (so no alias can grow), a key written twice is refused, and plain ``yes``, ``no``, ``on`` and
``off`` are refused because YAML 1.1 and 1.2 disagree on them. ``true`` and ``false`` are the only booleans; dates stay
text. Errors are ``file:line: what``.

It reads the events of libyaml's parser (PyYAML's own composer takes twenty times as long, and marks no values).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import yaml
from pydantic import JsonValue, ValidationError

from govsec.errors import ConfigurationError

#: Where a value stands in a document: mapping keys and list positions from the root.
Path: TypeAlias = tuple[str | int, ...]
#: A pack has some thousand values; its largest file some hundred kilobytes.
SIZE_MAX = 1 << 20
_VALUES_MAX = 100_000
_DEPTH_MAX = 20
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{1,17}")
_AMBIGUOUS = frozenset({"yes", "no", "on", "off", "y", "n"})
_CONSTANTS: dict[str, JsonValue] = {"": None, "~": None, "null": None, "true": True, "false": False}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and on which line it says it."""

    name: str
    value: JsonValue
    lines: dict[Path, int]

    def where(self, path: Sequence[str | int]) -> str:
        """``file:line`` of the value at ``path``, or of the nearest value around it.

        Steps that are no key of the document (a model's tag, say) are passed over.
        """
        found: Path = ()
        for step in path:
            if (*found, step) in self.lines:
                found = (*found, step)
        return f"{self.name}:{self.lines.get(found, 1)}"

    def explain(self, error: ValidationError) -> str:
        """What a model found wrong, with lines and without the values."""
        parts = []
        for item in error.errors(include_url=False, include_input=False)[:10]:
            where = ".".join(str(step) for step in item["loc"]) or "(top level)"
            parts.append(f"{self.where(item['loc'])}: {where}: {item['msg']}")
        return "; ".join(parts)


def read_document(data: bytes, name: str) -> Document:
    """The one document in ``data``; ``name`` stands for it in errors.

    Raises:
        ConfigurationError: with name and line: too large, not YAML, or not in the subset.
    """
    if len(data) > SIZE_MAX:
        raise ConfigurationError(f"{name}: larger than {SIZE_MAX} bytes")
    try:
        return _Composer(name).compose(data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{name}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}: not YAML: {' '.join(str(error).split())[:200]}") from error


class _Composer:
    """Builds values from events; one for each document."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[Path, int] = {}

    def compose(self, data: bytes) -> Document:
        # One event at a time: a megabyte of brackets must meet the limit on depth before it is a million objects.
        self._events = (event for event in yaml.parse(data, Loader=_LOADER) if isinstance(event, _KEPT))
        first = next(self._events, None)
        if first is None:
            raise ConfigurationError(f"{self._name}: empty")
        value = self._value(first, ())
        for event in self._events:
            raise self._error(event, "a second document")
        return Document(self._name, value, self._lines)

    def _value(self, event: yaml.Event, path: Path) -> JsonValue:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._error(event, "anchors and aliases are refused")
        if len(path) > _DEPTH_MAX:
            raise self._error(event, f"nested deeper than {_DEPTH_MAX} levels")
        if len(self._lines) >= _VALUES_MAX:
            raise self._error(event, f"more than {_VALUES_MAX} values")
        self._lines[path] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.CollectionStartEvent) and event.tag is not None:
            raise self._error(event, f"tag {event.tag[:60]} is refused")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _mapping(self, path: Path) -> JsonValue:
        found: dict[str, JsonValue] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise self._error(event, "a key is plain text")
            if event.value in found:
                raise self._error(event, f"key {event.value[:60]!r} is written twice")
            found[event.value] = self._value(next(self._events), (*path, event.value))
        return found

    def _sequence(self, path: Path) -> JsonValue:
        found: list[JsonValue] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> JsonValue:
        text: str = event.value
        if event.tag is not None:
            raise self._error(event, f"tag {str(event.tag)[:60]} is refused")
        if event.style:  # quoted, or a block
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text.lower() in _AMBIGUOUS:
            raise self._error(event, f"quote {text!r}, or write true or false")
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else text

    def _error(self, event: yaml.Event, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name}:{_line(event)}: {what}")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


#: All others frame the stream and its documents.
_KEPT = (
    yaml.AliasEvent,
    yaml.ScalarEvent,
    yaml.MappingStartEvent,
    yaml.MappingEndEvent,
    yaml.SequenceStartEvent,
    yaml.SequenceEndEvent,
)
