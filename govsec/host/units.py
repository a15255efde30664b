"""Units of systemd as they lie in its folders (systemd.unit(5)): which there are, what they start, what is switched on.

One idea: what will run at the next start stands in files, also when systemd does not run or does not answer, and in a
recorded tree. Folders of higher rank hide the same name below; pieces in ``NAME.d`` add to a unit or empty a setting of
it, so a command that was put there is seen too. Units of single users are not read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from govsec.errors import GovsecError
from govsec.host.tree import Tree

UNITS_MAX = 20_000
_UNIT_BYTES_MAX = 1 << 20
_COMMAND_BYTES_MAX = 4096
#: Highest rank first. Where /lib is a link to /usr/lib, the last one is the one before it, and adds nothing.
FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_GENERATED = "/run/systemd/generator"
_SWITCHED_IN = FOLDERS[:2]
_ASKS = ("WantedBy", "RequiredBy", "UpheldBy", "Alias")
_SWITCHES = (".wants", ".requires", ".upholds")


@dataclass(slots=True)
class Unit:
    """One unit. ``enabled`` in systemctl's words: enabled, disabled, indirect, static, masked, generated."""

    name: str
    file: str
    enabled: str
    #: Every value of every setting, in the order that they count in: ``("Service", "ExecStart")``.
    settings: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def values(self, section: str, *names: str) -> tuple[str, ...]:
        """The values of these settings, in order."""
        return tuple(value for name in names for value in self.settings.get((section, name), ()))


def read_units(
    tree: Tree, suffix: str, count_gap: Callable[[str], None], *, only: Collection[str] | None = None
) -> dict[str, Unit]:
    """The units whose names end in ``suffix``, by name; ``count_gap`` is told of each that cannot be read.

    ``only``: no others are opened.

    Raises:
        OSError: the machine has no folder of units at all.
    """
    listed = _Listed(tree)
    units: dict[str, Unit] = {}
    for name, path in listed.files.items():
        if not name.endswith(suffix) or (only is not None and name not in only):
            continue
        if len(units) >= UNITS_MAX:
            count_gap(f"more than {UNITS_MAX} units")
            continue
        try:
            target = tree.resolve(path) if _is_link(tree, path) else path
        except (OSError, GovsecError):
            # A link to nothing: /dev/null itself is not in a recorded tree.
            target = _link_text(tree, path)
        if target == "/dev/null":
            units[name] = Unit(name, path, "masked")
            continue
        if os.path.basename(target) != name and os.path.dirname(target) in FOLDERS:  # noqa: PTH119,PTH120
            continue  # another name of a unit that has its own row
        try:
            settings = _settings(tree, listed, name, target)
        except (OSError, GovsecError):
            count_gap("unit file that cannot be read")
            continue
        units[name] = Unit(name, path, _enabled(listed, name, path, settings), settings)
    return units | _instances(listed, units, suffix)


class _Listed:
    """Names of all unit folders: files by rank, the pieces of each unit, and what is switched on."""

    def __init__(self, tree: Tree) -> None:
        self.files: dict[str, str] = {}
        self.pieces: dict[str, dict[str, str]] = {}
        self.switched_on: set[str] = set()
        missing: OSError | GovsecError | None = None
        is_any = False
        for folder in FOLDERS:
            try:
                names = tree.names(folder)
            except (OSError, GovsecError) as error:
                missing = missing or error
                continue
            is_any = True
            for name in names:
                path = f"{folder}/{name}"
                if name.endswith(".d"):
                    for piece in _names(tree, path):
                        if piece.endswith(".conf"):
                            self.pieces.setdefault(name[:-2], {}).setdefault(piece, f"{path}/{piece}")
                elif name.endswith(_SWITCHES):
                    # What a package links in its own folder belongs to the unit: nobody switched it on.
                    self.switched_on.update(_names(tree, path) if folder in _SWITCHED_IN else ())
                else:
                    self.files.setdefault(name, path)
                    if folder == FOLDERS[0]:
                        # A link in /etc is made by enabling a unit that asks for another name (Alias=).
                        self._note_alias(tree, path)
        if not is_any and missing is not None:
            raise missing
        self.templates_on = {name.partition("@")[0] + "@" for name in self.switched_on if "@" in name}

    def _note_alias(self, tree: Tree, path: str) -> None:
        target = _link_text(tree, path)
        if target and target != "/dev/null":
            self.switched_on.add(os.path.basename(target))  # noqa: PTH119


def _instances(listed: _Listed, units: dict[str, Unit], suffix: str) -> dict[str, Unit]:
    """Instances of templates that are switched on: ``getty@tty1.service`` of ``getty@.service``."""
    found: dict[str, Unit] = {}
    for name in sorted(listed.switched_on):
        stem, at, _ = name.partition("@")
        template = units.get(f"{stem}@{suffix}") if at and name.endswith(suffix) else None
        if template is not None and name not in units and len(units) + len(found) < UNITS_MAX:
            found[name] = Unit(name, template.file, "enabled", template.settings)
    return found


def _enabled(listed: _Listed, name: str, path: str, settings: dict[tuple[str, str], list[str]]) -> str:
    if path.startswith(_GENERATED):
        return "generated"
    stem, at, rest = name.partition("@")
    if name in listed.switched_on:
        return "enabled"
    if at and rest.startswith(".") and f"{stem}@" in listed.templates_on:
        default = settings.get(("Install", "DefaultInstance"), [""])[-1:]
        return "enabled" if f"{stem}@{''.join(default)}{rest}" in listed.switched_on else "indirect"
    if any(settings.get(("Install", what)) for what in _ASKS):
        return "disabled"
    return "indirect" if settings.get(("Install", "Also")) else "static"


def _settings(tree: Tree, listed: _Listed, name: str, path: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    _add(found, tree.read_text(path, _UNIT_BYTES_MAX))
    pieces = listed.pieces.get(name, {})
    stem, at, rest = name.partition("@")
    if at:  # pieces of the template count for its instances
        pieces = listed.pieces.get(f"{stem}@.{rest.rsplit('.', 1)[-1]}", {}) | pieces
    for _, piece in sorted(pieces.items()):
        _add(found, tree.read_text(tree.resolve(piece), _UNIT_BYTES_MAX))
    return found


def _add(found: dict[tuple[str, str], list[str]], text: str) -> None:
    section = ""
    for line in text.replace("\\\n", " ").split("\n"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;" and "=" in line:
            name, _, value = line.partition("=")
            values = found.setdefault((section, name.strip()), [])
            if value.strip():
                values.append(value.strip()[:_COMMAND_BYTES_MAX])
            else:
                values.clear()  # an empty value takes back what was said before


def _names(tree: Tree, folder: str) -> list[str]:
    try:
        return tree.names(folder)
    except (OSError, GovsecError):
        return []


def _is_link(tree: Tree, path: str) -> bool:
    """Most units are files, and need no way to be followed part by part.

    Raises:
        OSError: it is gone.
    """
    return stat.S_ISLNK(Path(tree.place(path)).lstat().st_mode)


def _link_text(tree: Tree, path: str) -> str:
    try:
        return tree.link(path)
    except OSError:
        return ""
