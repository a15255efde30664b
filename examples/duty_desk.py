"""A duty desk: a thin HTTP service that shows open cases, what must be reported by when, and who is on duty.

    python examples/duty_desk.py --config govsec.yaml --token-file desk.token [--port 8746]

    curl -H "Authorization: Bearer $(cat desk.token)" http://127.0.0.1:8746/api/board

=====  ====================================  ============================================================
GET    /                                     the page: works without scripts, reloads itself each minute
GET    /api/board                            counts, open cases (soonest due first), who is on duty
GET    /api/cases/CASE                       one case with its duties and timeline
POST   /api/cases/CASE/acknowledge           {"by": "张三"}: a person takes it on; calls for it end
=====  ====================================  ============================================================

The token is asked for everything, the page too (a browser asks for it as the password of any user). Levels and
lateness are words, never colours alone. TLS belongs to the reverse proxy in front of it.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hmac
import html
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import govsec
from govsec.config import read_secret
from govsec.errors import ConfigurationError, RefusedError, UsageError

CHINA = timezone(timedelta(hours=8))
BODY_SIZE_MAX = 4096
CLIENT_TIMEOUT_S = 10
TOKEN_LENGTH_MIN = 20
LEVELS = {
    "general": "Ⅳ级 一般",
    "relatively_major": "Ⅲ级 较大",
    "major": "Ⅱ级 重大",
    "particularly_major": "Ⅰ级 特别重大",
}
PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8"><meta http-equiv="refresh" content="60">
<title>值班台</title><style>body{font:16px sans-serif;margin:2em}td,th{padding:.3em 1em;text-align:left}</style>
<h1>值班台 <small>duty desk</small></h1><p>%(counts)s</p><p>当班：%(duty)s</p>
<table><tr><th>编号<th>级别<th>阶段<th>报告时限<th>认领人<th>标题</tr>%(rows)s</table></html>"""


class Desk(ThreadingHTTPServer):
    """Serves the board of a site to whoever knows the token. Each request opens the file of cases for itself."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], config: govsec.Config, clock: govsec.SystemClock, token: bytes
    ) -> None:
        super().__init__(address, Handler)
        self.config = config
        self.clock = clock
        self.token = token


class Handler(BaseHTTPRequestHandler):
    """One request: who may ask, what is asked, how it is answered."""

    server: Desk
    timeout = CLIENT_TIMEOUT_S
    server_version = "duty-desk"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer the page or a question."""
        one = re.fullmatch(r"/api/cases/([0-9]{8}-[0-9]{4,9})", self.path)
        if self.path == "/":
            self._answer(lambda board: page_of(board, self.server.clock).encode(), "text/html; charset=utf-8")
        elif self.path == "/api/board":
            self._answer(
                lambda board: _json({"board": board.board(), "cases": board.cases(), "on_duty": board.on_duty()})
            )
        elif one:
            self._answer(lambda board: _json(board.case(one[1])))
        else:
            self._send(404, _json({"error": "there is nothing here"}))

    def do_POST(self) -> None:
        """Take a case on."""
        one = re.fullmatch(r"/api/cases/([0-9]{8}-[0-9]{4,9})/acknowledge", self.path)
        if one is None:
            self._send(404, _json({"error": "there is nothing here"}))
        elif self.headers.get_content_type() != "application/json":
            # No form of another site can send that, whatever a browser adds to it.
            self._send(415, _json({"error": "the body must be JSON"}))
        else:
            self._answer(lambda board: _json(board.acknowledge(one[1], by=self._name())))

    def log_message(self, format: str, *args: object) -> None:
        """Request lines may hold anything."""
        sys.stderr.write((format % args).encode("unicode_escape").decode() + "\n")

    def _answer(self, ask: Callable[[govsec.IncidentBoard], bytes], kind: str = "application/json") -> None:
        if not self._is_known():
            self._send(401, _json({"error": "the token is missing or wrong"}), extra=("WWW-Authenticate", "Basic"))
            return
        try:
            with govsec.IncidentBoard(self.server.config, self.server.clock) as board:
                body = ask(board)
        except UsageError as error:
            self._send(400, _json({"error": str(error)}))
        except RefusedError as error:
            self._send(404, _json({"error": str(error)}))
        except govsec.GovsecError as error:
            self._send(502, _json({"error": str(error)}))
        else:
            self._send(200, body, kind)

    def _is_known(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.server.token)

    def _name(self) -> str:
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > BODY_SIZE_MAX:
            raise UsageError(f"the body must have a length of at most {BODY_SIZE_MAX} bytes")
        try:
            body = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is not JSON") from error
        if not isinstance(body, dict) or set(body) != {"by"} or not isinstance(body["by"], str):
            raise UsageError('expected {"by": NAME}')
        return body["by"]

    def _send(
        self, status: int, body: bytes, kind: str = "application/json", extra: tuple[str, str] | None = None
    ) -> None:
        self.send_response(status)
        if extra is not None:
            self.send_header(*extra)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        )
        self.end_headers()
        self.wfile.write(body)


def page_of(board: govsec.IncidentBoard, clock: govsec.SystemClock) -> str:
    """The page for people. What others wrote stands in it as text."""
    counts, lines, duty = board.board(), board.cases(), board.on_duty()
    now = clock.now()
    rows = ["".join(f"<td>{html.escape(text)}" for text in _row(line, now)) for line in lines]
    people = "；".join(f"{name}：{'、'.join(who) or '无人'}" for name, who in duty.items()) or "未配置值班表"
    open_count = sum(counts["by_stage"].values())
    said = f"未结案件 {open_count}；逾期 {counts['late_count']}；无人认领 {counts['unacknowledged_count']}"
    return PAGE % {"counts": said, "duty": html.escape(people), "rows": "".join(f"<tr>{row}</tr>" for row in rows)}


def _row(line: dict[str, Any], now: datetime) -> tuple[str, ...]:
    moment = datetime.fromisoformat(line["next_due_at"]) if line["next_due_at"] else None
    due = f"{moment.astimezone(CHINA):%Y-%m-%d %H:%M}" if moment else "—"
    late = "（已逾期）" if moment and moment < now else ""
    level = LEVELS[line["level"]] + ("" if line["is_confirmed"] else "（建议）")
    return line["id"], level, line["stage"], due + late, line["acknowledged_by"] or "无人", line["title"]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, required=True, help="mode 0600; head -c 30 /dev/urandom | base64")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=8746)
    args = parser.parse_args(argv)
    try:
        token = read_secret(args.token_file)
        if len(token) < TOKEN_LENGTH_MIN:
            raise ConfigurationError(f"{args.token_file}: shorter than {TOKEN_LENGTH_MIN} characters")
        desk = Desk((args.host, args.port), govsec.load_config(args.config), govsec.SystemClock(), token)
    except (govsec.GovsecError, OSError) as error:
        sys.stderr.write(f"duty_desk: {error}\n")
        return error.exit_code if isinstance(error, govsec.GovsecError) else 4
    sys.stderr.write(f"duty desk at http://{args.host}:{desk.server_address[1]}/\n")
    with desk, contextlib.suppress(KeyboardInterrupt):
        desk.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
