"""The duty desk and the webhook receiver, asked over HTTP as people and govsec ask them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from examples import duty_desk, webhook_receiver
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.notify import build_channels
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.incident.entries import FactsSaid, Opened
from govsec.notice.api import DeliveryError
from govsec.notice.inbox import WebhookInbox
from govsec.records import Notice, Severity

TOKEN = b"a token of the test, long enough"
SECRET = b"shared secret of the test"


@contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


class Person:
    """Asks the desk."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, body: object = None, *, token: bytes = TOKEN, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = {"Authorization": f"Bearer {token.decode()}", "Content-Type": "application/json", **headers}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), sent)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, said

    def json(self, path: str, body: object = None) -> Any:
        status, said = self.ask(path, body)
        assert status == 200, said
        return json.loads(said)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Person, str]]:
    clock = SystemClock()
    path = tmp_path / "govsec.yaml"
    path.write_text(json.dumps({"version": 1, "state_dir": str(tmp_path / "state")}))
    config = load_config(path)
    with open_cases(config) as store:
        now, cases = clock.now(), build_desk(config, store, clock)
        title = "门户网站打不开 <script>alert(1)</script>"
        view = cases.open(Opened(time=now, by="张三", title=title, aware_at=now, roles=("other_operator",)))
        cases.add(view.case.id, FactsSaid(time=now, by="张三", facts={"system_loss": "interrupted"}))
    with serving(duty_desk.Desk(("127.0.0.1", 0), config, clock, TOKEN)) as port:
        yield Person(port), view.case.id


def test_the_desk_shows_what_is_open_due_and_who_is_on_duty(desk: tuple[Person, str]) -> None:
    person, case = desk
    shown = person.json("/api/board")
    assert (shown["board"]["unacknowledged_count"], shown["on_duty"]) == (1, {})
    assert [(line["id"], line["level"]) for line in shown["cases"]] == [(case, "relatively_major")]
    assert person.json(f"/api/cases/{case}")["duties"][0]["id"] == "R5/provincial_cyberspace"
    status, page = person.ask("/")
    assert status == 200
    assert case in page and "较大（建议）" in page and "无人" in page
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_person_takes_a_case_on_by_name(desk: tuple[Person, str]) -> None:
    person, case = desk
    taken = person.json(f"/api/cases/{case}/acknowledge", {"by": "李四"})
    assert taken["acknowledged_by"] == "李四"
    assert person.json("/api/board")["board"]["unacknowledged_count"] == 0
    for body in ({"by": ""}, {"by": 1}, {"name": "x"}, []):
        assert person.ask(f"/api/cases/{case}/acknowledge", body)[0] == 400
    assert person.ask("/api/cases/20260101-0001/acknowledge", {"by": "李四"})[0] == 404


def test_nobody_is_shown_anything_without_the_token(desk: tuple[Person, str]) -> None:
    person, case = desk
    for path in ("/", "/api/board", f"/api/cases/{case}"):
        assert person.ask(path, token=b"wrong")[0] == 401
    assert person.ask("/", Authorization="Basic bm90OmJhc2U2NCE=")[0] == 401
    assert person.ask(f"/api/cases/{case}/acknowledge", {"by": "李四"}, token=b"wrong")[0] == 401
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert person.ask(f"/api/cases/{case}/acknowledge", {"by": "李四"}, **form)[0] == 415


def test_the_receiver_takes_what_the_channel_sends_once(tmp_path: Path) -> None:
    clock, taken = SystemClock(), list[Notice]()
    receiver = webhook_receiver.Receiver(("127.0.0.1", 0), WebhookInbox(SECRET, clock), taken.append)
    notice = Notice(
        key="k1", kind="incident.opened", severity=Severity.HIGH, time=clock.now(), subject="x", summary="y"
    )
    with serving(receiver) as port:
        channels = {}
        for name, secret in (("right", SECRET), ("wrong", b"another secret")):
            file = tmp_path / name
            file.write_bytes(secret)
            file.chmod(0o600)
            entry = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/", "secret_file": str(file), "plain": True}
            channels[name] = {**entry, "addresses": ["127.0.0.0/8"]}
        path = tmp_path / "govsec.yaml"
        path.write_text(json.dumps({"version": 1, "notify": {"channels": channels}}))
        built = build_channels(load_config(path), clock)
        built["right"].send(notice)
        built["right"].send(notice)
        with pytest.raises(DeliveryError, match="401"):
            built["wrong"].send(notice.model_copy(update={"key": "k2"}))
    assert taken == [notice]
