"""The replication slot that keeps the log for us, and what it costs the server.

A slot makes the server keep its log until we confirm it. That is what closes the gap over an outage of ours, and what
fills the server's disk when the outage is long; so how much a slot keeps is looked at and limited.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from govsec.errors import ConfigurationError, FormatError, LockedError
from govsec.postgres.connection import Connection, literal
from govsec.postgres.wal import parse_lsn

_QUERY = """SELECT slot_type, active, restart_lsn, wal_status,
  pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
                  restart_lsn)::bigint
  FROM pg_catalog.pg_replication_slots WHERE slot_name = """


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the server says of a slot."""

    name: str
    is_active: bool
    #: Where the log begins that the slot keeps; None when it keeps none (any more).
    restart: int | None
    #: reserved, extended, unreserved or lost, in the server's words.
    status: str
    #: Log that the server keeps for it.
    kept_bytes: int

    @property
    def is_lost(self) -> bool:
        """The server gave the log up for reasons of its own (``max_slot_wal_keep_size``)."""
        return self.status == "lost" or self.restart is None


def slot_state(database: Connection, name: str) -> SlotState | None:
    """What the server says of the slot; None when there is none.

    Raises:
        ConfigurationError: it is a logical slot.
    """
    rows = database.rows(_QUERY + literal(name))
    if not rows:
        return None
    kind, active, restart, status, kept = rows[0]
    if kind != "physical":
        raise ConfigurationError(f"{database.name}: slot {name} is a {kind} one; a physical one is needed")
    return SlotState(
        name,
        active == "t",
        None if restart is None else parse_lsn(restart),
        status or "",
        int(kept) if kept is not None else 0,
    )


def take_place(database: Connection, place: str) -> None:
    """Be the only one, on any machine, who writes the log's tree ``place``, as long as the connection lasts.

    The server is asked (an advisory lock), because it is the one thing that all of them share.

    Raises:
        LockedError: somebody else is.
    """
    key = int.from_bytes(hashlib.sha256(f"govsec log {place}".encode()).digest()[:8], "big", signed=True)
    if database.value(f"SELECT pg_try_advisory_lock({key})") != "t":
        raise LockedError(f"{database.name}: another process, perhaps on another machine, writes this job's log")


def create_slot(replication: Connection, name: str) -> None:
    """Make a slot that keeps the log from now on. Raises as :func:`govsec.postgres.connection.error_of`."""
    if replication.version >= 150000:
        replication.rows(f'CREATE_REPLICATION_SLOT "{name}" PHYSICAL (RESERVE_WAL)')
    else:
        replication.rows(f'CREATE_REPLICATION_SLOT "{name}" PHYSICAL RESERVE_WAL')


def drop_slot(replication: Connection, name: str) -> None:
    """Give a slot up. Raises as :func:`govsec.postgres.connection.error_of`."""
    replication.rows(f'DROP_REPLICATION_SLOT "{name}"')


def start_of(state: SlotState | None, name: str, segment_size: int) -> int:
    """The beginning of the segment from which on a slot keeps the log. Raises ``FormatError``."""
    if state is None or state.restart is None:
        raise FormatError(f"slot {name} keeps no log")
    return state.restart // segment_size * segment_size
