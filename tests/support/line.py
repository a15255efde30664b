"""A long line on loopback: a TCP proxy with delay, one rate for all connections, a window each, and cuts.

What a line over hundreds of kilometres is to a program, without a kernel that can emulate one. Each direction has its
own rate, as lines do; a connection has at most ``window_bytes`` under way, so one alone fills no long line.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

_READ_SIZE = 16 << 10


@dataclass
class _Direction:
    """Bytes one way: when the next may leave, and how many went over since the last cut."""

    free_at_s: float = 0.0
    since_cut: int = 0


@dataclass
class Line:
    """Listens from the start until ``close``. ``cut_every_bytes``: the connection that carries that byte is reset."""

    target_port: int
    delay_s: float = 0.025
    bytes_per_s: float = 20e6
    window_bytes: int = 256 << 10
    cut_every_bytes: int = 0
    connections_count: int = 0
    cuts_count: int = 0
    bytes_count: int = 0
    _up: _Direction = field(default_factory=_Direction)
    _down: _Direction = field(default_factory=_Direction)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begun.wait(60), "the line does not begin"

    def __enter__(self) -> Line:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the line does not end"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=128)
        self.port: int = server.sockets[0].getsockname()[1]
        self._begun.set()
        await self._ended.wait()
        server.close()
        for connection in [*self._connections]:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine itself: asyncio would report each one that is cancelled at the end.
        self.connections_count += 1
        connection = asyncio.ensure_future(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await asyncio.sleep(2 * self.delay_s)  # the handshake
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            pumps = [
                asyncio.ensure_future(self._pump(reader, far_writer, self._up)),
                asyncio.ensure_future(self._pump(far_reader, writer, self._down)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                is_cut = any(not pump.cancelled() and pump.exception() for pump in pumps)
                for end in (writer, far_writer):
                    if is_cut:
                        end.transport.abort()
                    else:
                        end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Direction) -> None:
        """Take bytes at the line's rate, hand them on after its delay, at most a window of them in a round trip."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.ensure_future(self._deliver(queue, writer))
        unconfirmed: deque[tuple[float, int]] = deque()
        size = 0
        try:
            while part := await reader.read(_READ_SIZE):
                now_s = self._loop.time()
                way.free_at_s = max(way.free_at_s, now_s) + len(part) / self.bytes_per_s
                way.since_cut += len(part)
                self.bytes_count += len(part)
                if self.cut_every_bytes and way.since_cut >= self.cut_every_bytes:
                    way.since_cut = 0
                    self.cuts_count += 1
                    raise ConnectionResetError("cut")
                queue.put_nowait((way.free_at_s + self.delay_s, part))
                unconfirmed.append((way.free_at_s + 2 * self.delay_s, len(part)))
                size += len(part)
                while unconfirmed and (size > self.window_bytes or unconfirmed[0][0] <= self._loop.time()):
                    at_s, confirmed = unconfirmed.popleft()
                    await asyncio.sleep(max(0.0, at_s - self._loop.time()))
                    size -= confirmed
            queue.put_nowait((self._loop.time() + self.delay_s, b""))
            await delivery
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)

    async def _deliver(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            at_s, part = await queue.get()
            await asyncio.sleep(max(0.0, at_s - self._loop.time()))
            if not part:
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()
                return
            writer.write(part)
            await writer.drain()
