"""The register as a file of its own, for people to read and edit; read back by ``govsec.register.register``."""

from __future__ import annotations

import yaml

from govsec.register.register import Register


def to_yaml(register: Register) -> bytes:
    """The register as YAML; what nobody has set is left out, and the order is the register's."""
    return yaml.safe_dump(register.plain(), allow_unicode=True, sort_keys=False).encode()
