"""A machine's record (``govsec.host.v1``) as words and tables on a terminal, in Chinese and English.

What is hostile in it, names above all, is made printable by whoever prints the lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.width import columns, padded

#: Each cell is cut to this on a terminal; JSON has all of it.
_CELL_COLUMNS_MAX = 60
_BUSIEST = 8
_LISTENERS_MAX = 40
Row = Mapping[str, Any]
_NUMBER = re.compile(r"\b\d+\b")
_NO_WORD = re.compile(r"[^a-z]+")


def overview(record: Row, lang: Lang) -> str:
    """The machine on one screen: how it is, who listens, who works, what is missing."""
    words = Catalogue("host", lang)
    tables: Row = record["tables"]
    names = user_names(tables)
    blocks = [_head(record, words), *_pressure(tables, words)]
    for title, rows in _blocks(tables, names, words):
        blocks += ["", title, *("  " + line for line in rows)]
    counts = [line for line in _counts(tables, words) if line]
    if counts:
        blocks += ["", words.text("view.counts"), *("  " + line for line in counts)]
    missing = missing_lines(record, words)
    if missing:
        blocks += ["", words.text("view.missing"), *("  " + line for line in missing)]
    return "\n".join(blocks)


def table_words(record: Row, name: str, count_max: int, lang: Lang) -> str:
    """One table as lines, at most ``count_max`` rows, and how many there are."""
    words = Catalogue("host", lang)
    table = record["tables"][name]
    if _is_unavailable(table):
        reason = reason_words(table["unavailable"], words)
        return words.text("view.unavailable", {"table": words.text(f"table.{name}"), "reason": reason})
    rows = table if isinstance(table, list) else [table]
    names = user_names(record["tables"])
    cells = [_CELLS[name](row, names, words) for row in rows[:count_max]]
    heads = [words.text(f"column.{column}") for column in _COLUMNS[name]]
    shown = words.text("view.shown", {"shown": len(cells), "count": len(rows)})
    return "\n".join([f"# {words.text(f'table.{name}')}", *_aligned([heads, *cells]), shown])


def missing_lines(record: Row, words: Catalogue) -> list[str]:
    """What could not be read, and what the tables lack."""
    lines = [
        words.text(
            "view.unavailable",
            {"table": words.text(f"table.{name}"), "reason": reason_words(table["unavailable"], words)},
        )
        for name, table in record["tables"].items()
        if _is_unavailable(table) and table["unavailable"] != "not asked for"
    ]
    for gap in record["gaps"]:
        key = "view.gap" if gap["count"] else "view.gap_uncounted"
        facts = {
            "table": words.text(f"table.{gap['table']}"),
            "reason": reason_words(gap["reason"], words),
            "count": gap["count"],
        }
        lines.append(words.text(key, facts))
    return lines


def reason_words(reason: str, words: Catalogue) -> str:
    """Why something is missing, in the reader's language; numbers, paths and what a tool said stay as they are.

    The catalogue has a reason under its words, numbers left out: ``reason.more_than_accounts``.
    """
    parts = []
    for part in reason.split(": "):
        number = _NUMBER.search(part)
        key = "reason." + _NO_WORD.sub("_", _NUMBER.sub("", part).lower()).strip("_")
        parts.append(words.text(key, {"number": number[0] if number else ""}) if words.has(key) else part)
    return ("：" if words.lang == "zh" else ": ").join(parts)


def user_names(tables: Row) -> dict[int, str]:
    """The first account of each number."""
    accounts = tables["accounts"]
    found: dict[int, str] = {}
    for account in accounts if isinstance(accounts, list) else ():
        found.setdefault(account["uid"], account["name"])
    return found


def rows_of(tables: Row, name: str) -> list[Any] | None:
    """The rows of a table, ``None`` where it is not there."""
    table = tables[name]
    if _is_unavailable(table):
        return None
    return table if isinstance(table, list) else [table]


def end_words(address: str, port: int) -> str:
    """An address and a port in one word."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_exposed(listener: Row) -> bool:
    """The socket listens on more than its machine's loopback."""
    address = str(listener["address"])
    return not (address.startswith(("127.", "::ffff:127.")) or address == "::1")


def _is_unavailable(table: object) -> bool:
    return isinstance(table, Mapping) and "unavailable" in table


def _head(record: Row, words: Catalogue) -> str:
    machine, tables = record["machine"], record["tables"]
    facts = {"name": record["name"], "os": machine["os_name"] or "?", "kernel": machine["kernel"] or "?"}
    parts = [words.text("view.machine", facts)]
    if machine["booted"]:
        up = datetime.fromisoformat(record["time"]) - datetime.fromisoformat(machine["booted"])
        parts.append(words.text("view.up", {"up_s": max(0.0, up.total_seconds())}))
    if machine["container"]:
        parts.append(words.text("view.container", {"kind": machine["container"]}))
    second = []
    for load in rows_of(tables, "load") or ():
        averages = {name: f"{load[f'average_{key}m']:.2f}" for name, key in (("one", 1), ("five", 5), ("fifteen", 15))}
        second.append(words.text("view.load", {**averages, "cores": load["cores"]}))
    for memory in rows_of(tables, "memory") or ():
        sizes = {"available_bytes": memory["available_bytes"], "total_bytes": memory["total_bytes"]}
        second.append(words.text("view.memory", sizes))
        if memory["swap_total_bytes"]:
            used = memory["swap_total_bytes"] - memory["swap_free_bytes"]
            second.append(words.text("view.swap", {"used_bytes": used, "total_bytes": memory["swap_total_bytes"]}))
    return "\n".join(" · ".join(line) for line in (parts, second) if line)


