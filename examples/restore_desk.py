"""A restore desk: a thin HTTP service where an officer finds a file in a backup and has it laid on a desk.

It lists snapshots, browses them and restores one path at a time into a directory of its own. It cannot write to the
repository, and it cannot restore to anywhere else. A request needs the token; the page that a browser is given holds no
data and asks the person for it. The service listens on this machine only, unless told otherwise.

    python examples/restore_desk.py --config govsec.yaml --center far --token-file desk.token --desk /srv/desk

    curl -H "Authorization: Bearer $(cat desk.token)" http://127.0.0.1:8743/api/snapshots

=====  =======================================================  ==========================================
GET    /                                                        the page
GET    /api/snapshots                                           newest first
GET    /api/snapshots/ID/files?path=/srv/hr&after=NAME          one directory, a thousand names at a time
POST   /api/restores  {"snapshot": ID, "path": "/srv/hr/a"}     202 and the number of the restore
GET    /api/restores/NUMBER                                     how far it is
=====  =======================================================  ==========================================

What guards it: the token, compared in constant time; ``Host`` must be a name of this service (so no page of another
site reaches it through a rebound name); changes need JSON from its own origin (no form of another site can send that);
bodies, headers, answers, waiting restores and simultaneous connections are limited, and slow clients are cut off.
TLS belongs to the reverse proxy in front of it, where it is used over a network.
"""

from __future__ import annotations

import argparse
import hmac
import json
import re
import sys
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

from govsec.assemble.systems import Site
from govsec.backup.restore import restore
from govsec.clock import SystemClock, format_time
from govsec.config import load_config, read_secret
from govsec.errors import ConfigurationError, GovsecError, ObjectNotFoundError, TryAgainError, UsageError
from govsec.repo.repository import Repository
from govsec.repo.tree import Node, raw_name

BODY_SIZE_MAX = 4096
NAMES_MAX = 1000
WAITING_MAX = 10
RESTORES_MAX = 1000
CONNECTIONS_MAX = 16
CLIENT_TIMEOUT_S = 10
TOKEN_LENGTH_MIN = 20

PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8"><title>恢复服务台</title>
<style>body{font:16px sans-serif;margin:2em;max-width:60em}li{cursor:pointer}pre{background:#eee;padding:1em}</style>
<h1>恢复服务台 <small>restore desk</small></h1>
<p><input id="token" type="password" placeholder="token" autocomplete="off"> <button id="go">快照 snapshots</button></p>
<p id="where"></p><ul id="list"></ul><pre id="said"></pre>
<script>
const $ = id => document.getElementById(id);
async function ask(path, body) {
  const headers = {Authorization: 'Bearer ' + $('token').value};
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, {method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body)});
  const value = await answer.json();
  if (!answer.ok) { $('said').textContent = value.error; throw new Error(value.error); }
  return value;
}
function show(items, onclick) {
  $('list').replaceChildren(...items.map(item => {
    const li = document.createElement('li');
    li.textContent = item.label; li.onclick = () => onclick(item);
    return li;
  }));
}
async function browse(snapshot, path) {
  const {files} = await ask(`/api/snapshots/${snapshot}/files?path=${encodeURIComponent(path)}`);
  $('where').textContent = snapshot.slice(0, 8) + ' ' + path;
  const label = f => (f.type === 'dir' ? '▸ ' : '') + f.name + (f.size ? ' · ' + f.size : '');
  show(files.map(f => ({...f, label: label(f)})), async f => {
    const below = path.replace(/\\/$/, '') + '/' + f.name;
    if (f.type === 'dir') return browse(snapshot, below);
    $('said').textContent = JSON.stringify(await ask('/api/restores', {snapshot, path: below}), null, 1);
  });
}
$('go').onclick = async () => {
  const {snapshots} = await ask('/api/snapshots');
  const label = s => s.time + ' ' + s.hostname + ' ' + s.paths.join(' ');
  show(snapshots.map(s => ({...s, label: label(s)})), s => browse(s.id, '/'));
};
</script></html>"""


def _hash_of(tag: str) -> str:
    inner = PAGE.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
    return f"'sha256-{b64encode(sha256(inner.encode()).digest()).decode()}'"


#: Nothing runs in the page but its own script, whatever a file in a backup is called.
POLICY = (
    f"default-src 'none'; connect-src 'self'; script-src {_hash_of('script')}; style-src {_hash_of('style')}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Restore:
    """One request and what became of it."""

    number: int
    snapshot: str
    path: str
    state: str = "waiting"
    place: str = ""
    problem: str = ""


class Desk:
    """What the service does, without HTTP. Browsing and restoring go on beside each other, one of each at a time."""

    def __init__(self, repository: Repository, directory: Path) -> None:
        self._repository = repository
        self._restorer = repository.clone()
        self._directory = directory
        self._lock = threading.Lock()
        self._restores: OrderedDict[int, Restore] = OrderedDict()
        self._count = 0
        self._waiting: Queue[Restore | None] = Queue(WAITING_MAX)
        self._worker = threading.Thread(target=self._work, name="restores", daemon=True)
        self._worker.start()

    def snapshots(self) -> list[dict[str, object]]:
        """All snapshots, newest first."""
        with self._lock:
            found = self._repository.snapshots()
        return [
            {"id": s.id, "time": format_time(s.time), "hostname": s.hostname, "paths": s.paths, "tags": s.tags}
            for s in reversed(found)
        ]

    def files(self, snapshot_id: str, path: str, after: str) -> list[dict[str, object]]:
        """At most a thousand names of one directory, those behind ``after``."""
        with self._lock:
            nodes = self._directory_of(snapshot_id, path)
        behind = [node for node in nodes if _name(node) > after] if after else nodes
        return [
            {"name": _name(node), "type": node.type, "size": node.size, "mtime": node.mtime}
            for node in behind[:NAMES_MAX]
        ]

    def request(self, snapshot_id: str, path: str) -> Restore:
        """Put a restore in the queue. Raises ``TryAgainError`` when too many wait."""
        with self._lock:
            snapshot = self._repository.resolve(snapshot_id)
            self._count += 1
            wanted = Restore(self._count, snapshot.id, _checked(path))
            if self._waiting.full():
                raise TryAgainError(f"{WAITING_MAX} restores wait already")
            self._restores[wanted.number] = wanted
            self._waiting.put(wanted)  # there is room: nobody else puts while the lock is held
            while len(self._restores) > RESTORES_MAX:
                self._restores.popitem(last=False)
        return wanted

    def restore(self, number: int) -> Restore | None:
        """How far a restore is."""
        return self._restores.get(number)

    def close(self) -> None:
        """Finish what waits, then end."""
        if self._worker.is_alive():
            self._waiting.put(None)
            self._worker.join()

    def _directory_of(self, snapshot_id: str, path: str) -> list[Node]:
        snapshot = self._repository.resolve(snapshot_id)
        nodes = self._repository.load_tree(bytes.fromhex(snapshot.tree)).nodes
        for part in [part for part in _checked(path).split("/") if part]:
            below = next((node for node in nodes if _name(node) == part and node.subtree), None)
            if below is None or below.subtree is None:
                raise ObjectNotFoundError(f"no directory {path!r} in snapshot {snapshot.short_id}")
            nodes = self._repository.load_tree(bytes.fromhex(below.subtree)).nodes
        return nodes

    def _work(self) -> None:
        while (wanted := self._waiting.get()) is not None:
            place = self._directory / f"{wanted.number:05}-{wanted.snapshot[:8]}"
            self._restores[wanted.number] = running = replace(wanted, state="running", place=str(place))
            try:
                snapshot = self._restorer.resolve(wanted.snapshot)
                # The path is a name that was asked for, not a pattern.
                literal = re.sub(r"([*?\[\]\\])", r"\\\1", wanted.path)
                # No worker processes: a process with threads is not forked.
                report = restore(self._restorer, snapshot, place, include=(literal,), workers=0)
                problems = "; ".join(str(problem) for problem in report.problems[:5])
                state = "failed" if problems else "done"
                self._restores[wanted.number] = replace(running, state=state, problem=problems)
            except GovsecError as error:
                self._restores[wanted.number] = replace(running, state="failed", problem=str(error))


class Server(ThreadingHTTPServer):
    """Serves a desk at ``address`` to whoever knows the token, under the names that the service is known by."""

    daemon_threads = True
    # The kernel drops what does not fit its queue, and the client waits a second to learn of it; the default is 5.
    request_queue_size = 2 * CONNECTIONS_MAX

    def __init__(self, address: tuple[str, int], desk: Desk, token: bytes, names: Sequence[str] = ()) -> None:
        super().__init__(address, Handler)
        port = self.server_address[1]
        self.desk = desk
        self.token = token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", *names)} | set(names)
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class Handler(BaseHTTPRequestHandler):
    """One request: who may ask, what is asked, how it is answered."""

    server: Server
    timeout = CLIENT_TIMEOUT_S
    server_version = "restore-desk"
    sys_version = ""
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer the page or a question."""
        url = urlsplit(self.path)
        if self._is_host_wrong():
            return
        if url.path == "/":
            self._send(HTTPStatus.OK, PAGE.encode(), "text/html; charset=utf-8")
            return
        query = {key: values[0] for key, values in parse_qs(url.query, errors="surrogateescape").items()}
        files = re.fullmatch(r"/api/snapshots/([0-9a-f]{8,64})/files", url.path)
        one = re.fullmatch(r"/api/restores/([0-9]{1,9})", url.path)
        if url.path == "/api/snapshots":
            self._answer(lambda: {"snapshots": self.server.desk.snapshots()})
        elif files:
            found = files.group(1), query.get("path", "/"), query.get("after", "")
            self._answer(lambda: {"files": self.server.desk.files(*found)})
        elif one:
            self._answer(lambda: self._restore(int(one.group(1))))
        else:
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Take a request for a restore."""
        if self._is_host_wrong():
            return
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc not in self.server.hosts:
            self._fail(HTTPStatus.FORBIDDEN, "this origin may not ask")
        elif self.headers.get_content_type() != "application/json":
            self._fail(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON")
        elif self.path != "/api/restores":
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing here")
        else:
            self._answer(lambda: asdict(self.server.desk.request(*self._wanted())), HTTPStatus.ACCEPTED)

    def log_message(self, format: str, *args: Any) -> None:
        # The request line holds no token, but it may hold control characters.
        sys.stderr.write((format % args).encode("unicode_escape").decode() + "\n")

    def _is_host_wrong(self) -> bool:
        if self.headers.get("Host", "") in self.server.hosts:
            return False
        self._fail(HTTPStatus.MISDIRECTED_REQUEST, "this service has another name")
        return True

    def _wanted(self) -> tuple[str, str]:
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > BODY_SIZE_MAX:
            raise UsageError(f"the body must have a length of at most {BODY_SIZE_MAX} bytes")
        try:
            body = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is not JSON") from error
        if not isinstance(body, dict) or {key: type(value) for key, value in body.items()} != {
            "snapshot": str,
            "path": str,
        }:
            raise UsageError('expected {"snapshot": …, "path": …}')
        return body["snapshot"], body["path"]

    def _restore(self, number: int) -> dict[str, object]:
        found = self.server.desk.restore(number)
        if found is None:
            raise ObjectNotFoundError(f"there is no restore {number}")
        return asdict(found)

    def _answer(self, ask: Callable[[], dict[str, object]], status: HTTPStatus = HTTPStatus.OK) -> None:
        given = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, b"Bearer " + self.server.token):
            self._fail(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
            return
        try:
            body = json.dumps(ask()).encode()
        except UsageError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))
        except ObjectNotFoundError as error:
            self._fail(HTTPStatus.NOT_FOUND, str(error))
        except TryAgainError as error:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except GovsecError as error:
            self._fail(HTTPStatus.BAD_GATEWAY, str(error))
        else:
            self._send(status, body, "application/json")

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)


def _name(node: Node) -> str:
    return raw_name(node).decode("utf-8", "surrogateescape")


def _checked(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise UsageError("a path begins with / and holds no ..")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A thin HTTP service that restores single files onto a desk.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--system", help="which system of the configuration (default: the only one)")
    parser.add_argument("--center", required=True, help="the center to restore from, by name or role")
    parser.add_argument("--token-file", type=Path, required=True, help="mode 0600; head -c 30 /dev/urandom | base64")
    parser.add_argument("--desk", type=Path, required=True, help="directory that restored files are laid in")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=8743)
    parser.add_argument("--name", action="append", default=[], help="a name that clients call this service by")
    args = parser.parse_args(argv)
    try:
        token = read_secret(args.token_file)
        if len(token) < TOKEN_LENGTH_MIN:
            raise ConfigurationError(f"{args.token_file}: shorter than {TOKEN_LENGTH_MIN} characters")
        site = Site(load_config(args.config), SystemClock())
        repository = site.repository(site.system(args.system), args.center)
        args.desk.mkdir(mode=0o700, parents=True, exist_ok=True)
        server = Server((args.host, args.port), Desk(repository, args.desk), token, args.name)
    except (GovsecError, OSError) as error:
        sys.stderr.write(f"restore_desk: {error}\n")
        return error.exit_code if isinstance(error, GovsecError) else 4
    sys.stderr.write(f"restore desk at http://{args.host}:{server.server_address[1]}/\n")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            server.desk.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
