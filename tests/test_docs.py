"""The documentation and the code name the same things."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import govsec
from govsec.centers import names
from govsec.cli.main import build_parser
from govsec.errors import UsageError
from govsec.repo import layout

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


def _commands(lines: Iterable[str]) -> list[list[str]]:
    """The arguments of every ``govsec`` among lines of shell, without pipes, redirections and comments."""
    found = []
    for line in lines:
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        command: list[str] = []
        for word in [*reader, ";"]:
            if set(word) <= set("|&;<>()"):
                if command[:1] == ["govsec"]:
                    found.append(command[1:])
                command = []
            else:
                command.append(word)
    return found


def _is_understood(command: list[str]) -> bool:
    try:
        build_parser().parse_args(command)
    except UsageError:
        return False
    except SystemExit as leaving:  # --help
        return leaving.code == 0
    return True


def test_every_command_in_the_documentation_is_understood() -> None:
    commands = []
    for page in PAGES:
        blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        commands += [(page.name, command) for command in _commands(lines)]

    assert len(commands) > 20, "hardly any command was found"
    assert [(page, " ".join(command)) for page, command in commands if not _is_understood(command)] == []


def test_every_example_in_the_help_is_understood() -> None:
    examples = []
    for parser in _all_parsers(build_parser()):
        epilog = parser.epilog or ""
        if "examples:" in epilog:
            examples += _commands(re.split(r"\n\s*\n", epilog.split("examples:")[1])[0].splitlines())

    assert len(examples) > 25, "hardly any example was found"
    assert [" ".join(example) for example in examples if not _is_understood(example)] == []


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                if parser.prog == "govsec":
                    importlib.import_module(f"govsec.cli.{name}").register(below)
                yield from _all_parsers(below)


def test_every_unit_file_starts_a_command_that_is_understood() -> None:
    units = sorted((ROOT / "agents").rglob("*.service"))
    commands = []
    for unit in units:
        for line in unit.read_text(encoding="utf-8").splitlines():
            if line.startswith(("ExecStart=", "ExecStartPre=")) and "govsec " in line:
                commands.append(shlex.split(line.partition("govsec ")[2]))

    assert units, "no unit was found"
    assert [" ".join(command) for command in commands if not _is_understood(command)] == []


def test_the_page_of_the_format_names_every_place_in_a_center() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    places = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("govsec/")}
    places |= {kind.prefix for kind in layout.Kind} | {layout.CONFIG}

    assert len(places) > 10
    assert sorted(place for place in places if f"`{place}" not in page) == []


def test_a_translated_guide_holds_the_policies_of_the_original_word_for_word() -> None:
    compared = 0
    for translated in sorted((ROOT / "docs" / "guides").glob("*.zh-CN.md")):
        original = translated.with_name(translated.name.replace(".zh-CN", ""))
        policies = [
            re.findall(r"```json\n.*?```", page.read_text(encoding="utf-8"), re.S) for page in (original, translated)
        ]
        assert policies[0] == policies[1], translated.name
        compared += len(policies[0])
    assert compared >= 2
