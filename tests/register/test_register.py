"""The register from a configuration and from a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from govsec.config import load_config
from govsec.errors import ConfigurationError, UsageError
from govsec.register.register import load_register, register_of
from govsec.registerentry import HostRole, RegisterEntry
from tests.register.registers import register, system


def test_the_configuration_is_a_register(tmp_path: Path) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text(
        "systems:\n"
        "  - name: portal\n    title: 门户\n    objectives: {rpo_s: 600}\n"
        "    backups: [{name: files, source: {kind: files, paths: [/srv]}}]\n"
        "    register: {owner: 局, level: 3}\n"
        "  - name: bare\n",
        encoding="utf-8",
    )

    portal, bare = register_of(load_config(path)).systems

    assert (portal.label(), portal.jobs, portal.entry.owner) == ("portal (门户)", ("files",), "局")
    assert portal.objectives is not None and portal.objectives.rpo_s == 600
    # A default that nobody agreed to is no objective.
    assert bare.objectives is None and bare.label() == "bare"


def test_a_register_in_a_file_of_its_own_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = register(system())
    path = tmp_path / "register.yaml"
    path.write_text(yaml.safe_dump(whole.plain(), allow_unicode=True), encoding="utf-8")

    assert load_register(path) == whole


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: 2", "version"),
        ("systems: [{name: a}, {name: a}]", "same name"),
        ("systems: [{name: A}]", "systems.0.name"),
        ("systems: [{name: a, backups: []}]", "systems.0.backups"),
    ],
)
def test_a_wrong_register_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "register.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=f"{path}: .*{complaint}"):
        load_register(path)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"hosts": ["a"], "borders": ["b"]}, "borders: b is not among hosts"),
        ({"hosts": ["a"], "security_hosts": ["b"]}, "security_hosts: b is not among hosts"),
        ({"hosts": ["a"], "borders_are_all": True}, "borders names none"),
        ({"hosts": ["a"], "security_are_all": True}, "names one"),
    ],
)
def test_a_border_is_a_host_of_its_system(entry: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        RegisterEntry.model_validate(entry)


def test_every_border_is_a_security_device() -> None:
    entry = RegisterEntry(hosts=("a", "b", "c"), borders=("a",), borders_are_all=True, security_hosts=("b", "a"))

    assert {role: entry.hosts_of(role) for role in HostRole} == {HostRole.BORDER: ("a",), HostRole.SECURITY: ("a", "b")}
    assert [entry.are_all(role) for role in HostRole] == [True, False]


def test_a_system_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="no system 'x'; it has: portal, cloud"):
        register(system()).system("x")
