"""Filling a Word form in a child process with limits: a form is somebody's program (:mod:`govsec.report.docxchild`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from govsec.errors import ConfigurationError
from govsec.report.catalog import plain
from govsec.report.office import office_extra, settle

_LENGTH_BYTES = 8
#: Processor time for a form: the shipped ones take about one second.
CPU_S = 40
#: A machine may be busy; what waits without working ends too.
_PATIENCE_S = 60


def fill_form(form: bytes, values: Mapping[str, Any], moment: datetime, *, cpu_s: int = CPU_S) -> bytes:
    """``form`` with ``values`` put in, every part dated ``moment``: same form, same values, same bytes.

    Raises:
        ConfigurationError: the extra ``office`` is not installed, or the form cannot be filled: no Word document, an
            expression that fails, something that is not allowed in it, or more memory or time than a form needs.
    """
    if find_spec("docxtpl") is None:
        with office_extra():
            raise ModuleNotFoundError("docxtpl", name="docxtpl")
    return settle(_filled(form, values, cpu_s), moment)


def _filled(form: bytes, values: Mapping[str, Any], cpu_s: int) -> bytes:
    told = json.dumps(values).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "govsec.report.docxchild", str(cpu_s)],
            input=len(told).to_bytes(_LENGTH_BYTES, "big") + told + form,
            capture_output=True,
            timeout=cpu_s + _PATIENCE_S,
            check=False,
            env={"LANG": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"the Word template was not filled in {cpu_s + _PATIENCE_S} s") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() if done.returncode == 1 else []
        reason = plain(said[-1][:400]) if said else "it ran into the limits of time or memory"
        raise ConfigurationError(f"the Word template cannot be filled: {reason}")
    return done.stdout
