"""Who started whom: also of those that are gone, and never more than the tables hold."""

from __future__ import annotations

from govsec.host.processtree import ANCESTORS_MAX, ProcessTree, unknown_process
from govsec.host.tables import Process, ProcessKey


def process(pid: int, parent: int, start_ticks: int, name: str = "") -> Process:
    return unknown_process(ProcessKey(pid, start_ticks), parent)._replace(name=name)


def test_those_above_are_named_after_they_ended() -> None:
    tree = ProcessTree(lambda pid: None)
    tree.fill([process(1, 0, 1, "init")])
    tree.forked(50, 1, 10)
    tree.forked(51, 50, 11)
    tree.exited(50)

    node = tree.forked(52, 51, 12)

    assert [each.key.pid for each in node.ancestors] == [51, 50, 1]


def test_a_parent_that_is_gone_is_still_found_for_a_late_child() -> None:
    tree = ProcessTree(lambda pid: None)
    tree.fill([process(1, 0, 1)])
    tree.forked(50, 1, 10)
    tree.exited(50)

    assert [each.key.pid for each in tree.forked(51, 50, 11).ancestors] == [50, 1]


def test_a_line_of_daemons_that_start_each_other_does_not_grow() -> None:
    tree = ProcessTree(lambda pid: None, gone_max=10)
    tree.fill([process(1, 0, 1)])
    for pid in range(2, 5000):
        tree.forked(pid, pid - 1, pid)
        tree.exited(pid - 1)

    node = tree.known(4999)
    assert node is not None and len(node.ancestors) == ANCESTORS_MAX
    assert len(tree) == 1
    assert tree.known(4000) is None


def test_more_processes_than_there_is_room_for_are_counted() -> None:
    tree = ProcessTree(lambda pid: None, running_max=100)
    for pid in range(2, 252):
        tree.forked(pid, 1, pid)

    assert (len(tree), tree.evicted_count) == (100, 150)


def test_a_number_that_was_given_out_again_is_another_process() -> None:
    tree = ProcessTree(lambda pid: None)
    tree.fill([process(1, 0, 1), process(50, 1, 10, "old")])

    new, gone = tree.fill([process(1, 0, 1), process(50, 1, 99, "new")])

    assert [node.process.name for node in new] == ["new"]
    assert [node.process.name for node in gone] == ["old"]


def test_a_parent_younger_than_its_child_is_none() -> None:
    tree = ProcessTree(lambda pid: None)
    new, _ = tree.fill([process(60, 50, 10), process(50, 1, 20), process(1, 0, 1)])

    node = tree.known(60)
    assert node is not None and node.ancestors == ()
    assert len(new) == 3


def test_processes_that_claim_to_be_each_others_parents_end_the_way() -> None:
    tree = ProcessTree(lambda pid: None)
    tree.fill([process(60, 50, 10), process(50, 60, 10), process(70, 70, 10)])

    for pid in (50, 60, 70):
        node = tree.known(pid)
        assert node is not None and len(node.ancestors) <= ANCESTORS_MAX


def test_what_a_copy_was_is_not_said_of_the_program_it_began() -> None:
    tree = ProcessTree(lambda pid: None)
    tree.fill([process(1, 0, 1, "init")._replace(executable="/sbin/init", command=("init",), uid=7)])
    tree.forked(50, 1, 10)

    node = tree.executed(50, 10)

    assert (node.process.executable, node.process.command, node.is_seen) == (None, (), False)
    assert node.process.uid == 7


def test_without_somebody_who_tells_of_processes_it_asks_and_knows_those_above() -> None:
    machine = {5: process(5, 4, 30, "five"), 4: process(4, 3, 20, "four"), 3: process(3, 0, 10, "three")}
    tree = ProcessTree(machine.get)

    node = tree.find(5)

    assert node is not None and [each.name for each in node.ancestors] == ["four", "three"]
    machine[5] = process(5, 3, 99, "other")
    other = tree.find(5)
    assert other is not None and (other.process.name, len(other.ancestors)) == ("other", 1)
    del machine[5]
    last = tree.find(5)
    assert last is not None and last.process.name == "other"
