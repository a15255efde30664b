"""The restore desk does its work for whoever holds the token, and nothing for anybody else."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import re
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from govsec.backup.archive import archive
from govsec.backup.sources import FileSource
from govsec.clock import SystemClock
from govsec.crypto.keyfile import KdfParameters
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.local import LocalStore

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOKEN = "a-token-that-a-machine-made"
PASSWORD = b"correct horse battery staple"


def load_example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


restore_desk = load_example("restore_desk")


class Place(NamedTuple):
    """A running desk, and the tree whose backup it serves."""

    server: Any
    source: Path
    desk: Path
    snapshot: str

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LocalStore, str]:
    """A tree, the store with its backup, and the snapshot's id."""
    directory = tmp_path_factory.mktemp("backup")
    source = directory / "人事"
    (source / "合同[1]").mkdir(parents=True)
    (source / "合同[1]" / "张*三.txt").write_text("合同\n", encoding="utf-8")
    (source / "合同[1]" / "张四三.txt").write_text("别人的\n", encoding="utf-8")
    (source / "\udcff.bin").write_bytes(b"no utf-8")
    clock = SystemClock()
    store = LocalStore(directory / "store", create=True)
    cheap = KdfParameters(n=1024, r=8, p=1)
    writable = WritableRepository.initialize(store, PASSWORD, clock, kdf=cheap)
    return source, store, archive(writable, FileSource([source]), clock=clock, workers=0).snapshot_id


@pytest.fixture
def place(tmp_path: Path, backup: tuple[Path, LocalStore, str]) -> Iterator[Place]:
    source, store, snapshot = backup
    desk = tmp_path / "desk"
    desk.mkdir()
    server = restore_desk.Server(
        ("127.0.0.1", 0), restore_desk.Desk(Repository.open(store, PASSWORD), desk), TOKEN.encode()
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Place(server, source, desk, snapshot)
    server.shutdown()
    thread.join()
    server.desk.close()
    server.server_close()


def _ask(
    place: Place, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=120)
    data = body if isinstance(body, bytes) else (json.dumps(body).encode() if body is not None else None)
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **(headers or {})}
    try:
        connection.request(method, path, data, {key: value for key, value in sent.items() if value})
        answer = connection.getresponse()
        content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if is_json else content.decode(), answer.headers
    finally:
        connection.close()


def test_a_file_is_found_and_laid_on_the_desk(place: Place) -> None:
    status, value, _ = _ask(place, "GET", "/api/snapshots")
    assert status == 200
    assert [snapshot["id"] for snapshot in value["snapshots"]] == [place.snapshot]

    folder = f"{place.source}/合同[1]"
    _, value, _ = _ask(place, "GET", f"/api/snapshots/{place.snapshot}/files?path={_quoted(folder)}")
    assert [entry["name"] for entry in value["files"]] == ["张*三.txt", "张四三.txt"]

    status, value, _ = _ask(place, "POST", "/api/restores", {"snapshot": place.snapshot, "path": f"{folder}/张*三.txt"})
    assert status == 202
    place.server.desk.close()  # returns when the restore is done

    _, value, _ = _ask(place, "GET", f"/api/restores/{value['number']}")
    assert (value["state"], value["problem"]) == ("done", "")
    restored = [path for path in Path(value["place"]).rglob("*") if path.is_file()]
    assert [path.read_text(encoding="utf-8") for path in restored] == ["合同\n"]
    assert Path(value["place"]).parent == place.desk


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path, errors="surrogateescape")


def test_names_that_are_not_utf8_are_listed_and_restored(place: Place) -> None:
    _, value, _ = _ask(place, "GET", f"/api/snapshots/{place.snapshot}/files?path={_quoted(str(place.source))}")
    assert "\udcff.bin" in [entry["name"] for entry in value["files"]]

    _ask(place, "POST", "/api/restores", {"snapshot": place.snapshot, "path": f"{place.source}/\udcff.bin"})
    place.server.desk.close()

    _, value, _ = _ask(place, "GET", "/api/restores/1")
    assert value["state"] == "done"
    assert [path.read_bytes() for path in Path(value["place"]).rglob("*.bin")] == [b"no utf-8"]


