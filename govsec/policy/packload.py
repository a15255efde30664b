"""Reading a pack: from a folder's files to checks whose names, keys, expressions and fixtures fit together.

Nothing of a pack is used before all of it was read: an unknown key, a requirement that the catalog does not have, an
expression that does not parse or that reads a name nobody defines, a probe or parameter that nobody reads, a check
without fixtures, each is an error with file and line. Packs that came with govsec are trusted by their place; every
other one by its signature, which is verified before a byte of it is parsed.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from govsec.collect.facts import Platform
from govsec.collect.shapes import LEAF, Shape, fact_shapes
from govsec.crypto.signing import TrustedKeys
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog
from govsec.policy.expressions import Expressions, Names
from govsec.policy.fields import flaws
from govsec.policy.highrisk import HighRiskCatalog
from govsec.policy.lifecycle import platform_variable
from govsec.policy.pack import BUILT_IN, Check, CheckFile, Meaning, Pack, PackHead
from govsec.policy.packfiles import PackFiles, read_folder, verify
from govsec.shipped import shipped
from govsec.yamllines import Document, read_document

#: Trust of a pack that came with this installation.
SHIPPED = "shipped"
#: Trust of a pack that is only being written: good for its tests and for signing, never for a run.
DRAFT = "draft"
_HEAD = "pack.yaml"
_CHECKS = re.compile(r"checks/[a-z][a-z0-9-]*\.yaml")
_FIXTURE = re.compile(r"fixtures/([^/]+)/(pass|partial|fail|not-applicable|error|unknown)-[a-z0-9-]+\.json")
_TEXTS = frozenset({"README.md", "LICENSE"})
_PLATFORM = frozenset(platform_variable(Platform()))
_LIST = Shape(items=LEAF)
_PLATFORM_SHAPE = Shape({name: _LIST if name == "os_like" else LEAF for name in _PLATFORM})


@dataclass(frozen=True, slots=True)
class Known:
    """What a pack may name: requirement keys of the catalog, high-risk cases, and fields of facts by kind of probe."""

    keys: frozenset[str]
    cases: frozenset[str]
    shapes: Mapping[str, Shape] = field(default_factory=fact_shapes)

    @classmethod
    def shipped(cls) -> Known:
        """The names in the catalogs that came with govsec."""
        return cls(Catalog.load().keys, frozenset(case.id for case in HighRiskCatalog.load().cases))


@dataclass(frozen=True, slots=True)
class _Place:
    """A check and where it stands."""

    check: Check
    document: Document
    position: int

    def where(self, *path: str | int) -> str:
        return self.document.where(("checks", self.position, *path))


def shipped_packs() -> tuple[str, ...]:
    """Ids of the packs that came with govsec."""
    folder = importlib.resources.files("govsec_policies")
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.joinpath(_HEAD).is_file()))


def load_shipped(pack_id: str, known: Known, expressions: Expressions) -> Pack:
    """A pack that came with govsec.

    Raises:
        ConfigurationError: there is none of this id, or it is damaged.
    """
    if pack_id not in shipped_packs():
        raise ConfigurationError(
            f"pack {pack_id[:60]!r}: did not come with govsec; there are {', '.join(shipped_packs())}"
        )
    with importlib.resources.as_file(shipped(pack_id)) as folder:
        files = read_folder(folder)
    return read_pack(PackFiles(pack_id, files.contents), SHIPPED, known, expressions)


def load_signed(folder: Path, trusted: TrustedKeys, known: Known, expressions: Expressions) -> Pack:
    """A pack from elsewhere.

    Raises:
        ConfigurationError: not signed, not a pack, or one that does not fit together; with file and line.
        IntegrityError: signed by nobody whom people pinned, or not what was signed.
    """
    files = read_folder(folder)
    key = verify(files, trusted)
    return read_pack(files, key, known, expressions)


def read_pack(files: PackFiles, trust: str, known: Known, expressions: Expressions) -> Pack:
    """The pack in ``files``, for which ``trust`` says who vouches.

    Raises:
        ConfigurationError: with file and line.
    """
    head, places = parse_pack(files)
    _refuse(_lint_names(places, head, known))
    _refuse(_lint_fixtures(places, files))
    _refuse(_lint_expressions(places, expressions))
    _refuse(_lint_fields(places, known))
    return Pack(head=head, checks=tuple(place.check for place in places), sha256=files.sha256, trust=trust)


def parse_pack(files: PackFiles) -> tuple[PackHead, list[_Place]]:
    """The head and the checks, well-formed each by itself."""
    for path in files.contents:
        if path != _HEAD and path not in _TEXTS and not _CHECKS.fullmatch(path) and not _FIXTURE.fullmatch(path):
            raise ConfigurationError(f"{files.name}/{path}: a pack has no such file")
    if _HEAD not in files.contents:
        raise ConfigurationError(f"{files.name}: not a pack: there is no {_HEAD}")
    document = read_document(files.contents[_HEAD], f"{files.name}/{_HEAD}")
    try:
        head = PackHead.model_validate(document.value)
    except ValidationError as error:
        raise ConfigurationError(document.explain(error)) from error
    places: list[_Place] = []
    for path in sorted(filter(_CHECKS.fullmatch, files.contents)):
        document = read_document(files.contents[path], f"{files.name}/{path}")
        try:
            checks = CheckFile.model_validate(document.value).checks
        except ValidationError as error:
            raise ConfigurationError(document.explain(error)) from error
        places += [_Place(check, document, position) for position, check in enumerate(checks)]
    if not places:
        raise ConfigurationError(f"{files.name}: a pack without checks says nothing")
    return head, places


def texts_of(check: Check) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every expression of a check, with its path in it."""
    for position, condition in enumerate(check.applies):
        yield ("applies", position, "cel"), condition.cel
    for position, expect in enumerate(check.expect):
        yield ("expect", position, "cel"), expect.cel
    for position, condition in enumerate(check.conclusive):
        yield ("conclusive", position, "cel"), condition.cel
    for position, risk in enumerate(check.high_risk):
        if risk.when is not None:
            yield ("high_risk", position, "when"), risk.when


