"""Reads the tables that came with govsec (``policies/``) into models."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from govsec.errors import ConfigurationError
from govsec.yamllines import read_document

_T = TypeVar("_T")


def shipped(folder: str) -> Traversable:
    """The folder of that name among the data that came with govsec."""
    return importlib.resources.files("govsec_policies").joinpath(folder)


def read_table(file: Traversable, shape: TypeAdapter[_T]) -> _T:
    """What a table says, in its shape.

    Raises:
        ConfigurationError: with file and line, and what is wrong there.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    document = read_document(data, str(file))
    try:
        return shape.validate_python(document.value)
    except ValidationError as error:
        raise ConfigurationError(document.explain(error)) from error
