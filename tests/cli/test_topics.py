"""Every topic that `govsec --help` names is there."""

from __future__ import annotations

import importlib

import pytest

from govsec.cli.main import TOPICS, main


def test_every_topic_of_the_list_has_a_module_that_registers_verbs_with_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for topic in TOPICS:
        assert callable(importlib.import_module(f"govsec.cli.{topic}").register)
        assert main([topic, "--help"]) == 0
        assert f"usage: govsec {topic}" in capsys.readouterr().out