def _pressure(tables: Row, words: Catalogue) -> list[str]:
    rows = rows_of(tables, "pressure") or []
    shares = " · ".join(f"{row['resource']} {row['some_60s']:.1f} %" for row in rows)
    return [words.text("view.pressure", {"shares": shares})] if shares else []


def _blocks(tables: Row, names: dict[int, str], words: Catalogue) -> list[tuple[str, list[str]]]:
    found = []
    disks = rows_of(tables, "disks")
    if disks:
        found.append((words.text("view.disks"), _short("disks", disks, names, words)))
    listeners = rows_of(tables, "listeners")
    if listeners is not None:
        exposed = sum(is_exposed(row) for row in listeners)
        ranked = sorted(listeners, key=lambda row: not is_exposed(row))[:_LISTENERS_MAX]
        title = words.text("view.listening", {"count": len(listeners), "exposed": exposed})
        found.append((title, _short("listeners", ranked, names, words)))
    logins = rows_of(tables, "logins")
    if logins is not None:
        lines = _short("logins", logins, names, words) if logins else [words.text("view.none")]
        found.append((words.text("view.logins", {"count": len(logins)}), lines))
    processes = rows_of(tables, "processes")
    if processes:
        programs = [row for row in processes if not row["is_kernel_thread"]]
        busiest = sorted(programs, key=lambda row: -row["cpu_s"])[:_BUSIEST]
        title = words.text("view.busiest", {"count": len(processes)})
        found.append((title, _short("processes", busiest, names, words)))
    failed = [row for row in rows_of(tables, "services") or () if row["state"] == "failed"]
    if failed:
        title = words.text("view.failed", {"count": len(failed)})
        found.append((title, [f"{row['name']}  {row['file'] or ''}".rstrip() for row in failed]))
    return found


def _short(name: str, rows: Sequence[Row], names: dict[int, str], words: Catalogue) -> list[str]:
    heads = [words.text(f"column.{column}") for column in _COLUMNS[name]]
    return _aligned([heads, *(_CELLS[name](row, names, words) for row in rows)])


def _counts(tables: Row, words: Catalogue) -> list[str]:
    lines = []
    accounts = rows_of(tables, "accounts")
    if accounts is not None:
        roots = ", ".join(row["name"] for row in accounts if row["uid"] == 0)
        logins = sum(can_log_in(row) for row in accounts)
        lines.append(words.text("view.accounts", {"count": len(accounts), "logins": logins, "roots": roots}))
        open_to_all = [row["name"] for row in accounts if row["has_password"] is False and row["is_locked"] is False]
        if open_to_all:
            lines.append(words.text("view.no_password", {"names": ", ".join(open_to_all)}))
    services = rows_of(tables, "services")
    if services is not None:
        states = [row["state"] for row in services]
        active = "?" if set(states) <= {None} else sum(state == "active" for state in states)
        on = sum(row["enabled"] == "enabled" for row in services)
        lines.append(words.text("view.services", {"count": len(services), "active": active, "enabled": on}))
    modules = rows_of(tables, "modules")
    if modules is not None:
        unsigned = ", ".join(row["name"] for row in modules if row["is_signed"] is False) or words.text("view.nothing")
        lines.append(words.text("view.modules", {"count": len(modules), "unsigned": unsigned}))
    certificates = rows_of(tables, "certificates")
    if certificates:
        when = min(str(row["not_after"]) for row in certificates)
        lines.append(words.text("view.certificates", {"count": len(certificates), "when": when[:10]}))
    for name in ("tasks", "packages", "privileged", "sockets"):
        rows = rows_of(tables, name)
        if rows is not None:
            lines.append(words.text(f"view.{name}", {"count": len(rows)}))
    return lines


