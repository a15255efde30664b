"""A thin service: takes the signed notices that govsec's webhook channel sends, each once, and writes them out.

    python examples/webhook_receiver.py --secret-file hook.key [--port 8745]

One line of JSON on standard output for each notice. Signature, age and nonce are checked (``govsec.WebhookInbox``); a
notice that is sent again, because the answer was lost, is answered with 200 and not written again. TLS belongs to the
reverse proxy in front of it.

=====  =======  =====================================================================================
POST   /        200 taken, or known; 401 not signed, old or repeated; 400 no notice; 503 not now
=====  =======  =====================================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import govsec
from govsec.config import read_secret
from govsec.errors import FormatError, IntegrityError, LimitError, TryAgainError

KEYS_MAX = 10_000
BODY_SIZE_MAX = 4 << 20
CLIENT_TIMEOUT_S = 10


class Receiver(HTTPServer):
    """One request at a time; ``take`` is handed each notice once."""

    def __init__(
        self, address: tuple[str, int], inbox: govsec.WebhookInbox, take: Callable[[govsec.Notice], None]
    ) -> None:
        super().__init__(address, Handler)
        self.inbox = inbox
        self.take = take
        self.keys: OrderedDict[str, None] = OrderedDict()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver
    timeout = CLIENT_TIMEOUT_S
    server_version = "webhook-receiver"
    sys_version = ""

    def do_POST(self) -> None:
        """Check and take a notice."""
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > BODY_SIZE_MAX:
            self._answer(413, "a length of at most 4 MiB is needed")
            return
        try:
            notice = self.server.inbox.open(self.headers.get("Govsec-Signature", ""), self.rfile.read(int(size)))
        except (FormatError, LimitError) as error:
            self._answer(400, str(error))
        except IntegrityError as error:
            self._answer(401, str(error))
        except TryAgainError as error:
            self._answer(503, str(error))
        else:
            if notice.key not in self.server.keys:
                self.server.take(notice)
                self.server.keys[notice.key] = None
                if len(self.server.keys) > KEYS_MAX:
                    self.server.keys.popitem(last=False)
            self._answer(200, "taken")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests: what is taken is the output."""

    def _answer(self, status: int, words: str) -> None:
        body = json.dumps({"said": words}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def write_out(notice: govsec.Notice) -> None:
    """One line for whatever reads this."""
    print(json.dumps(notice.canonical(), ensure_ascii=False), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secret-file", type=Path, required=True, help="mode 0600; as the channel's secret_file")
    parser.add_argument("--digest", choices=("sha256", "sm3"), default="sha256")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8745)
    args = parser.parse_args(argv)
    try:
        inbox = govsec.WebhookInbox(read_secret(args.secret_file), govsec.SystemClock(), digest=args.digest)
        receiver = Receiver((args.host, args.port), inbox, write_out)
    except (govsec.GovsecError, OSError) as error:
        sys.stderr.write(f"webhook_receiver: {error}\n")
        return error.exit_code if isinstance(error, govsec.GovsecError) else 4
    sys.stderr.write(f"webhook receiver at http://{args.host}:{receiver.server_address[1]}/\n")
    with receiver, contextlib.suppress(KeyboardInterrupt):
        receiver.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
