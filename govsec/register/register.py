"""The register of systems (台账): one entry a system, from the configuration or from a file of its own.

A site that backs systems up has them in its configuration, with the register's part under ``systems[].register``. An
office that only keeps the register has a file of its own (YAML)::

    version: 1
    systems:
      - name: portal
        title: 门户网站
        objectives: {rpo_s: 3600, rto_s: 14400}
        jobs: [files, database]
        register: {owner: …, level: 3, …}

Both become the same :class:`Register`; spreadsheets are :mod:`govsec.register.sheetwriter` and
:mod:`govsec.register.sheetreader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from govsec.config import Config, Model, Name, Objectives, explain, read_yaml
from govsec.errors import ConfigurationError, UsageError
from govsec.registerentry import Named, RegisterEntry, Short

SYSTEMS_MAX = 10_000


class System(Model):
    """One system with everything the register's rules look at."""

    name: Name
    title: Short = ""
    #: None where nobody has set any.
    objectives: Objectives | None = None
    #: Names of the backup jobs that are configured.
    jobs: Annotated[tuple[Named, ...], Field(max_length=100)] = ()
    entry: RegisterEntry = Field(default_factory=RegisterEntry, alias="register")

    def label(self) -> str:
        """The name, and the title where there is one."""
        return f"{self.name} ({self.title})" if self.title else self.name


class Register(Model):
    """Every system, in the order in which they were written."""

    version: Literal[1] = 1
    systems: Annotated[tuple[System, ...], Field(max_length=SYSTEMS_MAX)] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Register:
        names = [system.name for system in self.systems]
        if len(set(names)) != len(names):
            raise ValueError("two systems have the same name")
        return self

    def __len__(self) -> int:
        return len(self.systems)

    def each(self) -> Iterator[System]:
        """The systems, one by one."""
        return iter(self.systems)

    def system(self, name: str) -> System:
        """The system of that name.

        Raises:
            UsageError: there is none.
        """
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems[:20])
        raise UsageError(f"the register has no system {name[:80]!r}; it has: {known or 'none'}")

    def plain(self) -> dict[str, Any]:
        """The register as plain values, ready for YAML or JSON; what nobody has set is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True) | {"version": 1}


def register_of(config: Config) -> Register:
    """The register in a configuration."""
    return Register(
        systems=tuple(
            System(
                name=system.name,
                title=system.title,
                objectives=system.objectives if "objectives" in system.model_fields_set else None,
                jobs=tuple(job.name for job in system.backups),
                register=system.register_,
            )
            for system in config.systems
        )
    )


def load_register(path: Path) -> Register:
    """The register in a file of its own.

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    value = read_yaml(path)
    try:
        return Register.model_validate(value)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {explain(error)}") from error


def merge(register: Register, newer: Register) -> tuple[Register, tuple[str, ...]]:
    """``register`` with the systems of ``newer`` in place of those of the same name, new ones behind; and what changed.

    What stands beside the entry (jobs) stays where ``newer`` does not set it: a spreadsheet does not know them.
    """
    changed = []
    found = {system.name: system for system in register.systems}
    for system in newer.systems:
        before = found.get(system.name)
        if before is not None:
            fields = {
                name: getattr(before, name) for name in System.model_fields if name not in system.model_fields_set
            }
            system = system.model_copy(update=fields)
        if before != system:
            changed.append(system.name)
        found[system.name] = system
    return Register(systems=tuple(found.values())), tuple(changed)