def can_log_in(account: Row) -> bool:
    """The account's shell is one that people work in."""
    return str(account["shell"]).rsplit("/", 1)[-1] not in ("nologin", "false", "sync", "halt", "shutdown", "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[_cut(plain(cell)) for cell in row] for row in rows]
    widths = [max(columns(row[at]) for row in cells) for at in range(len(cells[0]))]
    return ["  ".join(padded(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cut(text: str) -> str:
    text = text.replace("\n", "\\n").replace("\t", "\\t")
    while columns(text) > _CELL_COLUMNS_MAX:
        text = text[: max(1, len(text) - max(1, columns(text) - _CELL_COLUMNS_MAX)) - 1] + "…"
    return text


def _user(uid: int, names: Mapping[int, str]) -> str:
    return names.get(uid, str(uid))


def _day(time: str) -> str:
    return time[:10]


def _moment(time: str | None) -> str:
    return "–" if time is None else f"{time[:10]} {time[11:16]}Z"


def _truth(value: bool | None, words: Catalogue) -> str:
    return "?" if value is None else words.text("view.said_yes" if value else "view.said_no")


def _process(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [
        str(row["key"]["pid"]), str(row["parent_pid"]), _user(row["uid"], names), row["name"], row["state"],
        _moment(row["started"]), words.duration(row["cpu_s"]), words.size(row["rss_bytes"]),
        row["command"] or row["executable"] or "–",
    ]  # fmt: skip


def _listener(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    process = f"{row['name']} ({row['process']['pid']})" if row["process"] else "?"
    end = end_words(row["address"], row["port"])
    reach = _truth(is_exposed(row), words)
    return [row["protocol"], end, reach, process, _user(row["uid"], names), row["executable"] or "–"]


def _socket(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    local = end_words(row["local_address"], row["local_port"])
    remote = end_words(row["remote_address"], row["remote_port"])
    return [row["protocol"], local, remote, row["state"], _user(row["uid"], names)]


def _account(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    password = (
        "?" if row["has_password"] is None else words.text("view.said_yes" if row["has_password"] else "view.said_no")
    )
    return [row["name"], str(row["uid"]), ", ".join(row["groups"]), row["shell"], password]


def _disk(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    full = 1 - row["available_bytes"] / row["total_bytes"] if row["total_bytes"] else 0.0
    return [
        row["mount"], row["kind"], words.size(row["total_bytes"]), words.size(row["available_bytes"]), f"{full:.0%}",
    ]  # fmt: skip


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def _login(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [row["user"], row["terminal"], row["source"] or "–", _moment(row["started"])]


def _load(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [*(f"{row[f'average_{minutes}m']:.2f}" for minutes in (1, 5, 15)), str(row["cores"])]


def _memory(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [words.size(row[name]) for name in ("total_bytes", "available_bytes", "swap_free_bytes")]


def _stall(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [row["resource"], _share(row["some_60s"]), _share(row["full_60s"])]


def _traffic(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    sizes = [words.size(row["received_bytes"]), words.size(row["sent_bytes"])]
    return [row["interface"], *sizes, str(row["received_dropped"]), str(row["errors"])]


def _service(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    states = [row["state"] or "?", row["enabled"] or "–"]
    return [row["name"], *states, row["file"] or "–", "; ".join(row["commands"])]


def _module(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    users = ", ".join(row["used_by"])
    return [row["name"], words.size(row["size_bytes"]), users, _truth(row["is_signed"], words), row["taint"]]


def _task(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [row["kind"], row["owner"], row["schedule"], row["command"], row["file"]]


def _program(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    rights = ", ".join(row["capabilities"]) or "set-id"
    return [row["path"], f"{row['mode']:04o}", _user(row["uid"], names), rights]


def _package(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [row["name"], row["version"], row["architecture"], row["manager"]]


def _certificate(row: Row, names: Mapping[int, str], words: Catalogue) -> list[str]:
    return [_day(row["not_after"]), row["subject"], row["key"], row["path"]]


#: The columns of each table, and the cells of a row of it.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "processes": ("pid", "parent_pid", "user", "name", "state", "started", "cpu", "memory", "command"),
    "sockets": ("protocol", "local", "remote", "state", "user"),
    "listeners": ("protocol", "address", "reach", "process", "user", "executable"),
    "accounts": ("name", "uid", "groups", "shell", "password"),
    "logins": ("user", "terminal", "source", "started"),
    "load": ("average_1m", "average_5m", "average_15m", "cores"),
    "memory": ("total", "available", "swap_free"),
    "disks": ("mount", "kind", "total", "available", "full"),
    "pressure": ("resource", "some_60s", "full_60s"),
    "traffic": ("interface", "received", "sent", "dropped", "errors"),
    "services": ("name", "state", "enabled", "file", "command"),
    "modules": ("name", "size", "used_by", "signed", "taint"),
    "tasks": ("kind", "owner", "schedule", "command", "file"),
    "privileged": ("path", "mode", "user", "rights"),
    "packages": ("name", "version", "architecture", "manager"),
    "certificates": ("not_after", "subject", "key", "path"),
}
_CELLS: dict[str, Callable[[Row, Mapping[int, str], Catalogue], list[str]]] = {
    "processes": _process,
    "sockets": _socket,
    "listeners": _listener,
    "accounts": _account,
    "logins": _login,
    "load": _load,
    "memory": _memory,
    "disks": _disk,
    "pressure": _stall,
    "traffic": _traffic,
    "services": _service,
    "modules": _module,
    "tasks": _task,
    "privileged": _program,
    "packages": _package,
    "certificates": _certificate,
}
