"""HTTP flood: one resource is asked for over and over, by one client or by many at once (ATT&CK T1499.002).

Idea: a browser asks for many *different* things and then rests; a service that polls asks for one thing on few
connections, at a pace that stays what it is. A flood asks for the same path (the query may vary, to pass caches) far
more often than both, over many connections; from many clients, more than the server is used to. Only clear HTTP is
seen, TLS hides requests: what is left of a flood there is a flood of connections.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.flood import SERVICE
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import HttpRequest
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

KIND = "net.flood.http"
_WINDOW_S = 2
_SERVERS_MAX = 4096
_HISTORY = 300


class FloodHttpSettings(Settings):
    """A flood of requests."""

    rate_client_min: float = Field(
        default=60,
        gt=0,
        description="requests a second of one client for one path; a page has a hundred, all different",
    )
    rate_many_min: float = Field(
        default=150, gt=0, description="requests a second of many clients for one path of one server"
    )
    clients_min: int = Field(default=10, ge=2, description="clients that are many")
    connections_min: int = Field(
        default=20, ge=1, description="connections that the requests come on; a polling service keeps few"
    )
    usual_factor: float = Field(default=5, ge=1, description="times what is usual for this server, once that is known")
    warmup_s: int = Field(
        default=60, ge=1, description="seconds with requests after which a server's usual rate is known"
    )
    requests_max: int = Field(default=20_000, ge=1000, description="requests of a server kept for two seconds")


class FloodHttp:
    """Floods of requests in clear HTTP."""

    name = "flood_http"

    def __init__(self, settings: FloodHttpSettings) -> None:
        self._settings = settings
        self._servers: OrderedDict[tuple[str, int], _Server] = OrderedDict()
        self._dropped_count = 0
        self._forgotten_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, HttpRequest):
                yield from self._take(message)
        due = observation.time_ns // SECOND_NS
        for key, server in self._servers.items():
            if server.requests and server.second < due:
                yield from self._judge(key, server)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        for key, server in self._servers.items():
            if server.requests:
                yield from self._judge(key, server)

    def state(self) -> Mapping[str, int]:
        return {
            "servers": len(self._servers),
            "servers_forgotten": self._forgotten_count,
            "requests_dropped": self._dropped_count,
        }

    def _take(self, request: HttpRequest) -> Iterator[Finding]:
        key = (request.flow.responder, request.flow.responder_port)
        server = self._servers.get(key)
        if server is None:
            server = self._servers[key] = _Server()
            if len(self._servers) > _SERVERS_MAX:
                self._servers.popitem(last=False)
                self._forgotten_count += 1
        self._servers.move_to_end(key)
        second = request.time_ns // SECOND_NS
        if server.requests and second > server.second:
            yield from self._judge(key, server)
        server.second = max(server.second, second)
        if len(server.requests) < self._settings.requests_max:
            path = request.target.partition("?")[0]
            server.requests.append(
                _Request(
                    request.time_ns, request.flow.originator, f"{request.method} {path}", request.flow.originator_port
                )
            )
        else:
            self._dropped_count += 1

    def _judge(self, key: tuple[str, int], server: _Server) -> Iterator[Finding]:
        """The second that is open in ``server`` is over: judge it with the one before it."""
        first = (server.second + 1 - _WINDOW_S) * SECOND_NS
        recent = [request for request in (*server.before, *server.requests) if request.time_ns >= first]
        server.before, server.requests = server.requests, []
        usual = float(np.median(server.rates)) if len(server.rates) >= self._settings.warmup_s else 0.0
        server.rates.append(len(recent) / _WINDOW_S)
        least = min(self._settings.rate_client_min, self._settings.rate_many_min) * _WINDOW_S
        if len(recent) < least:
            return
        time_ns = (server.second + 1) * SECOND_NS
        for path, count in Counter(request.path for request in recent).most_common(3):
            if count < least:
                continue
            same = [request for request in recent if request.path == path]
            clients = Counter(request.client for request in same)
            loud = [client for client, asked in clients.items() if asked >= self._settings.rate_client_min * _WINDOW_S]
            if loud:
                mine = [request for request in same if request.client in loud]
                yield from self._finding(key, path, mine, self._settings.rate_client_min * len(loud), usual, time_ns)
            elif len(clients) >= self._settings.clients_min:
                yield from self._finding(key, path, same, self._settings.rate_many_min, usual, time_ns)

    def _finding(
        self, key: tuple[str, int], path: str, requests: list[_Request], least: float, usual: float, time_ns: int
    ) -> Iterator[Finding]:
        server, port = key
        rate = len(requests) / _WINDOW_S
        connections = len({(request.client, request.port) for request in requests})
        threshold = max(least, self._settings.usual_factor * usual)
        if rate < threshold or connections < self._settings.connections_min:
            return
        clients = [client for client, _ in Counter(request.client for request in requests).most_common()]
        yield judge(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=time_ns,
            subject=server,
            summary=f"{server} port {port} got {rate:.0f} requests a second for {path[:200]} from "
            f"{len(clients)} clients on {connections} connections (threshold {threshold:.0f}).",
            pattern=(server, port),
            attack=(SERVICE,),
            originators=clients,
            responders=(server,),
            ports=(port,),
            measured={
                "rate": Measure(rate, threshold, "requests/s"),
                "connections": Measure(connections, self._settings.connections_min),
                "clients": Measure(len(clients)),
            },
            evidence=Evidence(requests[0].time_ns, requests[-1].time_ns),
            facts={"is_distributed": len(clients) > 1, "path": path[:200]},
        )


class _Request:
    __slots__ = ("client", "path", "port", "time_ns")

    def __init__(self, time_ns: int, client: str, path: str, port: int) -> None:
        self.time_ns = time_ns
        self.client = client
        self.path = path
        self.port = port


class _Server:
    __slots__ = ("before", "rates", "requests", "second")

    def __init__(self) -> None:
        self.second = 0
        self.requests: list[_Request] = []
        self.before: list[_Request] = []
        self.rates: deque[float] = deque(maxlen=_HISTORY)
