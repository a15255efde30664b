"""One function quotes what becomes part of a script; three shells read back exactly what went in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.collect.quote import quote, quote_glob
from tests.support.require import require

SHELLS = {"dash": ["dash"], "bash": ["bash", "--norc", "--noprofile"], "busybox": ["busybox", "sh"]}
#: Everything that a shell might take for its own, beside what people really write.
HOSTILE = st.text(st.sampled_from("'\"\\$`!*?[]{}();&|<>#~=-%\n\t /.ab0\x01\x7fé中\udc80"), max_size=20)
WORDS = st.one_of(HOSTILE, st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20))


def _read_back(shell: list[str], words: list[str], folder: Path) -> bytes:
    script = "printf '%s\\000' " + " ".join(words) + "\n"
    done = subprocess.run(
        shell, input=script.encode("utf-8", "surrogateescape"), capture_output=True, timeout=99, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.mark.parametrize("name", SHELLS)
def test_every_word_comes_out_of_the_shell_as_it_went_in(name: str, empty: Path) -> None:
    require(name)

    @settings(max_examples=30)
    @given(words=st.lists(WORDS, min_size=1, max_size=30))
    def holds(words: list[str]) -> None:
        expected = b"".join(word.encode("utf-8", "surrogateescape") + b"\x00" for word in words)
        assert _read_back(SHELLS[name], [quote(word) for word in words], empty) == expected

    holds()


@pytest.mark.parametrize("name", SHELLS)
def test_a_pattern_is_a_pattern_and_nothing_else(name: str, empty: Path) -> None:
    require(name)

    # Where nothing matches, a shell leaves a pattern as it is; anything that it took for its own would show.
    @settings(max_examples=30)
    @given(
        words=st.lists(
            st.text(st.sampled_from("*?[ab]$`'\"\\;&|<> ()#!~.0"), min_size=1, max_size=12), min_size=1, max_size=20
        )
    )
    def holds(words: list[str]) -> None:
        words = ["/nowhere-at-all/" + word for word in words]
        expected = b"".join(word.encode() + b"\x00" for word in words)
        assert _read_back(SHELLS[name], [quote_glob(word) for word in words], empty) == expected

    holds()


@pytest.mark.parametrize("name", SHELLS)
def test_a_pattern_finds_files_with_hostile_names(name: str, tmp_path: Path) -> None:
    require(name)
    for file in ("a $(touch oops).conf", "b;c.conf", "-n.conf", "plain.txt"):
        (tmp_path / file).touch()

    found = _read_back(SHELLS[name], [quote_glob(f"{tmp_path}/*.conf")], tmp_path).split(b"\x00")[:-1]

    assert sorted(Path(path.decode()).name for path in found) == ["-n.conf", "a $(touch oops).conf", "b;c.conf"]
    assert not (tmp_path / "oops").exists()


def test_a_word_cannot_hold_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\x00b")
