"""How a backup of files is divided: the upper directories are expanded here, what lies below goes to the workers.

::

    given      a directory above the paths that were asked for; only what leads there is in the snapshot
    expanded   an upper directory: its files are one unit, each directory in it is a branch of its own
    subtree    a directory with everything below it: one unit
    entry      a path that was asked for and is no directory: one unit

The workers give back finished nodes; putting them together from the leaves of this plan to its root is
:func:`assemble`. Breadth first, because the upper directories are few and what is below them is many.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from govsec.backup.previous import PreviousTree, decode_node, subtree_named
from govsec.backup.sources import FileSource
from govsec.backup.walk import Nodes, TreeWalker, explain, join_path, list_names
from govsec.errors import SourceError

#: So many units a worker that the last one does not keep the others waiting.
_UNITS_PER_WORKER = 75
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Part(Enum):
    """What a branch is; see the module's docstring."""

    GIVEN = "given"
    EXPANDED = "expanded"
    SUBTREE = "subtree"
    ENTRY = "entry"


@dataclass(slots=True)
class Branch:
    """A directory (or one entry) of the plan."""

    part: Part
    #: The path that was asked for, and the names that lead from there to here.
    root: bytes
    below: tuple[bytes, ...]
    name: bytes
    tree_id: bytes | None = None
    device_id: int = 0
    head: str = ""
    previous: PreviousTree = field(default_factory=PreviousTree.nothing)
    children: list[Branch] = field(default_factory=list)
    #: Names of an expanded directory's entries that are no directories.
    flat: list[bytes] = field(default_factory=list)

    @property
    def path(self) -> bytes:
        """What people call it."""
        path = self.root
        for name in self.below:
            path = join_path(path, name)
        return path


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan: the root of the snapshot, and the branches that are units of work."""

    root: Branch
    units: Sequence[Branch]


def open_base(branch: Branch) -> int:
    """A descriptor of the directory that a unit works in: the expanded one itself, else the one that the unit is in.

    The path that was asked for may lead through links, as the operator wrote it; below it no link is followed.

    Raises:
        OSError: it cannot be opened.
    """
    names = branch.below if branch.part is Part.EXPANDED else branch.below[:-1]
    is_inside = branch.part is Part.EXPANDED or branch.below
    directory = branch.root if is_inside else os.path.dirname(branch.root)  # noqa: PTH120 - bytes
    descriptor = os.open(directory, _OPEN_DIRECTORY)
    for name in names:
        try:
            below = os.open(name, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def save_unit(walker: TreeWalker, unit: Branch) -> Nodes:
    """The nodes that a unit gives. What cannot be read is noted in the walker's counts."""
    try:
        base = open_base(unit)
    except OSError as error:
        walker.counts.problem(unit.path, explain(error))
        return []
    try:
        if unit.part is Part.EXPANDED:
            return walker.save_flat(base, unit.path, unit.flat, unit.tree_id)
        if unit.part is Part.ENTRY:
            directory = os.path.dirname(unit.root)  # noqa: PTH120 - bytes
            return walker.save_flat(base, directory, [unit.name], unit.tree_id)
        node = walker.save_directory(base, unit.path, unit.name, unit.device_id, unit.tree_id)
        return [] if node is None else [(unit.name, node)]
    finally:
        os.close(base)


def make_plan(source: FileSource, walker: TreeWalker, parent_tree: bytes | None, workers: int) -> Plan:
    """Divide the source. What cannot be read up here is noted in the walker's counts.

    Raises:
        SourceError: none of the paths is there.
    """
    top = Branch(Part.GIVEN, b"/", (), b"", tree_id=parent_tree, previous=walker.previous(parent_tree))
    roots: list[Branch] = []
    tops = source.roots()
    for path in sorted(os.fsencode(path) for path in source.paths):
        try:
            if path in tops:
                roots.append(_place(walker, top, path))
            else:
                os.lstat(path)  # inside another path, so it needs no place; but it was asked for, and must be there
        except OSError as error:
            walker.counts.problem(path, "is not there" if isinstance(error, FileNotFoundError) else explain(error))
    if not roots:
        missing = ", ".join(ascii(str(path)) for path in source.paths[:5])
        raise SourceError(f"nothing to back up: {missing} cannot be read")
    pending = deque(root for root in roots if root.part is Part.SUBTREE)
    units = [root for root in roots if root.part is Part.ENTRY]
    # One worker needs no division, and does everything in one order.
    wanted = _UNITS_PER_WORKER * workers if workers > 1 else 0
    while pending and len(pending) + len(units) < wanted:
        branch = pending.popleft()
        if _expand(source, walker, branch):
            pending.extend(branch.children)
        if branch.part is Part.SUBTREE or branch.flat:
            units.append(branch)
    return Plan(roots[0] if roots[0].root == b"/" else top, [*units, *pending])