def _refuse(problems: Iterator[str]) -> None:
    found = [problem for problem, _ in zip(problems, range(10), strict=False)]
    if found:
        raise ConfigurationError("; ".join(found))


def _lint_names(places: Sequence[_Place], head: PackHead, known: Known) -> Iterator[str]:
    ids = {place.check.id for place in places}
    seen: set[str] = set()
    for place in places:
        check = place.check
        if not check.id.startswith(f"{head.id}-"):
            yield f"{place.where('id')}: {check.id} does not begin with {head.id}-"
        if check.id in seen:
            yield f"{place.where('id')}: {check.id} is there twice"
        seen.add(check.id)
        keys = [("maps", position, maps.key) for position, maps in enumerate(check.maps)]
        keys += [("compensates", position, other.key) for position, other in enumerate(check.compensates)]
        for what, position, key in keys:
            if key not in known.keys:
                yield f"{place.where(what, position, 'key')}: the catalog has no requirement {key}"
        for position, risk in enumerate(check.high_risk):
            where = place.where("high_risk", position)
            if risk.case not in known.cases:
                yield f"{where}: there is no high-risk case {risk.case}"
            for other in risk.mitigated_by:
                if other.startswith(f"{head.id}-") and other not in ids:
                    yield f"{where}: mitigated_by: there is no check {other}"


def _lint_fixtures(places: Sequence[_Place], files: PackFiles) -> Iterator[str]:
    outcomes: dict[str, set[str]] = {}
    for path in files.contents:
        if found := _FIXTURE.fullmatch(path):
            outcomes.setdefault(found[1], set()).add(found[2])
    for place in places:
        check = place.check
        needed = {"pass", "fail"}
        if check.applies or any(absence.means is Meaning.NOT_APPLICABLE for absence in check.absent.values()):
            needed.add("not-applicable")
        for outcome in sorted(needed - outcomes.pop(check.id, set())):
            yield f"{place.where('id')}: {check.id} has no fixture fixtures/{check.id}/{outcome}-*.json"
    for check_id in outcomes:
        yield f"{files.name}/fixtures/{check_id}: there is no such check"


def _lint_expressions(places: Sequence[_Place], expressions: Expressions) -> Iterator[str]:
    texts = [(place, path, text) for place in places for path, text in texts_of(place.check)]
    names = expressions.load([text for _, _, text in texts])
    read: dict[str, set[str]] = {}
    for (place, path, _), found in zip(texts, names, strict=True):
        for problem in _lint_expression(place.check, found):
            yield f"{place.where(*path)}: {place.check.id}: {problem}"
        read.setdefault(place.check.id, set()).update(found.variables)
        read[place.check.id].update(f"params.{name}" for name in found.members.get("params", ()))
    for place in places:
        for probe in place.check.probes:
            if probe not in read[place.check.id]:
                yield f"{place.where('probes', probe)}: {place.check.id}: no expression reads probe {probe}"
        for name in place.check.params:
            if f"params.{name}" not in read[place.check.id]:
                yield f"{place.where('params', name)}: {place.check.id}: no expression reads parameter {name}"


def _lint_fields(places: Sequence[_Place], known: Known) -> Iterator[str]:
    for place in places:
        check = place.check
        params = {name: _LIST if one.type == "texts" else LEAF for name, one in check.params.items()}
        shapes = {name: known.shapes[probe.kind] for name, probe in check.probes.items()}
        shapes |= {"platform": _PLATFORM_SHAPE, "params": Shape(params), "level": LEAF, "now": LEAF}
        for path, text in texts_of(check):
            for flaw in flaws(text, shapes):
                yield f"{place.where(*path)}: {check.id}: expression {flaw}"


def _lint_expression(check: Check, names: Names) -> Iterator[str]:
    if names.error:
        yield f"expression: {names.error}"
        return
    visible = BUILT_IN | set(check.probes)
    for name in sorted(names.variables - visible):
        yield f"expression reads {name}, which is no probe of this check"
    for name in sorted(names.bound & visible):
        yield f"expression gives a loop the name {name}, which is taken"
    for member in sorted(names.members.get("params", frozenset()) - set(check.params)):
        yield f"expression reads params.{member}, which this check does not define"
    for member in sorted(names.members.get("platform", frozenset()) - _PLATFORM):
        yield f"expression reads platform.{member}, which does not exist"
    if not names.variables & set(check.probes) and not names.variables & {"platform", "level"}:
        yield "expression looks at nothing"
