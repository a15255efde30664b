"""The portal probe: a configuration in, findings out, against real servers on both families."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.portals import Keys, Portal, make_keys, running, speaking

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "portal_probe.py"
ITEMS = "".join(f"<li>办事指南第{n}类</li>" for n in "一二三四五六七八九十")
PAGE = f"<title>某市政务服务</title><ul>{ITEMS}</ul>"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running(Portal()) as one:
        one.page("/", PAGE)
        yield one


def write_config(folder: Path, services: list[dict[str, Any]]) -> Path:
    path = folder / "govsec.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "state_dir": str(folder / "state"), "services": services}))
    return path


def run(config: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--config", str(config), *options],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def on(address: str, portal: Portal, path: str = "/", scheme: str = "http") -> str:
    return f"{scheme}://{address}:{portal.port}{path}"


def test_good_services_are_silent_and_bad_ones_are_told_each_for_what_it_is(
    tmp_path: Path, portal: Portal, keys: Keys
) -> None:
    portal.routes["/out"] = (302, {"Location": "http://elsewhere.example/"}, b"")
    expired, mismatch, hung = Portal(), Portal(), threading.Event()
    common = {"timeout_s": 60, "families": ["ipv4"], "confirm": {"failures": 1, "of": 1}}
    six = {**common, "families": ["ipv6"]}
    with (
        running(expired, keys.context(names=["localhost"], days=-1)),
        running(mismatch, keys.context(names=["other.example"])),
        speaking(lambda connection: hung.wait(100) and None) as stalled,
    ):
        services = [
            {"name": "good", **common, "steps": [{"name": "home", "url": on("127.0.0.1", portal)}]},
            {"name": "good-six", **six, "steps": [{"name": "home", "url": on("[::1]", portal)}]},
            {"name": "out", **common, "steps": [{"name": "home", "url": on("127.0.0.1", portal, "/out")}]},
            {
                "name": "stalled",
                **common,
                "timeout_s": 1,
                "steps": [{"name": "home", "url": f"http://127.0.0.1:{stalled}/"}],
            },
            *(
                {
                    "name": name,
                    **common,
                    "ca_file": str(keys.ca_file),
                    "steps": [{"name": "home", "url": on("localhost", server, scheme="https")}],
                }
                for name, server in (("expired", expired), ("mismatch", mismatch))
            ),
        ]
        code, lines = run(write_config(tmp_path, services), "--once")
        hung.set()

    assert code == 1
    told = {(line["facts"]["service"], line["kind"]) for line in lines}
    assert told == {
        ("out", "service.down"),
        ("stalled", "service.down"),
        ("expired", "service.down"),
        ("expired", "service.certificate_expired"),
        ("mismatch", "service.down"),
        ("mismatch", "service.certificate_mismatch"),
    }
    seen = {line["facts"]["service"]: line["facts"]["seen"] for line in lines if line["kind"] == "service.down"}
    assert seen["out"].startswith("to http://elsewhere.example/")
    assert seen["stalled"] == "not done within 1 s"


def test_a_page_is_accepted_then_altered_then_deployed_anew(tmp_path: Path, portal: Portal) -> None:
    service = {
        "name": "portal",
        "families": ["ipv4"],
        "timeout_s": 60,
        "pages": [{"name": "home", "url": on("127.0.0.1", portal), "take_pause_s": 0}],
    }
    config = write_config(tmp_path, [service])
    assert run(config, "--accept") == (0, [{"accepted": [on("127.0.0.1", portal)]}])
    assert run(config, "--once") == (0, [])

    dark = '<div style="position:absolute;left:-3000px"><a href="http://bet.example/">百家乐</a></div>'
    portal.page("/", PAGE + dark)
    code, lines = run(config, "--once")
    assert (code, [line["kind"] for line in lines]) == (1, ["page.hidden_link", "page.words"])

    portal.page("/", PAGE.replace("<li>", "<li><b>").replace("办事指南", "网上办理"))
    assert [line["kind"] for line in run(config, "--once")[1]] == ["page.altered"]
    run(config, "--accept")
    assert run(config, "--once") == (0, [])


def test_the_service_that_runs_for_ever_tells_a_failure_when_it_comes(tmp_path: Path, portal: Portal) -> None:
    service = {
        "name": "portal",
        "families": ["ipv4"],
        "timeout_s": 60,
        "interval_s": 5,
        "confirm": {"failures": 1, "of": 1},
        "steps": [{"name": "home", "url": on("127.0.0.1", portal)}],
    }
    config = write_config(tmp_path, [service])
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), "--config", str(config)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        guard = threading.Timer(200, process.kill)
        guard.start()
        try:
            asked = threading.Event()

            def answer(request: object) -> tuple[int, dict[str, str], bytes]:
                asked.set()
                return 200, {}, b"fine"

            portal.routes["/"] = answer  # type: ignore[assignment]
            assert asked.wait(100)
            portal.routes["/"] = (500, {}, b"")
            line = json.loads(process.stdout.readline())
        finally:
            guard.cancel()
            process.kill()

    assert (line["kind"], line["facts"]["seen"]) == ("service.down", "500; a body of 0 bytes")
