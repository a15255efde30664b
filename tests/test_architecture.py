"""The map in docs/architecture.md is held: who imports whom, which library lives where, and four rules of the house.

The tables are read from the page itself, so the page cannot drift from the test. Every rule is first seen red on a
small tree that breaks it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
LINES_AIM = 300
LINES_MAX = 600


@dataclass(frozen=True)
class Map:
    """The two tables of the page."""

    rooms: dict[str, frozenset[str]]
    libraries: dict[str, tuple[str, ...]]


def read_map(text: str) -> Map:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rooms: dict[str, str] = {}
    libraries: dict[str, tuple[str, ...]] = {}
    table = ""
    for row in rows:
        if row[0] in ("room", "library"):
            table = row[0]
        elif set(row[0]) == {"-"}:
            continue
        elif table == "room":
            name = "kernel" if row[0].startswith("kernel") else row[0].strip("`")
            rooms[name] = row[2]
        elif table == "library":
            for library in re.findall(r"`([^`]+)`", row[0]):
                libraries[library] = ("",) if row[1] == "everywhere" else tuple(re.findall(r"`([^`]+)`", row[1]))
    allowed = {}
    for name, words in rooms.items():
        if words.startswith("everything but "):
            excluded = set(re.split(r",\s*", words.removeprefix("everything but ")))
            assert excluded <= set(rooms), f"{name}: unknown rooms in {words!r}"
            allowed[name] = frozenset(set(rooms) - excluded)
        else:
            allowed[name] = frozenset(set(re.split(r",\s*", words)) & set(rooms))
    return Map(allowed, libraries)


def violations(package: Path, rooms: Map) -> list[str]:
    """Every place under ``package`` (a folder ``govsec``) that breaks the map or a rule, as ``path:line: what``."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        tree = ast.parse(path.read_bytes(), filename=str(path))
        found += [f"{place}:{line}: {what}" for line, what in _judge(place, tree, package, rooms)]
    return found


