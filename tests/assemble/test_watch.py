"""Continuous protection with real kernel events: whatever happens to the source ends in a snapshot, or is told."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from govsec.assemble.watchevents import KernelChanges
from govsec.backup.api import Changes
from govsec.clock import SystemClock
from govsec.errors import ConfigurationError, SourceError, UsageError
from govsec.host.events import EventsLost, Record, Stage
from govsec.host.inotify import Inotify
from govsec.repo.lock import remove_locks
from govsec.repo.repository import Repository
from tests.assemble.watching import LIMIT_S, Watch, described, nothing, prepare, restored
from tests.support.restic import local_restic
from tests.support.story import write_tree


def test_what_changes_in_a_source_is_in_the_next_snapshot(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    write_tree(source, day=1)
    watch = Watch(config)

    def rename() -> None:
        (source / "a").rename(source / "moved")
        (source / "moved" / "b" / "more").write_text("more")

    watch.follow(
        [
            (watch.after(1), lambda: write_tree(source, day=2)),
            (watch.after(2), rename),
            (watch.after(3), lambda: shutil.rmtree(source / "文件夹")),
            (watch.after(4), lambda: (source / "plain").chmod(0o600)),
            (watch.after(5), nothing),
        ]
    )
    assert restored(config, tmp_path / "restored") == described(source)
    assert restored(config, tmp_path / "there", center="near") == described(source)
    assert {receipt.held_by for receipt in watch.receipts} == {("main", "near")}
    local_restic(tmp_path / "near" / "permits", watch.site.password(watch.system).decode(), tmp_path).assert_clean()


def test_a_directory_without_changes_keeps_its_tree_and_a_renamed_one_is_not_read_again(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    for name in ("one", "two"):
        (source / name / "below").mkdir(parents=True)
        for number in range(10):
            (source / name / "below" / f"{number}").write_bytes(os.urandom(3000))
    # Made elsewhere and moved in: one event, and so one window.
    (tmp_path / "new").write_text("new")
    watch = Watch(config)
    watch.follow(
        [
            (watch.after(1), lambda: (tmp_path / "new").rename(source / "one" / "new")),
            (watch.after(2), lambda: (source / "two").rename(source / "three")),
            (watch.after(3), nothing),
        ]
    )
    site, system = watch.site, watch.system
    repository = Repository.open(site.read_store(system, "main"), site.password(system))
    trees = []
    for receipt in watch.receipts:
        tree = bytes.fromhex(repository.load_snapshot(receipt.snapshot_id or "").tree)
        for name in source.relative_to("/").parts:
            (tree,) = (
                bytes.fromhex(node.subtree or "") for node in repository.load_tree(tree).nodes if node.name == name
            )
        trees.append({node.name: node.subtree for node in repository.load_tree(tree).nodes})
    assert len(trees) == 3
    assert trees[1]["two"] == trees[0]["two"] == trees[2]["three"]
    assert trees[0]["one"] != trees[1]["one"] == trees[2]["one"]
    # The new one, and at most the nonce that the comparison planted: none of the twenty others.
    assert watch.record.counts["files_read"] <= 2


def test_a_file_that_stays_open_is_kept_as_it_grows(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    log = source / "service.log"
    watch = Watch(config)
    with log.open("ab", buffering=0) as file:
        watch.follow(
            [
                (watch.after(1), lambda: file.write(b"one\n")),
                (watch.after(2), lambda: file.write(b"two\n")),
                (watch.after(3), nothing),
            ]
        )
    assert restored(config, tmp_path / "restored") == described(source)
    assert log.read_bytes() == b"one\ntwo\n"


def test_events_that_were_lost_lead_to_a_comparison_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    (source / "deep" / "er").mkdir(parents=True)
    watch = Watch(config)
    real, is_full = KernelChanges.read, [False]

    def overrun(self: KernelChanges) -> Changes:
        found = real(self)
        if is_full[0] and found.changes:
            is_full[0] = False
            return Changes((), "the kernel's queue of file changes overran")
        return found

    # The kernel's own limit is one of the whole machine; what comes out of a full queue is put in its place.
    monkeypatch.setattr(KernelChanges, "read", overrun)

    def change() -> None:
        is_full[0] = True
        (source / "deep" / "er" / "unseen").write_text("nobody told")

    watch.follow([(watch.after(1), change), (watch.after(2), nothing)])
    assert restored(config, tmp_path / "restored") == described(source)
    counts = watch.record.counts
    assert (counts["losses"], counts["scans"]) == (1, 2)


def test_a_source_that_is_gone_is_told_and_never_an_empty_snapshot(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    (source / "file").write_text("kept")
    watch = Watch(config)

    def put_back() -> None:
        (tmp_path / "away" / "more").write_text("more")
        (tmp_path / "away").rename(source)

    watch.follow(
        [
            (watch.after(1), lambda: source.rename(tmp_path / "away")),
            (watch.heard("No such file or directory"), put_back),
            (watch.after(2), nothing),
        ]
    )
    assert len(watch.receipts) == 2
    assert restored(config, tmp_path / "restored") == described(source)
    assert watch.heard("follows again")()


def test_an_empty_folder_in_the_source_s_place_is_no_backup(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    (source / "file").write_text("kept")
    watch = Watch(config)

    def unmount() -> None:
        # As when the file system that was mounted here is not there after a restart.
        source.rename(tmp_path / "away")
        source.mkdir()

    watch.follow([(watch.after(1), unmount), (watch.heard("is its file system mounted"), nothing)])
    assert len(watch.receipts) == 1
    again = Watch(config)
    again.follow([(again.heard("is its file system mounted"), nothing)])
    assert again.receipts == []
    accepted = Watch(config)
    accepted.follow([(accepted.after(1), nothing)], is_source_accepted=True)
    assert restored(config, tmp_path / "restored") == {}


def test_a_file_system_that_is_unmounted_below_the_source_is_told(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    below = source / "disk"
    below.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(below)], capture_output=True).returncode != 0:
        if os.environ.get("GOVSEC_TEST_REQUIRE") == "all" and os.geteuid() == 0:
            pytest.fail("a file system cannot be mounted")
        pytest.skip("needs the right to mount")
    try:
        (below / "data").write_text("on the disk")
        watch = Watch(config)
        unmount = ["umount", str(below)]
        watch.follow(
            [
                (watch.after(1), lambda: subprocess.run(unmount, check=True)),
                (watch.heard("not any more"), nothing),
            ]
        )
        assert len(watch.receipts) == 1
        again = Watch(config)
        again.follow([(again.heard("not any more"), nothing)])
        assert again.receipts == []
    finally:
        subprocess.run(["umount", str(below)], capture_output=True)


def test_without_changes_a_snapshot_is_made_now_and_then(tmp_path: Path) -> None:
    config = prepare(tmp_path, heartbeat_s=1)
    watch = Watch(config)
    watch.follow([(watch.after(3), nothing)])
    trees = {receipt.snapshot_id for receipt in watch.receipts}
    assert len(trees) == len(watch.receipts)
    assert watch.record.counts["heartbeats"] >= 1
    assert watch.record.counts["packs"] == 0


def test_what_may_not_be_watched_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "system"
    source.mkdir()
    link = tmp_path / "link"
    link.symlink_to(source)
    events = KernelChanges([os.fsencode(link)], SystemClock())
    with pytest.raises(SourceError, match="without links"):
        events.open()
    config = prepare(tmp_path)
    written = json.loads(config.read_text(encoding="utf-8"))
    del written["systems"][0]["backups"][0]["watch"]
    config.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(UsageError, match="watched ones"):
        Watch(config)
    written["systems"][0]["backups"][0]["watch"] = {"thin": [{"within": "1h", "every": "soon"}]}
    config.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="soon"):
        Watch(config)


def start(config: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "govsec.cli", "backup", "watch", "--config", str(config), "--json", "--workers", "1"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def next_receipt(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    found: dict[str, object] = json.loads(line)
    return found


def test_what_a_receipt_names_is_there_whenever_the_watcher_is_killed(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    choice = random.Random(20261122)
    named: list[str] = []
    for number in range(4):
        process = start(config)
        try:
            named.append(str(next_receipt(process)["snapshot"]))
            for part in range(6):
                (source / f"{number}-{part}").write_bytes(choice.randbytes(choice.randrange(1, 300_000)))
            if number % 2:
                named.append(str(next_receipt(process)["snapshot"]))
                (source / f"{number}-late").write_bytes(b"late")
            # The moment is what is being tried: where it falls depends on the machine, and may.
            time.sleep(choice.uniform(0.0, 0.6))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            rest, _ = process.communicate(timeout=LIMIT_S)
        named += [str(json.loads(line)["snapshot"]) for line in rest.splitlines() if line.endswith("}")]
    watch = Watch(config)
    watch.follow([(watch.after(1), nothing)])
    password = watch.site.password(watch.system).decode()
    suite = Repository.open(watch.site.read_store(watch.system, "main"), password.encode()).suite
    for center in ("main", "near"):
        # Those of the killed ones; they are stale, and restic asks a person about them.
        remove_locks(watch.site.store(watch.system, center), suite, watch.site.clock)
        restic = local_restic(tmp_path / center / "permits", password, tmp_path)
        present = {snapshot["id"] for snapshot in restic.snapshots()}
        assert set(named) <= present
        restic.assert_clean()
    assert restored(config, tmp_path / "restored") == described(source)


def test_sigterm_ends_it_with_what_was_known_committed(tmp_path: Path) -> None:
    config, source = prepare(tmp_path, window_s=3600), tmp_path / "system"
    process = start(config)
    try:
        next_receipt(process)
        (source / "last").write_text("written before the end")
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert len(rest.splitlines()) == 1
    assert restored(config, tmp_path / "restored") == described(source)
    assert not list((tmp_path / "main" / "permits" / "locks").iterdir())


def test_the_last_center_gives_back_what_was_changed_a_moment_before(tmp_path: Path) -> None:
    config, source = prepare(tmp_path), tmp_path / "system"
    write_tree(source, day=1)
    watch = Watch(config)
    watch.follow([(watch.after(1), lambda: write_tree(source, day=2)), (watch.after(2), nothing)])
    from govsec.assemble.centers import ship_to

    ship_to(watch.site, watch.system, "far")
    for center in ("main", "near"):
        shutil.rmtree(tmp_path / center)
    assert restored(config, tmp_path / "restored", center="far") == described(source)
    password = watch.site.password(watch.system).decode()
    local_restic(tmp_path / "far" / "permits", password, tmp_path).assert_clean()


def test_a_folder_whose_making_was_lost_is_watched_before_the_comparison_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = KernelChanges([os.fsencode(tmp_path)], SystemClock())
    events.open()
    real = Inotify.read

    def overrun(self: Inotify) -> Sequence[Record]:
        descriptor = self.descriptor()
        assert descriptor is not None
        os.read(descriptor, 65_536)  # what the kernel has no room for is gone
        return [EventsLost(0, Stage.FILES, "the queue overran", 0)]

    (tmp_path / "new").mkdir()
    # The kernel's own limit is one of the whole machine; what comes out of a full queue is put in its place.
    monkeypatch.setattr(Inotify, "read", overrun)
    assert events.read().lost == "the queue overran"
    monkeypatch.setattr(Inotify, "read", real)
    (tmp_path / "new" / "file").write_text("after it")
    assert {change.path for change in events.read().changes} == {os.fsencode(tmp_path / "new" / "file")}
    events.close()