def test_a_directory_is_listed_in_pages(place: Place) -> None:
    folder = _quoted(f"{place.source}/合同[1]")
    after = _quoted("张*三.txt")
    _, value, _ = _ask(place, "GET", f"/api/snapshots/{place.snapshot}/files?path={folder}&after={after}")

    assert [entry["name"] for entry in value["files"]] == ["张四三.txt"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/api/snapshots", None, {"Authorization": ""}, 401),
        ("GET", "/api/snapshots", None, {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/api/snapshots", None, {"Authorization": "Basic " + b64encode(TOKEN.encode()).decode()}, 401),
        ("POST", "/api/restores", {"snapshot": "0" * 64, "path": "/"}, {"Authorization": ""}, 401),
        ("GET", "/", None, {"Host": "evil.example"}, 421),
        ("GET", "/api/snapshots", None, {"Host": "evil.example:8743"}, 421),
        ("POST", "/api/restores", {"snapshot": "0" * 64, "path": "/"}, {"Host": "evil.example"}, 421),
        ("POST", "/api/restores", {"snapshot": "0" * 64, "path": "/"}, {"Origin": "https://evil.example"}, 403),
        ("POST", "/api/restores", {"snapshot": "0" * 64, "path": "/"}, {"Origin": "null"}, 403),
        ("POST", "/api/restores", b"snapshot=0", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/api/restores", b'{"snapshot": 1}', {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/restores", b"{", None, 400),
        ("POST", "/api/restores", b"[" * 4000, None, 400),
        ("POST", "/api/restores", b'{"snapshot": 1, "path": "/"}', None, 400),
        ("POST", "/api/restores", {"snapshot": "0" * 64, "path": "/"}, None, 400),
        ("POST", "/api/restores", b" " * 5000, None, 400),
        ("POST", "/api/snapshots", {}, None, 404),
        ("GET", "/api/restores/99", None, None, 404),
        ("GET", "/api/snapshots/SNAPSHOT/files?path=/no/such", None, None, 404),
        ("GET", "/api/snapshots/SNAPSHOT/files?path=/a/../b", None, None, 400),
        ("GET", "/api/snapshots/SNAPSHOT/files?path=relative", None, None, 400),
        ("GET", "/../../etc/passwd", None, None, 404),
        ("DELETE", "/api/snapshots", None, None, 501),
    ],
)
def test_whoever_may_not_or_asks_wrongly_gets_nothing(
    place: Place, method: str, path: str, body: object, headers: dict[str, str] | None, status: int
) -> None:
    answered, value, _ = _ask(place, method, path.replace("SNAPSHOT", place.snapshot), body, headers)

    assert answered == status
    assert place.snapshot not in str(value).replace(path, "")
    place.server.desk.close()
    assert list(place.desk.iterdir()) == []


def test_the_page_holds_no_data_and_runs_nothing_but_its_own_script(place: Place) -> None:
    status, page, headers = _ask(place, "GET", "/", headers={"Authorization": ""})
    policy = headers["Content-Security-Policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)

    assert status == 200
    assert place.snapshot not in page
    assert len(scripts) == 1
    assert b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode() in policy
    assert "unsafe-inline" not in policy
    assert (headers["Cache-Control"], headers["X-Frame-Options"]) == ("no-store", "DENY")


def test_more_connections_than_the_limit_are_closed_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a machine that stands still for ten seconds the idle ones would be sent away, and their places be free again.
    monkeypatch.setattr(restore_desk.Handler, "timeout", 600)
    idle = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(restore_desk.CONNECTIONS_MAX)]
    try:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            _ask(place, "GET", "/api/snapshots")
    finally:
        for connection in idle:
            connection.close()


def test_a_short_token_or_one_that_others_can_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    arguments = ["--config", "none.yaml", "--center", "far", "--token-file", str(token), "--desk", str(tmp_path / "d")]

    for data, mode, words in ((b"short", 0o600, "shorter than"), (TOKEN.encode(), 0o644, "chmod 600")):
        token.write_bytes(data)
        token.chmod(mode)
        assert restore_desk.main(arguments) == 3
        assert words in capsys.readouterr().err