def assemble(plan: Plan, walker: TreeWalker, results: Mapping[int, Nodes]) -> bytes:
    """The id of the snapshot's root tree, from the units' nodes by position. Saves the upper trees."""
    by_branch = {id(unit): results.get(position, []) for position, unit in enumerate(plan.units)}
    if plan.root.part is Part.SUBTREE:
        for _, node in by_branch[id(plan.root)]:
            return bytes.fromhex(decode_node(node).subtree or "")
        raise SourceError("nothing to back up: / cannot be read")
    return _assemble_tree(plan.root, walker, by_branch)


def _assemble_tree(branch: Branch, walker: TreeWalker, by_branch: Mapping[int, Nodes]) -> bytes:
    nodes = list(by_branch.get(id(branch), []))
    for child in branch.children:
        if child.part in (Part.SUBTREE, Part.ENTRY):
            nodes += by_branch[id(child)]
        else:
            tree_id = _assemble_tree(child, walker, by_branch)
            nodes.append((child.name, f'{child.head}null,"subtree":"{tree_id.hex()}"}}'.encode()))
    return walker.finish_directory([node for _, node in sorted(nodes)], branch.previous)


def _place(walker: TreeWalker, top: Branch, path: bytes) -> Branch:
    """The branch of a path that was asked for, hung below the directories that lead to it."""
    status = os.lstat(path)
    is_directory = stat.S_ISDIR(status.st_mode)
    if path == b"/":
        return Branch(Part.SUBTREE, path, (), b".", tree_id=top.tree_id, device_id=status.st_dev)
    above = top
    *directories, name = path[1:].split(b"/")
    for position, directory in enumerate(directories):
        known = next((child for child in above.children if child.name == directory), None)
        if known is None:
            known = _given(walker, above, b"/" + b"/".join(directories[: position + 1]), directory)
            above.children.append(known)
        above = known
    if not is_directory:
        branch = Branch(Part.ENTRY, path, (), name, tree_id=above.tree_id)
    else:
        tree_id = subtree_named(above.previous, name)
        branch = Branch(Part.SUBTREE, path, (), name, tree_id=tree_id, device_id=status.st_dev)
    above.children.append(branch)
    return branch


def _given(walker: TreeWalker, above: Branch, path: bytes, name: bytes) -> Branch:
    descriptor = os.open(path, _OPEN_DIRECTORY)
    try:
        head = walker.directory_head(descriptor, name, os.fstat(descriptor))
    finally:
        os.close(descriptor)
    tree_id = subtree_named(above.previous, name)
    return Branch(Part.GIVEN, path, (), name, tree_id=tree_id, head=head, previous=walker.previous(tree_id))


def _expand(source: FileSource, walker: TreeWalker, branch: Branch) -> bool:
    """Make a subtree an expanded directory. False, and a subtree still, when it is better left to a worker."""
    try:
        base = open_base(branch)
        try:
            descriptor = os.open(branch.name, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=base)
        finally:
            os.close(base)
    except OSError:
        return False  # the worker meets the same error and notes it
    try:
        status = os.fstat(descriptor)
        if source.one_file_system and status.st_dev != branch.device_id:
            return False
        head = walker.directory_head(descriptor, branch.name, status)
        previous = walker.previous(branch.tree_id)
        children, flat = [], []
        for name in sorted(list_names(descriptor)):
            path = join_path(branch.path, name)
            if walker.is_excluded(path):
                continue
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                tree_id = subtree_named(previous, name)
                below = (*branch.below, name)
                children.append(Branch(Part.SUBTREE, branch.root, below, name, tree_id, branch.device_id))
            else:
                flat.append(name)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    branch.part, branch.head, branch.previous = Part.EXPANDED, head, previous
    branch.children, branch.flat = children, flat
    return True
