"""Where an agent answers: its control socket, and its metrics where the configuration asks for them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from govsec.agent import control
from govsec.agent.localserver import LocalServer, listen_port, listen_unix
from govsec.agent.plans import Plan, control_path
from govsec.clock import Clock
from govsec.errors import GovsecError

_HTTP_ENDING = b"\r\n\r\n"


class Servers:
    """All of them, as the plan that is followed wants them. ``answer`` and ``measure`` give the replies."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        clock: Clock,
        answer: Callable[[bytes], bytes],
        measure: Callable[[bytes], bytes],
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._answer = answer
        self._measure = measure
        self._plan: Plan | None = None
        self._open: list[LocalServer] = []

    def follow(self, plan: Plan) -> None:
        """Open what ``plan`` wants, close what it does not; where nothing of that changed, nothing happens.

        Raises:
            ConfigurationError: a place cannot be listened at; what was open before is open again.
        """
        before = self._plan
        if before is not None and _places(before) == _places(plan):
            return
        self.close()
        try:
            self._open_all(plan)
        except GovsecError:
            self.close()
            if before is not None:
                self._open_all(before)
            raise
        self._plan = plan

    def expire(self) -> None:
        """Close connections that took too long."""
        for server in self._open:
            server.expire()

    def close(self) -> None:
        """Answer nobody."""
        for server in self._open:
            server.close()
        self._open = []

    def _open_all(self, plan: Plan) -> None:
        metrics = plan.config.metrics
        asked = listen_unix(control_path(plan.config.run_dir, plan.name), 0o600)
        self._add(asked, self._answer, control.ENDING, admits=control.is_admitted)
        if metrics.port is not None:
            self._add(listen_port(metrics.address, metrics.port), self._measure, _HTTP_ENDING)
        if metrics.socket is not None:
            # Metrics are no secret on this machine; who may reach the socket is its folder's to say.
            self._add(listen_unix(metrics.socket, 0o666), self._measure, _HTTP_ENDING)

    def _add(
        self,
        listener: socket.socket,
        answer: Callable[[bytes], bytes],
        ending: bytes,
        admits: Callable[[socket.socket], bool] = lambda _: True,
    ) -> None:
        self._open.append(LocalServer(self._selector, listener, answer, self._clock, ending=ending, admits=admits))


def _places(plan: Plan) -> tuple[object, ...]:
    metrics = plan.config.metrics
    return plan.config.run_dir, metrics.address, metrics.port, metrics.socket
