"""``govsec repo`` as people call it: on a directory without any configuration, and on a system with three centers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.assemble.demo import CENTERS, local_centers, write_site
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.repo.lock import acquire_lock
from govsec.repo.repository import WritableRepository
from govsec.store.local import LocalStore
from tests.cli.conftest import Site, tree_digest
from tests.repo.odd import noise
from tests.repo.small import PASSWORD, Writer, back_up, flip, forget, names
from tests.support.cheapkey import CHEAP

Json = Callable[..., tuple[int, Any]]
CLOCK = SystemClock()


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content + b"\n")
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], directory: Path, secret: Callable[[str, bytes], Path]) -> Json:
    """Run a verb on the directory with ``--json``: its exit code and what it printed."""
    password = secret("password", PASSWORD)

    def call(*argv: str, password_file: Path = password) -> tuple[int, Any]:
        capsys.readouterr()
        options = ["--repo", str(directory), "--password-file", str(password_file), "--json", "--quiet"]
        code = main(["repo", *argv, *options])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def repository(directory: Path, secret: Callable[[str, bytes], Path]) -> WritableRepository:
    """A repository with a snapshot, and the rest of one that was forgotten."""
    secret("password", PASSWORD)
    repository = WritableRepository.initialize(LocalStore(directory, create=True), PASSWORD, CLOCK, kdf=CHEAP)
    old = back_up(repository, {"large": noise("old", 200_000), "kept": noise("kept", 1000)}, CLOCK)
    back_up(repository, {"large": noise("new", 100_000), "kept": noise("kept", 1000)}, CLOCK)
    forget(repository, old)
    return repository


def test_a_new_repository_is_empty_and_so_never_green(run: Json) -> None:
    code, made = run("init")
    assert code == 0 and len(made["id"]) == 64
    code, report = run("check", "--all")
    assert code == 7 and report["errors_count"] == 0 and report["gaps"] and not report["is_good"]
    code, error = run("init")
    assert code == 5 and "already" in error["error"]["message"]


def test_check_says_what_it_read_and_remembers_it(repository: WritableRepository, run: Json) -> None:
    code, report = run("check")
    assert code == 0 and report["is_good"] and report["scope"] == "structure" and report["packs_read_count"] == 0
    assert report["never_verified_count"] is None
    code, report = run("check", "--all", "--workers", "2")
    assert code == 0 and report["packs_read_count"] == report["packs_count"] > 1
    assert report["bytes_read"] == report["packs_bytes"] and report["seconds"]["total"] > 0
    code, report = run("check", "--budget", "1", "--time", "10m")
    assert code == 0 and report["packs_read_count"] == 1 and report["never_verified_count"] == 0
    assert names(repository.store, "govsec/verified/local/")


def test_check_ends_with_6_and_names_what_is_damaged(
    repository: WritableRepository, run: Json, capsys: pytest.CaptureFixture[str], directory: Path, tmp_path: Path
) -> None:
    pack = names(repository.store, "data/")[0]
    flip(repository.object_store, pack, 40)
    code, report = run("check", "--all")
    # Where the pack is one of trees, those that cannot be read are named beside it.
    assert code == 6 and ("pack_digest", pack) in {(item["kind"], item["object"]) for item in report["problems"]}
    assert {problem["severity"] for problem in report["problems"]} == {"high"}
    password_file = str(tmp_path / "password")
    assert main(["repo", "check", "--all", "--repo", str(directory), "--password-file", password_file]) == 6
    printed = capsys.readouterr().out
    assert f"ERROR pack_digest: {pack}" in printed and printed.rstrip().endswith("errors")


def test_a_name_in_a_problem_does_not_steer_the_terminal(
    repository: WritableRepository, capsys: pytest.CaptureFixture[str], directory: Path, tmp_path: Path
) -> None:
    from govsec.repo.pack import BlobType
    from govsec.repo.tree import encode_tree
    from tests.repo.small import digest, file_node

    writer = Writer(repository)
    tree = encode_tree([file_node("\u202e\x1b[2J".encode(), [digest(b"nowhere")], 7)])
    writer.snapshot(writer.blob(BlobType.TREE, tree), CLOCK)
    options = ["--repo", str(directory), "--password-file", str(tmp_path / "password")]
    assert main(["repo", "check", *options]) == 6
    printed = capsys.readouterr().out
    assert "blob_missing" in printed and "\x1b" not in printed and "\u202e" not in printed


def test_prune_plans_waits_and_removes(repository: WritableRepository, run: Json, directory: Path) -> None:
    before = tree_digest(directory)
    code, planned = run("prune", "--dry-run", "--max-unused", "0%")
    assert code == 0 and planned["is_dry_run"] and planned["unused_bytes"] > 200_000
    assert tree_digest(directory) == before

    code, first = run("prune", "--max-unused", "0")
    assert code == 0 and first["waiting_count"] and first["waiting_bytes"] > 200_000
    assert not [item for item in first["removed"] if item["name"].startswith("data/")]
    code, second = run("prune", "--grace", "0")
    assert code == 0 and second["waiting_count"] == 0
    assert len(second["removed"]) == first["waiting_count"]
    assert run("check", "--all")[1]["problem_counts"] == {}


def test_prune_does_not_empty_a_repository_unless_that_is_meant(repository: WritableRepository, run: Json) -> None:
    for snapshot in repository.snapshots():
        forget(repository, snapshot)
    code, error = run("prune")
    assert code == 5 and "no snapshots that stay" in error["error"]["message"]
    assert run("prune", "--allow-empty", "--grace", "0")[0] == 0
    assert not names(repository.store, "data/")


def test_passwords_are_added_listed_changed_and_removed(
    repository: WritableRepository, run: Json, secret: Callable[[str, bytes], Path]
) -> None:
    second = secret("second", "雪夜访戴，兴尽而返，何必相见".encode())
    code, added = run("keys", "add", "--new-password-file", str(second), "--host", "db1", "--user", "root")
    assert code == 0
    code, listed = run("keys", "list", password_file=second)
    assert code == 0 and len(listed["keys"]) == 2
    (key,) = [key for key in listed["keys"] if key["is_used"]]
    assert key["id"] == added["id"] and (key["host"], key["user"]) == ("db1", "root")
    assert key["scrypt"] == {"n": 32768, "r": 8, "p": 1}

    third = secret("third", b"a third horse that nobody rides")
    code, changed = run("keys", "passwd", "--new-password-file", str(third), password_file=second)
    assert code == 0 and changed["replaced"] == added["id"] and "master key is the same" in changed["note"]
    code, error = run("keys", "list", password_file=second)
    assert code == 3 and error["error"]["kind"] == "wrong_password"

    code, error = run("keys", "remove", repository.key_id[:8])
    assert code == 5 and "cannot be removed" in error["error"]["message"]
    code, removed = run("keys", "remove", repository.key_id[:8], password_file=third)
    assert code == 0 and "master key is the same" in removed["note"]
    assert run("check")[0] == 3
    assert run("keys", "remove", changed["id"][:8], password_file=third)[0] == 5
    assert run("check", password_file=third)[0] == 0


def test_a_lock_that_somebody_holds_stops_prune_until_it_is_removed_on_purpose(
    repository: WritableRepository, run: Json
) -> None:
    acquire_lock(repository.object_store, repository.suite, CLOCK, exclusive=False)
    code, error = run("prune")
    assert code == 5 and error["error"]["kind"] == "locked"
    assert run("unlock") == (0, {"removed": []})
    code, removed = run("unlock", "--all")
    assert code == 0 and len(removed["removed"]) == 1
    assert run("prune")[0] == 0


def test_the_index_is_rebuilt_from_the_packs(repository: WritableRepository, run: Json) -> None:
    assert run("rebuild-index", "--dry-run")[1]["written_files"] == 0
    for name in names(repository.store, "index/"):
        repository.object_store.delete(name)
    assert run("check")[0] == 6
    code, done = run("rebuild-index")
    assert code == 0 and done["written_files"] == 1 and done["packs_read"] == len(names(repository.store, "data/"))
    assert run("check", "--all")[0] == 0


def test_stats_count_what_is_there(repository: WritableRepository, run: Json) -> None:
    code, stats = run("stats")
    assert code == 0
    assert stats["snapshots_count"] == 1 and stats["files_count"] == 2 and stats["files_bytes"] == 101_000
    assert stats["data_bytes"] == 301_000 and stats["unused_bytes"] > 200_000
    assert stats["packs_bytes"] == sum(item.size_bytes for item in repository.store.list("data/"))


def test_adopting_looks_at_everything_and_changes_nothing(
    repository: WritableRepository, run: Json, directory: Path
) -> None:
    before = tree_digest(directory)
    code, adopted = run("adopt")
    assert code == 0 and adopted["snapshots_count"] == 1 and adopted["check"]["packs_read_count"]
    assert any("stored anew" in note for note in adopted["notes"]) and adopted["committed_count"] is None
    assert tree_digest(directory) == before


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["check", "--repo", "somewhere"], 2),
        (["check", "--system", "hr", "--repo", "somewhere", "--password-file", "x"], 2),
        (["check", "--password-file", "x"], 2),
        (["check", "--repo", "x", "--password-file", "x", "--all", "--budget", "1G"], 2),
        (["check", "--budget", "much"], 2),
        (["check", "--time", "soon"], 2),
        (["prune", "--max-unused", "101"], 2),
        (["check", "--workers", "-1"], 2),
        (["keys"], 2),
        (["check", "--repo", "/nonexistent", "--password-file", "/nonexistent"], 4),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_an_exit_code(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str], secret: Callable[[str, bytes], Path]
) -> None:
    argv = [str(secret("password", PASSWORD)) if word == "/nonexistent" and argv[-1] == word else word for word in argv]
    argv = [word if position != 2 or word != argv[-1] else "/nonexistent" for position, word in enumerate(argv)]
    assert main(["repo", *argv]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("govsec: ") and captured.err.count("\n") == 1


def test_a_password_file_that_others_can_read_is_refused(
    repository: WritableRepository, run: Json, secret: Callable[[str, bytes], Path]
) -> None:
    open_to_all = secret("open", PASSWORD)
    open_to_all.chmod(0o644)
    code, error = run("check", password_file=open_to_all)
    assert code == 3 and "chmod 600" in error["error"]["message"]


# A system with three centers


@pytest.fixture
def at(site: Site, capsys: pytest.CaptureFixture[str]) -> Json:
    def call(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = site.run(*argv, "--json", "--quiet")
        return code, json.loads(capsys.readouterr().out)

    return call


def test_every_center_of_a_system_is_checked_by_its_name(site: Site, at: Json) -> None:
    for center in ("production", "same_city", "remote"):
        code, report = at("repo", "check", "--center", center, "--all")
        assert code == 0 and report["packs_read_count"], (center, report)


def test_production_is_pruned_and_the_other_centers_hear_of_it(site: Site, at: Json) -> None:
    assert at("backup", "run")[0] == 0
    shutil.rmtree(site.source / "documents")
    (site.source / "other").write_bytes(noise("other", 10_000))
    assert at("backup", "run")[0] == 0
    config = yaml.safe_load(site.config.read_text(encoding="utf-8"))
    config["systems"][0]["retention"] = {"keep_last": 1}
    site.config.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    before = tree_digest(site.directory, but="state")
    code, planned = at("repo", "prune", "--dry-run", "--max-unused", "0")
    assert code == 0 and planned["unused_blobs_count"] and tree_digest(site.directory, but="state") == before
    code, pruned = at("repo", "prune", "--grace", "0", "--max-unused", "0")
    assert code == 0 and pruned["released"] and pruned["removed"]
    assert pruned["forgotten"] == planned["forgotten"] and len(pruned["forgotten"]) == 1
    for center in ("production", "same_city", "remote"):
        assert at("repo", "check", "--center", center, "--all")[0] == 0, center
    assert at("center", "ship", "far")[0] == 0
    code, report = at("repo", "check", "--center", "remote", "--all")
    assert code == 0 and report["is_good"]
    for center in ("production", "same_city"):
        assert at("center", "verify", center)[0] == 0, center


@pytest.mark.parametrize("argv", [["repo", "init"], ["backup", "run", "--create"]])
def test_a_repository_with_a_weak_password_is_not_made(
    argv: list[str], directory: Path, secret: Callable[[str, bytes], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    weak = secret("weak", b"P@ssw0rd2026!")
    source = ["--", str(directory.parent)] if argv[0] == "backup" else []
    code = main([*argv, "--repo", str(directory), "--password-file", str(weak), "--json", "--quiet", *source])
    said = capsys.readouterr()
    assert code == 3 and "too weak" in said.out and "P@ssw0rd" not in said.out + said.err
    assert not directory.exists()


def test_a_weak_password_is_neither_added_nor_taken_in_the_place_of_another(
    run: Json, repository: WritableRepository, directory: Path, secret: Callable[[str, bytes], Path]
) -> None:
    before = names(LocalStore(directory), "keys/")
    for verb in ("add", "passwd"):
        code, error = run("keys", verb, "--new-password-file", str(secret("weak", b"backup2026")))
        assert code == 3 and "too weak" in error["error"]["message"]
    assert names(LocalStore(directory), "keys/") == before


def test_centers_do_not_begin_with_a_weak_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    config = write_site(tmp_path, local_centers(tmp_path), source)
    (tmp_path / "keys" / "password").write_text("Huawei@123456\n")
    assert main(["center", "init", "--config", str(config), "--json", "--quiet"]) == 3
    assert "keys/password: too weak" in capsys.readouterr().out
    assert not [path for center in CENTERS for path in (tmp_path / center).iterdir()]


def test_only_production_is_pruned(at: Json) -> None:
    code, error = at("repo", "prune", "--center", "same_city", "--grace", "0")
    assert code == 5 and "center release" in error["error"]["message"]


def test_a_new_password_travels_to_all_centers(site: Site, at: Json, secret: Callable[[str, bytes], Path]) -> None:
    code, added = at("repo", "keys", "add", "--new-password-file", str(secret("second", b"a horse of another colour")))
    assert code == 0
    code, synced = at("repo", "keys", "sync")
    assert code == 0 and {name for name, _ in synced["added"]} and not synced["not_reached"]
    for center in ("production", "same_city", "remote"):
        code, listed = at("repo", "keys", "list", "--center", center)
        assert added["id"] in {key["id"] for key in listed["keys"]}, center