def _judge(place: str, tree: ast.Module, package: Path, rooms: Map) -> Iterator[tuple[int, str]]:
    if place == "__init__.py":  # the package's door: names of all rooms, loaded when asked for (tests/test_docs.py)
        return
    room = place.split("/")[0] if "/" in place else "kernel"
    if room not in rooms.rooms:
        yield 1, f"room {room} is not in the map"
        return
    if place.endswith("/__init__.py") and not all(_is_docstring(node) for node in tree.body):
        yield 1, "holds more than a docstring"
    for node in ast.walk(tree):
        for line, module in _imported(node):
            yield from ((line, what) for what in _judge_import(place, room, module, package, rooms))
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _judge_call(place, room, node))
        # Generators of `random` may be passed in, so its name may be imported; nothing may be drawn from it.
        if isinstance(node, ast.ImportFrom) and node.module == "random" and room != "testing":
            yield node.lineno, "randomness comes from secrets"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imported(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            yield node.lineno, "."
        elif node.module == "govsec":
            yield from ((node.lineno, f"govsec.{alias.name}") for alias in node.names)
        else:
            yield node.lineno, node.module or ""


def _judge_import(place: str, room: str, module: str, package: Path, rooms: Map) -> Iterator[str]:
    top = module.split(".")[0]
    if module == ".":
        yield "relative import"
    elif top == "govsec":
        target = module.split(".")[1] if "." in module else ""
        other = target if (package / target).is_dir() and target else "kernel"
        if other != room and other not in rooms.rooms[room]:
            yield f"{room} may not import {other} ({module})"
    elif top == "time":
        if place != "clock.py":
            yield "only clock.py reads time"
    elif top not in sys.stdlib_module_names:
        if top not in rooms.libraries:
            yield f"library {top} is not in the map"
        elif not place.startswith(rooms.libraries[top]):
            yield f"library {top} belongs in {', '.join(rooms.libraries[top])}"


def _judge_call(place: str, room: str, node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    if re.fullmatch(r"(datetime\.)?(datetime|date)\.(now|utcnow|today)", called) and place != "clock.py":
        yield "only clock.py reads time"
    if called == "print" and room != "cli":
        yield "only cli prints"
    if called.startswith("random.") and room != "testing":
        yield "randomness comes from secrets"
    if called in ("os.system", "os.popen"):
        yield "nothing starts a shell"
    for keyword in node.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "shell" and not is_false:
            yield "nothing starts a shell"


@pytest.fixture(scope="module")
def rooms() -> Map:
    return read_map(PAGE.read_text(encoding="utf-8"))


def test_the_map_names_every_room_and_no_other(rooms: Map) -> None:
    folders = {path.name for path in (ROOT / "govsec").iterdir() if path.is_dir() and any(path.glob("*.py"))}

    assert folders == set(rooms.rooms) - {"kernel"}


def test_the_map_has_no_circles(rooms: Map) -> None:
    order: list[str] = []
    left = {room: set(allowed) - {"cli", "testing", "assemble", room} for room, allowed in rooms.rooms.items()}
    for room in ("cli", "testing", "assemble"):  # the three that may see (almost) everything, and that nobody may see
        assert not any(room in rooms.rooms[other] for other in left if other not in ("cli", "testing", "assemble"))
        del left[room]
    while left:
        free = sorted(room for room, needs in left.items() if needs <= set(order))
        assert free, f"circle among {sorted(left)}"
        order += free
        left = {room: needs for room, needs in left.items() if room not in free}


def test_every_module_keeps_to_the_map_and_the_rules(rooms: Map) -> None:
    assert len(list((ROOT / "govsec").rglob("*.py"))) > 30, "hardly any module was looked at"
    assert violations(ROOT / "govsec", rooms) == []


def test_modules_stay_short_enough_to_be_read_at_a_sitting(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_bytes().splitlines())
        for path in (ROOT / "govsec").rglob("*.py")
    }
    long = {place: count for place, count in sorted(sizes.items()) if count > LINES_AIM}
    with capsys.disabled():
        for place, count in long.items():
            sys.stdout.write(f"\nnote: {place} has {count} lines; do two ideas live there? (aim {LINES_AIM})")

    assert {place: count for place, count in long.items() if count > LINES_MAX} == {}


@pytest.mark.parametrize(
    ("place", "code", "complaint"),
    [
        ("store/bad.py", "from govsec.repo.pack import Pack", "store may not import repo"),
        ("store/bad.py", "from govsec import repo", "store may not import repo"),
        ("store/bad.py", "import govsec.repo.pack", "store may not import repo"),
        ("store/bad.py", "def later():\n    from govsec.repo import pack", "store may not import repo"),
        ("errors.py", "from govsec.store import api", "kernel may not import store"),
        ("drill/bad.py", "from govsec.testing import clock", "drill may not import testing"),
        ("store/bad.py", "from . import api", "relative import"),
        ("store/other.py", "import boto3", "library boto3 belongs in store/s3"),
        ("repo/bad.py", "from cryptography.hazmat import primitives", "library cryptography belongs in crypto/"),
        ("repo/bad.py", "import requests", "library requests is not in the map"),
        ("repo/bad.py", "import tests.support", "library tests is not in the map"),
        ("repo/bad.py", "import time", "only clock.py reads time"),
        ("repo/bad.py", "from time import monotonic", "only clock.py reads time"),
        ("repo/bad.py", "from datetime import datetime\nx = datetime.now()", "only clock.py reads time"),
        ("repo/bad.py", "import datetime\nx = datetime.datetime.utcnow()", "only clock.py reads time"),
        ("repo/bad.py", "import random\nx = random.random()", "randomness comes from secrets"),
        ("repo/bad.py", "import random\nx = random.Random(1)", "randomness comes from secrets"),
        ("repo/bad.py", "from random import choice", "randomness comes from secrets"),
        ("repo/bad.py", "import subprocess\nsubprocess.run('ls', shell=True)", "nothing starts a shell"),
        ("cli/bad.py", "import os\nos.system('ls')", "nothing starts a shell"),
        ("repo/bad.py", "print('hello')", "only cli prints"),
        ("store/__init__.py", "'''Door.'''\nimport os", "holds more than a docstring"),
        ("cellar/bad.py", "pass", "room cellar is not in the map"),
    ],
)
def test_each_rule_goes_red_when_it_is_broken(
    tmp_path: Path, rooms: Map, place: str, code: str, complaint: str
) -> None:
    _plant(tmp_path, rooms)
    assert violations(tmp_path, rooms) == []

    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")

    found = violations(tmp_path, rooms)
    assert len(found) == 1
    assert complaint in found[0]


def _plant(package: Path, rooms: Map) -> None:
    """A tree with every room and nothing wrong in it."""
    for room in rooms.rooms:
        folder = package if room == "kernel" else package / room
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text('"""A door."""\n', encoding="utf-8")
    (package / "clock.py").write_text("import time\nfrom datetime import datetime\nnow = datetime.now()\n")
    (package / "store" / "s3.py").write_text("import boto3\nfrom govsec import errors\n")
    (package / "cli" / "main.py").write_text("from govsec.drill import run\nprint('words')\n")
    (package / "testing" / "clock.py").write_text("import random\nfrom govsec.store import api\n")
