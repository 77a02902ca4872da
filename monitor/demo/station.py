"""The demo's radio station: sends one MP3 program over HTTP on loopback, in real time.

It behaves like Icecast. All listeners hear the same moment, a new listener gets the last seconds in one burst, and a
listener that does not keep up is dropped. It starts with `begin()` or its first listener, and ends with its program.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PATH = "/live.mp3"
TICK_S = 0.1
BURST_S = 4.0  # of past audio for a new listener
MAX_LAG_S = 8.0  # a listener with more than this unsent is dropped
REQUEST_S = 5.0  # in which a client must send its request
GRACE_S = 5.0  # for listeners to receive the last bytes
SEND_BUFFER_BYTES = 64 * 1024  # of the kernel, per listener: a larger one would hide a slow listener


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Station:
    """Used as `async with Station(mp3, byte_rate) as station`; `byte_rate` is in bytes per second."""

    def __init__(
        self,
        mp3: bytes,
        byte_rate: int,
        *,
        name: str = "Airtrace demo",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._mp3 = mp3
        self._byte_rate = byte_rate
        self._name = name
        self._port = port
        self._clock = clock
        self._utc_now = utc_now
        self._sleep = sleep
        self._server: asyncio.Server | None = None
        self._started = asyncio.Event()
        self._start_clock = 0.0
        self._listeners: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.on_air_at: datetime | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None  # noqa: S101 - __aenter__ has set it
        self._server.close()
        for writer in self._listeners.values():
            writer.transport.abort()
        if self._listeners:
            await asyncio.wait(self._listeners, timeout=GRACE_S)

    @property
    def url(self) -> str:
        """The URL of the stream."""
        return f"http://{HOST}:{self._port}{PATH}"

    @property
    def listeners(self) -> int:
        """The number of connections that are being served."""
        return len(self._listeners)

    @property
    def elapsed_s(self) -> float:
        """The seconds of the program that have been on the air."""
        return min(self._clock() - self._start_clock, self.duration_s) if self._started.is_set() else 0.0

    @property
    def duration_s(self) -> float:
        """The length of the program in seconds."""
        return len(self._mp3) / self._byte_rate

    @property
    def over(self) -> bool:
        """Whether the program has ended."""
        return self._aired() >= len(self._mp3)

    def begin(self) -> None:
        """Goes on the air, unless it already is."""
        if not self._started.is_set():
            self._start_clock = self._clock()
            self.on_air_at = self._utc_now()
            self._started.set()

    async def finished(self) -> None:
        """Waits until the program is over and all listeners have its end, or had GRACE_S for it."""
        await self._started.wait()
        while not self.over:
            await self._sleep(max(self.duration_s - self.elapsed_s, TICK_S))
        if self._listeners:
            await asyncio.wait(self._listeners, timeout=GRACE_S)

    def _aired(self) -> int:
        """The number of bytes that have been on the air."""
        return min(int(self.elapsed_s * self._byte_rate + 1e-6), len(self._mp3))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this as a task
        self._listeners[task] = writer
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            writer.transport.abort()  # gone, slow, or not HTTP; the other listeners are not affected
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            del self._listeners[task]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            request = await reader.readuntil(b"\r\n\r\n")
        method, target, version = (*request.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", "", "")[:3]
        if method not in ("GET", "HEAD"):
            writer.write(_refusal("405 Method Not Allowed"))
        elif target.split("?")[0] != PATH or self.over:
            writer.write(_refusal("404 Not Found"))
        else:
            chunked = version == "HTTP/1.1"
            writer.write(self._head(chunked))
            if method == "GET":
                await self._play(writer, chunked)
        await writer.drain()

    def _head(self, chunked: bool) -> bytes:
        lines = [
            "HTTP/1.1 200 OK" if chunked else "HTTP/1.0 200 OK",
            "Server: Airtrace demo station",
            "Content-Type: audio/mpeg",
            f"icy-name: {self._name}",
            f"icy-br: {self._byte_rate * 8 // 1000}",
            "icy-pub: 0",
            "Cache-Control: no-cache",
            "Connection: close",
            # Chunks distinguish the end of the program from a broken connection.
            *(["Transfer-Encoding: chunked"] if chunked else []),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _play(self, writer: asyncio.StreamWriter, chunked: bool) -> None:
        """Sends this listener everything that has been on the air since its last tick, until the program ends."""
        _limit_kernel_buffer(writer)
        self.begin()
        sent = max(0, self._aired() - int(BURST_S * self._byte_rate))
        while sent < len(self._mp3):
            if (aired := self._aired()) > sent:
                writer.write(_framed(self._mp3[sent:aired], chunked))
                sent = aired
            if writer.transport.is_closing() or self._lags(writer):
                writer.transport.abort()
                return
            if sent < len(self._mp3):
                await self._sleep(TICK_S)
        if chunked:
            writer.write(b"0\r\n\r\n")

    def _lags(self, writer: asyncio.StreamWriter) -> bool:
        return writer.transport.get_write_buffer_size() > MAX_LAG_S * self._byte_rate


def _framed(data: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data


def _refusal(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _limit_kernel_buffer(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
