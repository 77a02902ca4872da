"""Clients of the API over real parts, in this process and without sockets."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from typing import cast

import httpx2
import pytest

from monitor.catalog.catalog import Catalog
from monitor.core.tracking.play import Play
from monitor.detect.logmel import LogMelDetector
from monitor.matching.matcher import Matcher
from monitor.parts import Airtrace
from monitor.settings import MatchingSettings
from monitor.storage.milvus import Index
from monitor.storage.milvus_client import MilvusConnection
from monitor.storage.records import Batch, Interval, Metadata, Progress
from monitor.storage.storage import Storage
from tests.service.api.http import SECRET_URL, a_track, client_of, settings_of
from tests.songs import ANCHOR, SECOND, Songs, written


@pytest.fixture
def airtrace(
    tmp_path: Path, dsn: str, storage: Storage, index: Index, catalog: Catalog, matcher: Matcher, executor: Executor
) -> Airtrace:
    return Airtrace(settings_of(tmp_path), dsn, storage, index, catalog, matcher, executor)


@pytest.fixture
def airtrace_without_index(
    tmp_path: Path, dsn: str, storage: Storage, detector: LogMelDetector, executor: Executor
) -> Airtrace:
    """For tests that never touch vectors, which are most: opening an index takes a while."""
    index = Index(cast("MilvusConnection", object()), detector.info)
    catalog = Catalog(storage, index, detector, executor)
    matcher = Matcher(detector, index, storage, executor, MatchingSettings(), detector.thresholds)
    return Airtrace(settings_of(tmp_path), dsn, storage, index, catalog, matcher, executor)


@pytest.fixture
async def client(airtrace_without_index: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(airtrace_without_index) as http:
        yield http


@pytest.fixture
async def indexed_client(airtrace: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API that has an index."""
    async with client_of(airtrace) as http:
        yield http


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


@pytest.fixture
async def on_air(storage: Storage) -> Play:
    """An open match on a stream that was monitored for 20 s, after a gap."""
    track = await a_track(storage, 1, Metadata("Nocturne", "/a/n.wav", "The Owls"))
    stream = await storage.streams.add("radio-one", SECRET_URL)
    assert stream is not None
    play = Play(uuid.uuid4(), track, ANCHOR, ANCHOR + 15 * SECOND, 30 * SECOND, 45 * SECOND, 1.0, 18.0, 20, 50.0)
    await storage.batches.write(
        Batch(
            stream_id=stream,
            expected=None,
            progress=Progress(ANCHOR + 20 * SECOND, 0, 9, 0),
            coverage=(
                Interval(ANCHOR - 5 * SECOND, ANCHOR, "connecting"),
                Interval(ANCHOR, ANCHOR + 20 * SECOND),
            ),
            opened=(play,),
            open=(play,),
            closed=(),
            severity="warning",
        ),
        LogMelDetector().info,
    )
    return play
