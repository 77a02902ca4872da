"""Sound for the tests: excerpts of real recordings, as files and on stations that broadcast them."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
from anyio.from_thread import start_blocking_portal

from monitor.demo import media
from monitor.demo.mixing import MUSIC_DBFS, leveled
from monitor.demo.program import Recording
from monitor.demo.station import HOST, Station


def excerpt(recording: Recording, start_s: float, length_s: float) -> media.Pcm:
    """A piece of a recording, cut to the sample, at the station's level."""
    return leveled(asyncio.run(media.decode(recording.path, start_s, length_s)), MUSIC_DBFS)


def silence(length_s: float) -> media.Pcm:
    return np.zeros((round(length_s * media.RATE_HZ), media.CHANNELS), np.float32)


def write_wav(path: Path, *parts: media.Pcm) -> Path:
    """Writes the pieces one after the other, as 16-bit WAV."""
    pcm = (np.clip(np.concatenate(parts), -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(media.CHANNELS)
        file.setsampwidth(2)
        file.setframerate(media.RATE_HZ)
        file.writeframes(pcm.tobytes())
    return path


@contextmanager
def on_air(*parts: media.Pcm) -> Iterator[Station]:
    """A station that broadcasts the pieces one after the other, starting when its first listener connects."""
    mp3 = asyncio.run(media.encode_mp3(np.concatenate(parts)))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Station(mp3, media.BYTE_RATE)) as station:
        yield station


@contextmanager
def stalling(*parts: media.Pcm) -> Iterator[str]:
    """URL of a station that sends the pieces at once, then nothing, and keeps the connection open."""
    mp3 = asyncio.run(media.encode_mp3(np.concatenate(parts)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n" + mp3)
        await reader.read()  # until the listener hangs up
        writer.close()

    with _serving(serve) as port:
        yield f"http://{HOST}:{port}/live.mp3"


@contextmanager
def web_page() -> Iterator[str]:
    """URL of a web page, which people paste instead of the stream's URL."""
    page = b"<!doctype html><html><head><title>Radio</title></head><body>Listen live!</body></html>"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + page)
        await writer.drain()
        writer.close()

    with _serving(serve) as port:
        yield f"http://{HOST}:{port}/"


@contextmanager
def _serving(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Iterator[int]:
    with start_blocking_portal() as portal:
        server = portal.call(asyncio.start_server, serve, HOST, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            portal.call(server.close)


def at_s(station: Station, instant: str) -> float:
    """Seconds from the start of the broadcast to an instant as the API returns it."""
    assert station.on_air_at is not None
    return (datetime.fromisoformat(instant) - station.on_air_at).total_seconds()
