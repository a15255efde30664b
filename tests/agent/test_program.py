"""The agent as a program: real processes, asked over its socket, reloaded by signal, ended, with systemd's protocol."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import verify_chain
from govsec.cli.main import main
from govsec.clock import SystemClock

WAIT_S = 60
_FORMAT_LINE = re.compile(
    r"# (HELP|TYPE) govsec_[a-z_]+ .+"
    r'|govsec_[a-z_]+\{([a-z_]+="([^"\\\n]|\\.)*",?)*\} (-?[0-9.]+(e[+-]?[0-9]+)?|NaN|[+-]Inf)'
)


class Agent:
    """A host agent of its own directories, in a process of its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.config = folder / "govsec.yaml"
        self.prom = folder / "agent.prom"
        self.write(more)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self._stderr = (folder / "stderr").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, more: str = "") -> None:
        self.config.write_text(
            f"state_dir: {self.folder}/state\n"
            f"agent:\n  run_dir: {self.folder}/run\n"
            f"  metrics: {{file: {self.prom}, every_s: 5, socket: {self.folder}/metrics.sock}}\n"
            f"  modules:\n    guard: {{enabled: false}}\n{more}"
        )

    def start(self) -> None:
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "3000000",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "govsec_agents.host", "--config", str(self.config)],
            env=environment,
            stderr=self._stderr,
        )
        self.until(lambda: "READY=1" in self.said)

    def _listen(self) -> None:
        """As systemd does, always: a queue of ten messages would be full soon."""
        with self._notified:
            while (word := self._notified.recv(4096).decode()) != "END":
                self.said.append(word)

    def until(self, condition: Callable[[], object]) -> None:
        limit = time.monotonic() + WAIT_S
        while not condition():
            assert self.process is not None
            words = (self.folder / "stderr").read_text()
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {words}"
            assert time.monotonic() < limit, f"waited {WAIT_S} s in vain: {words}"
            time.sleep(0.05)

    def ask(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command line about it; exit code and JSON."""
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = main(["agent", *words, "--config", str(self.config), "--json"])
        return code, json.loads(out.getvalue())

    def kinds(self) -> list[str]:
        with Spool(self.folder / "state/agent/host/spool.db", SystemClock(), is_reader=True) as spool:
            records = spool.after(0)
        verify_chain(records)
        found = [record.body["finding"] for record in records if "finding" in record.body]
        return [str(finding["kind"]) for finding in found if isinstance(finding, dict)]

    def end(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(WAIT_S)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    # Not below tmp_path: the names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="gsa-") as folder:
        made = Agent(Path(folder))
        # The environment is what systemd gives, to the agent and to who asks it.
        monkeypatch.setenv("STATE_DIRECTORY", f"{folder}/state")
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(WAIT_S)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"END", str(made.folder / "notify"))
        made._stderr.close()


def test_an_agent_starts_is_asked_tests_itself_and_ends_in_order(agent: Agent) -> None:
    agent.start()

    code, status = agent.ask("status", "host")
    assert code == 0
    assert status["modules"]["metrics"]["state"] == "running"
    code, report = agent.ask("selftest", "host", "--limit", "120")
    assert (code, report["passed"]) == (0, True)
    assert report["modules"]["metrics"]["failed_stage"] is None
    agent.until(lambda: "WATCHDOG=1" in agent.said)
    agent.until(lambda: any(line.startswith("STATUS=1 of 1 modules run") for line in agent.said))
    assert "agent.selftest.canary" in agent.kinds()

    module = status["modules"]["metrics"]["pid"]
    assert agent.end() == 0
    assert "STOPPING=1" in agent.said
    assert not Path(f"/proc/{module}").exists()
    assert agent.ask("status", "host")[0] == 4, "nobody answers any more"


def test_metrics_are_a_file_and_an_answer_on_a_socket_in_prometheus_own_format(agent: Agent) -> None:
    agent.start()
    agent.until(agent.prom.exists)
    agent.until(lambda: "govsec_host_memory_bytes{" in agent.prom.read_text())

    for line in agent.prom.read_text().splitlines():
        assert _FORMAT_LINE.fullmatch(line), line
    assert agent.prom.stat().st_mode & 0o777 == 0o644
    with contextlib.closing(http.client.HTTPConnection("agent")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(agent.folder / "metrics.sock"))
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    assert 'govsec_agent_module_state{agent="host",module="metrics",state="running"} 1' in text
    assert text.count("# TYPE govsec_agent_module_state gauge") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"\xff\xff\r\n\r\n", b"400"),
        (b"x" * 5_000, b""),
    ],
)
def test_odd_requests_for_metrics_get_an_error_or_nothing(agent: Agent, request_: bytes, status: bytes) -> None:
    agent.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_S)
        connection.connect(str(agent.folder / "metrics.sock"))
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request_)
            answer = connection.recv(1_000)

    assert answer[9:12] == status
    assert agent.ask("status", "host")[0] == 0


def test_silent_and_hostile_askers_do_not_keep_others_from_an_answer(agent: Agent) -> None:
    agent.start()
    place = str(agent.folder / "run/govsec-host/control.sock")
    with contextlib.ExitStack() as stack:
        for number in range(6):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(place)
            silent.sendall(b"{" * number)
        with socket.socket(socket.AF_UNIX) as asker:
            asker.settimeout(WAIT_S)
            asker.connect(place)
            asker.sendall(b'{"ask":"status","and":"more"}\n')
            assert b"cannot be asked" in asker.recv(1_000)
        assert agent.ask("status", "host")[0] == 0


def test_a_bad_configuration_is_refused_at_a_reload_and_the_good_one_goes_on(agent: Agent) -> None:
    agent.start()
    assert agent.process is not None
    before = agent.ask("status", "host")[1]["modules"]["metrics"]["pid"]
    for bad in ("nonsense: [", "    metrics: {settings: {every_s: 1}}\n", "    unheard-of: {enabled: true}\n"):
        agent.write(bad)
        count = agent.kinds().count("agent.config.rejected")
        agent.process.send_signal(signal.SIGHUP)
        agent.until(lambda count=count: agent.kinds().count("agent.config.rejected") > count)  # type: ignore[misc]
    assert agent.ask("reload", "host")[0] == 3

    agent.write("    metrics: {settings: {every_s: 7}, cpu_percent_max: 9}\n")
    assert agent.ask("reload", "host") == (0, {"applied": True, "changed": ["metrics"], "error": ""})
    agent.until(lambda: agent.ask("status", "host")[1]["modules"]["metrics"]["pid"] not in (0, before))
    status = agent.ask("status", "host")[1]
    assert status["modules"]["metrics"]["cpu_percent_max"] == 9
    assert "agent.config.applied" in agent.kinds()


def test_an_agent_that_starts_with_a_bad_configuration_follows_the_last_good_one_and_says_so(agent: Agent) -> None:
    agent.start()
    assert agent.end() == 0
    agent.write("nonsense: [")
    agent.said.clear()
    agent.start()

    agent.until(lambda: "agent.config.rejected" in agent.kinds())
    assert agent.process is not None and agent.process.poll() is None


def test_an_agent_without_any_good_configuration_does_not_start(
    agent: Agent, capfd: pytest.CaptureFixture[str]
) -> None:
    agent.write("nonsense: [")
    done = subprocess.run(
        [sys.executable, "-m", "govsec_agents.host", "--config", str(agent.config)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 3
    assert "not YAML" in done.stderr


def test_a_second_agent_of_the_same_name_is_refused(agent: Agent) -> None:
    agent.start()
    code, answer = agent.ask("run", "host")

    assert (code, answer["error"]["kind"]) == (5, "locked")


def test_an_agent_that_was_killed_starts_again_with_all_it_had(agent: Agent) -> None:
    agent.start()
    agent.ask("selftest", "host", "--limit", "120")
    before = agent.kinds()
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait(WAIT_S)
    agent.said.clear()
    agent.start()

    assert agent.kinds()[: len(before)] == before
    assert agent.ask("selftest", "host", "--limit", "120")[0] == 0


@pytest.mark.parametrize("verb", ["status", "selftest", "reload"])
def test_asking_where_no_agent_runs_ends_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    config = tmp_path / "govsec.yaml"
    config.write_text(f"agent: {{run_dir: {tmp_path}}}\n")

    assert main(["agent", verb, "host", "--config", str(config)]) == 4
    assert "no agent answers" in capsys.readouterr().err
