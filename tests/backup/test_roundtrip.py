"""Any tree comes back as it was: random trees, all in memory and one process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from govsec.repo.check import Scope, check
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.backup.conftest import Desk
from tests.backup.trees import Entry, describe

names = st.binary(min_size=1, max_size=30).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..", b"added\xff")
)
times = st.integers(min_value=0, max_value=4_000_000_000_000_000_000)
files = st.tuples(
    st.just("file"),
    st.one_of(st.binary(max_size=2000), st.integers(0, 5).map(lambda count: bytes(count * 300_000))),
    st.sampled_from([0o644, 0o600, 0o755, 0o400]),
    times,
)
links = st.tuples(
    st.just("link"),
    st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw),
    st.just(0),
    times,
)
trees = st.recursive(
    st.dictionaries(names, files | links, max_size=5),
    lambda children: st.dictionaries(names, files | links | children, max_size=5),
    max_leaves=12,
)


def write(root: bytes, tree: dict[bytes, object]) -> None:
    os.mkdir(root)
    for name, value in tree.items():
        path = os.path.join(root, name)
        if isinstance(value, dict):
            write(path, value)
            continue
        assert isinstance(value, tuple)
        kind, content, mode, time_ns = value
        if kind == "file":
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
        else:
            os.symlink(content, path)
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)


def back_and_forth(tree: dict[bytes, object], change: dict[bytes, object]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        write(os.fsencode(root), tree)
        desk = Desk(MemoryStore(), FakeClock())
        expected: list[dict[bytes, Entry]] = []
        for number in range(2):
            result = desk.back_up(root)
            assert result.is_complete, result.problems
            expected.append(describe(root))
            desk.clock.sleep(60)
            if number == 0:
                write(os.fsencode(root) + b"/added\xff", change)
        assert check(desk.readable(), clock=desk.clock, scope=Scope.ALL_DATA, workers=0).is_good
        for number, snapshot in enumerate(desk.readable().snapshots()):
            out = Path(scratch) / f"out-{number}"
            report = desk.restore(out, selector=snapshot.id)
            assert report.is_complete, report.problems
            restored = describe(out / root.relative_to("/"))
            # Zeros that were written may come back as a hole; everything else is equal.
            for facts in (*restored.values(), *expected[number].values()):
                facts.pop("has_holes", None)
            assert restored == expected[number]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(trees, trees)
def test_a_random_tree_and_a_changed_one_come_back_as_they_were(
    tree: dict[bytes, object], change: dict[bytes, object]
) -> None:
    back_and_forth(tree, change)
