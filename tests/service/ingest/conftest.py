"""A radio station on loopback for tests of ingest: its tone tells the time, and it has every fault on demand."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.settings import IngestSettings
from ingest.sources import ffmpeg
from ingest.wire import SAMPLE_RATE_HZ, Gap, Record, Window
from tests.waiting import PATIENCE_S, until

BYTE_RATE = 8_000  # of the MP3: 64 kb/s, constant
LENGTH_S = 60
LOW_HZ, RISE_HZ_PER_S = 300.0, 40.0  # second t of the program has the pitch LOW_HZ + t * RISE_HZ_PER_S
TICK_S = 0.02


def sweep(length_s: float = LENGTH_S, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Mono s16: a tone whose pitch is its position."""
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    return (10_000 * np.sin(2 * np.pi * (LOW_HZ * t + RISE_HZ_PER_S * t * t / 2))).astype("<i2")


def position_s(pcm: np.ndarray) -> float:
    """The position in the program of the middle of a piece of about 0.2 s."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 1 << 17))
    hz = spectrum.argmax() * SAMPLE_RATE_HZ / (1 << 17)
    return float((hz - LOW_HZ) / RISE_HZ_PER_S)


def encoded(pcm: np.ndarray, *options: str) -> bytes:
    """The audio as ffmpeg writes it with these output options."""
    given = [ffmpeg.binary(), "-v", "error", "-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-i", "pipe:"]
    return subprocess.run([*given, *options, "pipe:"], input=pcm.tobytes(), capture_output=True, check=True).stdout


class Station:
    """Plays its program starting at `on_air_at`. A client gets a burst of the past, and then the present."""

    def __init__(self, mp3: bytes) -> None:
        self.burst_s = 1.5  # without a burst, ffmpeg takes as long to detect the format
        self.past_s = 12.0  # of the program before the station was opened, for the first bursts
        self.takes_calls = True
        self.paths: list[str] = []  # that were requested
        self.files: dict[str, bytes] = {}
        self._mp3 = mp3
        self._muted = asyncio.Event()
        self._closed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._calls: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.on_air_at = 0.0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def calls(self) -> int:
        return len(self.paths)

    @property
    def listeners(self) -> int:
        return len(self._calls)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.on_air_at = time.time() - self.past_s

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._closed.set()
        self.hang_up()
        if self._calls:
            await asyncio.wait(self._calls, timeout=5)

    def hang_up(self) -> None:
        """Breaks every connection."""
        for writer in self._calls.values():
            writer.transport.abort()

    def mute(self) -> None:
        """Keeps the connections and sends no more."""
        self._muted.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = writer
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.paths.append(request.split()[1].partition("?")[0])
                if self.takes_calls:
                    await self._answer(self.paths[-1], writer)
        finally:
            writer.close()
            del self._calls[task]

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path in self.files:
            body = self.files[path]
            kind = "text/html" if path.endswith("html") else "application/octet-stream"
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            await writer.drain()
        elif path.startswith("/live"):
            await self._play(writer, float(path.partition("-")[2] or LENGTH_S))
        elif path == "/silent":
            await self._closed.wait()
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async def _play(self, writer: asyncio.StreamWriter, length_s: float) -> None:
        """Serves /live, or /live-3 for 3 s of the present."""
        begun = time.time()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = self._aired(begun - self.burst_s)
        while not writer.transport.is_closing():
            aired = self._aired(min(time.time(), begun + length_s))
            if aired > sent and not self._muted.is_set():
                writer.write(b"%x\r\n%b\r\n" % (aired - sent, self._mp3[sent:aired]))
                sent = aired
            if time.time() > begun + length_s:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return
            await asyncio.sleep(TICK_S)

    def _aired(self, instant: float) -> int:
        return min(max(0, int((instant - self.on_air_at) * BYTE_RATE)), len(self._mp3))


class Bus:
    """Keeps what is published, and lets a test wait for it."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(self, record: Record) -> None:
        self.records.append(record)

    def of(self, stream_id: int) -> list[Record]:
        return [record for record in self.records if record.stream_id == stream_id]

    @property
    def windows(self) -> list[Window]:
        return [record for record in self.records if isinstance(record, Window)]

    @property
    def gaps(self) -> list[Gap]:
        return [record for record in self.records if isinstance(record, Gap)]

    async def until(self, condition: Callable[[Bus], Any], timeout_s: float = PATIENCE_S) -> None:
        await until(lambda: condition(self), timeout_s)


@pytest.fixture(scope="session")
def program() -> np.ndarray:
    return sweep()


@pytest.fixture(scope="session")
def mp3(program: np.ndarray) -> bytes:
    return encoded(program, "-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")


@pytest.fixture
async def station(mp3: bytes) -> AsyncIterator[Station]:
    station = Station(mp3)
    await station.open()
    yield station
    await station.close()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def quick() -> IngestSettings:
    """Settings for tests: everything happens within seconds."""
    return IngestSettings(
        window_s=0.5,
        connect_timeout_s=5,
        stall_timeout_s=1,
        backoff_first_s=0.1,
        max_backoff_s=1,
        max_burst_s=6,
        poll_s=0.1,
    )


@pytest.fixture
def heard_at() -> Callable[[np.ndarray], float]:
    return position_s


@pytest.fixture
def encode(program: np.ndarray) -> Callable[..., bytes]:
    """Encodes some seconds of the program with these options of ffmpeg."""
    return lambda seconds, *options: encoded(program[: round(seconds * SAMPLE_RATE_HZ)], *options)


@pytest.fixture
def file(tmp_path: Path, encode: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes the same into a file."""

    def write(name: str, seconds: float, *options: str) -> Path:
        path = tmp_path / name
        path.write_bytes(encode(seconds, *options))
        return path

    return write
