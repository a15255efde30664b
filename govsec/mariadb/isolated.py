"""A MariaDB server that a drill recovers: brought to a moment, started in the sandbox, checked, then asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from govsec.clock import Clock, format_time
from govsec.errors import IntegrityError, SourceError, UsageError
from govsec.mariadb.api import Cell
from govsec.mariadb.nonce import planted_digests
from govsec.mariadb.private import PrivateServer, plain
from govsec.mariadb.recover import Recovered, Recovery
from govsec.mariadb.server import Server
from govsec.mariadb.target import parse_target

#: Schemas that are not the restored database's own data.
_VIRTUAL = ("information_schema", "performance_schema", "sys")
_TABLES_MAX = 10_000
_SHOWN_MAX = 5


class IsolatedServer:
    """One recovered server, in a cell that ends it."""

    def __init__(self, cell: Cell, clock: Clock, path: str) -> None:
        self._recovery = Recovery(cell, clock, path)
        self._server: PrivateServer | None = None

    def recover(
        self, *, time: datetime | None, position: str | None, gtid: str | None, timeout_s: float, is_asking_nonce: bool
    ) -> dict[str, Any]:
        """Recover, start, check every table, look for the nonce; facts for the record.

        Raises:
            IntegrityError: a table is damaged, or the row that was written before is not there.
            SourceError, RefusedError, ConfigurationError: as :meth:`govsec.mariadb.recover.Recovery.recover`.
        """
        recovered = self._recovery.recover(parse_target(time, position, gtid), timeout_s)
        if recovered is None:
            raise UsageError("the moment lies before every base backup that was restored")
        self._server = self._recovery.serve(recovered)
        tables = self._check_tables(timeout_s)
        if is_asking_nonce:
            self._look_for_nonce(recovered, timeout_s)
        return _facts(recovered, tables, is_asking_nonce)

    def ask(self, query: str, timeout_s: float) -> object:
        """The one value that a query gives.

        Raises:
            SourceError: the server refuses it, or it gives no single value.
        """
        if self._server is None:
            raise SourceError("no server was recovered")
        answer = self._server.ask(query, timeout_s=timeout_s)
        if "error" in answer:
            raise SourceError(str(answer["error"]))
        rows = answer["rows"]
        if len(rows) != 1 or len(rows[0]) != 1:
            raise SourceError(f"the query gives {len(rows)} rows, one value was expected")
        return rows[0][0]

    def _check_tables(self, timeout_s: float) -> int:
        def check(server: Server) -> dict[str, Any]:
            names = server.query(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
                "AND table_schema NOT IN (%s, %s, %s) ORDER BY 1, 2",
                _VIRTUAL,
            )
            if len(names) > _TABLES_MAX:
                return {"error": f"more than {_TABLES_MAX} tables"}
            bad = []
            for schema, table in names:
                rows = server.query(f"CHECK TABLE {_quoted(str(schema))}.{_quoted(str(table))} EXTENDED")
                # Some engines answer that they cannot check; a note is no damage.
                wrong = [row for row in rows if str(row[2]).lower() == "error" or _is_bad_status(row)]
                if wrong:
                    bad.append([f"{schema}.{table}", plain(wrong[0][3])])
            return {"tables": len(names), "bad": bad[:_SHOWN_MAX], "bad_count": len(bad)}

        answer = self._call(check, timeout_s)
        if answer["bad_count"]:
            name, why = answer["bad"][0]
            raise IntegrityError(f"{answer['bad_count']} damaged tables, first {name!a}: {str(why)[:200]!a}")
        return int(answer["tables"])

    def _look_for_nonce(self, recovered: Recovered, timeout_s: float) -> None:
        if recovered.nonce is None:
            raise IntegrityError(
                "no row was planted in the log by then (nonce_database): nothing proves what came back"
            )
        wanted = recovered.nonce
        if not self._call(lambda server: {"is_there": wanted in planted_digests(server)}, timeout_s)["is_there"]:
            raise IntegrityError("the row that was written before is not in what was recovered")

    def _call(self, function: Any, timeout_s: float) -> dict[str, Any]:
        assert self._server is not None  # recover started it
        answer = self._server.call(function, timeout_s=timeout_s)
        if "error" in answer:
            raise SourceError(str(answer["error"])[:2000])
        return answer


def _facts(recovered: Recovered, tables: int, is_asking_nonce: bool) -> dict[str, Any]:
    commit = recovered.commit
    reached = str(recovered.base.place or recovered.base.id)
    return {
        "base": recovered.base.id,
        "reached": reached if commit is None else f"{commit.file}:{commit.position}",
        "reached_time": format_time(recovered.base.ended if commit is None else commit.time),
        "transactions": recovered.transactions,
        "tables": tables,
        "nonce": is_asking_nonce,
        **{f"{name}_s": seconds for name, seconds in recovered.seconds.items()},
    }


def _is_bad_status(row: tuple[Any, ...]) -> bool:
    return str(row[2]).lower() == "status" and str(row[3]).lower() not in ("ok", "table is already up to date")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
