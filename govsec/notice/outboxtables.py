"""The outbox's tables, and what is asked of them: one item a notice, channel and part."""

from __future__ import annotations

from govsec.database import Layout

#: ``tries`` and ``pauses`` are of channels, and outlive what was sent.
LAYOUT = Layout(
    "outbox",
    (
        """
        CREATE TABLE items (
          id INTEGER PRIMARY KEY, key TEXT NOT NULL, channel TEXT NOT NULL, severity INTEGER NOT NULL,
          body BLOB NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, created_ns INTEGER NOT NULL,
          next_ns INTEGER NOT NULL, owner TEXT NOT NULL, error TEXT NOT NULL, receipt TEXT NOT NULL,
          UNIQUE (key, channel));
        CREATE INDEX items_due ON items (channel, next_ns) WHERE state = 'waiting';
        CREATE INDEX items_state ON items (state, id);
        CREATE TABLE tries (channel TEXT NOT NULL, moment_ns INTEGER NOT NULL);
        CREATE INDEX tries_moment ON tries (channel, moment_ns);
        CREATE TABLE pauses (channel TEXT PRIMARY KEY, until_ns INTEGER NOT NULL) WITHOUT ROWID
        """,
        """
        ALTER TABLE items ADD COLUMN is_recorded INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX items_unrecorded ON items (id) WHERE state <> 'waiting' AND is_recorded = 0
        """,
        """
        ALTER TABLE items ADD COLUMN part BLOB NOT NULL DEFAULT x''
        """,
    ),
)
#: What may be sent, the most severe first.
DUE = """
    SELECT id, key, channel, body, tries, part FROM items
    WHERE state = 'waiting' AND channel = ? AND next_ns <= ?
    ORDER BY severity DESC, tries > 0, id LIMIT ?"""
#: Where a notice stands, on each channel and with all of its parts, by the keys that ``outbox`` gives them.
STATES = "SELECT DISTINCT state FROM items WHERE key = ? OR (key >= ? AND key < ?)"
#: Its parts on a channel that are due; one that somebody sends now is due when that lease runs out.
JOINED = """
    SELECT id, tries, part FROM items WHERE (key = ? OR (key >= ? AND key < ?)) AND channel = ?
      AND state = 'waiting' AND next_ns <= ? AND part <> x'' ORDER BY id"""
#: What is due with no try left: the worker of its last try did not live to tell.
BURY = """
    UPDATE items SET state = 'dead', owner = '',
      error = CASE error WHEN '' THEN 'no worker lived to tell what came of it' ELSE error END
    WHERE state = 'waiting' AND channel = ? AND next_ns <= ? AND tries >= ?"""
#: No wait is longer than a day (``outbox``): such a moment is of a clock that was wrong. Who sends it now
#: keeps it for as long as a lease may be.
MEND_ITEMS = """
    UPDATE items SET next_ns = ? + CASE owner WHEN '' THEN 0 ELSE ? END
    WHERE state = 'waiting' AND channel = ? AND next_ns > ?"""
_COLUMNS = "SELECT id, key, channel, body, tries, state, created_ns, next_ns, error, receipt, part FROM items"
#: For people, and for evidence.
LIST = f"{_COLUMNS} WHERE state = ? AND id > ? ORDER BY id LIMIT ?"
UNRECORDED = f"{_COLUMNS} WHERE state <> 'waiting' AND is_recorded = 0 ORDER BY id LIMIT ?"
