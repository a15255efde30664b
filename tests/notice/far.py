"""Far sides: an HTTP server that answers what it is told and remembers what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass
class Far:
    """What to answer, and what came."""

    status: int = 200
    body: bytes = b'{"errcode":0,"errmsg":"ok"}'
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    #: Where set, says for path, headers and body what to answer in place of status and body.
    answer: Callable[[str, dict[str, str], bytes], tuple[int, bytes]] | None = None

    @property
    def last(self) -> Any:
        return json.loads(self.asked[-1][2])


@contextmanager
def far_side(context: ssl.SSLContext | None = None) -> Iterator[Far]:
    """A server on loopback that answers as ``Far`` says."""
    far = Far()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            far.asked.append((self.path, dict(self.headers), body))
            status, said = far.answer(self.path, dict(self.headers), body) if far.answer else (far.status, far.body)
            self.send_response(status)
            for name, value in far.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    far.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield far
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
