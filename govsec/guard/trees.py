"""Which process tree something belongs to: what one person or service does with many short-lived programs is one thing.

One idea: whoever encrypts a disk may start ``openssl`` and ``mv`` ten thousand times. What they share is the topmost
process below the system's first one that lives in the same control group: a session, a service, a job. Without control
groups it is the topmost process that is no log-in or service program itself.

Where nobody knows who did it (a source without process numbers), things are put together by folder.
"""

from __future__ import annotations

from govsec.guard.api import Actor
from govsec.host.events import FileChange
from govsec.host.tables import Process

#: Programs that start everybody else's sessions: trees end below them, or all users would be one.
_GATES = frozenset(
    (
        "systemd",
        "init",
        "sshd",
        "sshd-session",
        "cron",
        "crond",
        "login",
        "agetty",
        "dockerd",
        "containerd-shim",
        "tini",
    )
)
#: Folders of a path that name a place of work: ``/srv/share/office``.
_PLACE_DEPTH = 3


def actor_of(change: FileChange) -> Actor | None:
    """Who changed the file, when that is known."""
    return Actor(change.process, change.ancestors) if change.process is not None else None


def root_of(actor: Actor) -> Process:
    """The process that the whole tree comes from."""
    root = actor.process
    for ancestor in actor.ancestors:
        if ancestor.key.pid <= 1 or ancestor.name in _GATES or ancestor.cgroup != root.cgroup:
            break
        root = ancestor
    return root


def tree_of(actor: Actor | None, path: str) -> str:
    """A key for the tree: stable while its topmost process lives; by folder when nobody knows who it was."""
    if actor is not None:
        key = root_of(actor).key
        return f"pid {key.pid}@{key.start_ticks}"
    return "in " + "/".join(path.split("/")[: _PLACE_DEPTH + 1])
