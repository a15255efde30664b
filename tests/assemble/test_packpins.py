"""A signed pack that is older than the one used before is refused, however truly it is signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.assemble.packpins import check_versions, remember_versions
from govsec.clock import SystemClock
from govsec.errors import ConfigurationError, IntegrityError
from govsec.policy.expressions import Expressions
from govsec.policy.pack import Pack
from govsec.policy.packload import SHIPPED
from tests.policy.pack_samples import read, write_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    with Expressions(SystemClock()) as expressions:
        return read(write_pack(tmp_path_factory.mktemp("pack")), expressions)


def of(pack: Pack, version: str, *, sha256: str = "a" * 64, trust: str = "key-1") -> Pack:
    head = pack.head.model_copy(update={"version": version})
    return pack.model_copy(update={"head": head, "sha256": sha256, "trust": trust})


def test_a_newer_one_and_the_same_are_used(tmp_path: Path, pack: Pack) -> None:
    state = tmp_path / "state"
    for version in ("1.9.0", "1.9.0", "1.10.0", "2.0.0"):
        check_versions(state, [of(pack, version)])
        remember_versions(state, [of(pack, version)])

    assert (state / "packs.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("older", ["1.9.9", "1.10.0", "0.99.0"])
def test_an_older_one_is_refused(tmp_path: Path, pack: Pack, older: str) -> None:
    remember_versions(tmp_path, [of(pack, "1.10.1")])

    with pytest.raises(IntegrityError, match=r"older than 1\.10\.1"):
        check_versions(tmp_path, [of(pack, older)])


def test_the_same_version_with_other_contents_is_refused(tmp_path: Path, pack: Pack) -> None:
    remember_versions(tmp_path, [of(pack, "1.0.0")])

    with pytest.raises(IntegrityError, match="other contents"):
        check_versions(tmp_path, [of(pack, "1.0.0", sha256="b" * 64)])


def test_packs_that_came_with_govsec_change_with_it(tmp_path: Path, pack: Pack) -> None:
    remember_versions(tmp_path, [of(pack, "2.0.0", trust=SHIPPED)])

    assert not (tmp_path / "packs.json").exists()
    check_versions(tmp_path, [of(pack, "1.0.0", trust=SHIPPED)])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"small": {"version": 1}}', '{"small": {}}'])
def test_a_damaged_file_of_versions_is_no_blank_one(tmp_path: Path, pack: Pack, content: str) -> None:
    (tmp_path / "packs.json").write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"packs\.json"):
        check_versions(tmp_path, [of(pack, "1.0.0")])


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, pack: Pack) -> None:
    (tmp_path / "elsewhere").write_text("{}", encoding="utf-8")
    (tmp_path / "packs.json").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigurationError):
        check_versions(tmp_path, [of(pack, "1.0.0")])
