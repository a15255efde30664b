"""The documentation and the code name the same things."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import govsec

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = []
    count = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            count += 1
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert count > 20, "hardly any link was found"
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [
        page.relative_to(ROOT / "docs").as_posix()
        for page in (ROOT / "docs").rglob("*.md")
        if page.name != "index.md" and page.relative_to(ROOT / "docs").as_posix() not in index
    ]

    assert missing == []


def test_the_page_of_the_public_interface_lists_what_the_package_gives() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([A-Za-z0-9_]+)[^`]*` \|", page, flags=re.MULTILINE)

    assert listed, "no name was found on the page"
    assert sorted(listed) == list(govsec.__all__)


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in govsec.__all__:
        assert getattr(govsec, name).__doc__, name


def test_the_type_checker_sees_the_same_names_as_the_program() -> None:
    tree = ast.parse((ROOT / "govsec" / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == govsec._HOMES


def test_importing_the_package_loads_no_room() -> None:
    code = (
        "import sys, govsec; assert 'LocalStore' in dir(govsec);"
        "sys.exit(str([m for m in sys.modules if m.startswith('govsec.')]) if "
        "any(m.startswith('govsec.') for m in sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
