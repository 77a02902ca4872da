"""Sample rows for the tests of the storage, and a way to look at the tables."""

from __future__ import annotations

import uuid

import asyncpg
import numpy as np

from ingest.wire import SAMPLE_RATE_HZ
from monitor.core.tracking.play import Play
from monitor.detect.detector import DetectorInfo
from monitor.storage.records import Batch, Fingerprint, Interval, Metadata, Progress
from monitor.storage.storage import Storage

INFO = DetectorInfo("fingerprint", "test-1", "c0ffee", 4)
OTHER = DetectorInfo("fingerprint", "test-2", "decade", 4)
SECOND = SAMPLE_RATE_HZ
START = 1_700_000_000 * SECOND
SONG = Metadata("Nocturne", "/music/nocturne.flac", "The Owls", "Night", "DEA622100001")


async def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def vectors(n: int = 10, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, INFO.dimensions)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


async def ready_track(storage: Storage, seed: int = 1, metadata: Metadata = SONG, info: DetectorInfo = INFO) -> int:
    track = await storage.tracks.add(bytes([seed]) * 32, 5 * SECOND, metadata, Fingerprint(info, vectors(seed=seed)))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


async def a_stream(storage: Storage, name: str = "radio-one") -> int:
    stream = await storage.streams.add(name, "http://radio.example/a.mp3")
    assert stream is not None
    return stream


def play(track: int, start: int = START, end: int = START + 5 * SECOND, number: int = 1) -> Play:
    at = 7 * SECOND + 3
    return Play(uuid.UUID(int=number), track, start, end, at, at + end - start, 1.0, 9.123456789012345, 11, 30.5)


def batch(stream: int, expected: int | None, position: int, *coverage: Interval, **plays: tuple[Play, ...]) -> Batch:
    known = {"opened": (), "open": (), "closed": (), **plays}
    return Batch(stream, expected, Progress(position, 0, 10, 4), coverage, severity="warning", **known)
