"""One bus, one track and one stream, for the tests of the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.bus.spool import Spool
from monitor.catalog.catalog import Catalog
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.songs import Songs, written
from tests.workers import a_stream


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(tmp_path / "spool", 64) as opened:
        yield opened


@pytest.fixture
async def one(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    """The track that most of the streams play."""
    path = written(tmp_path / "one.wav", songs.one)
    return (await catalog.add(path, Metadata("One", str(path)))).track.id


@pytest.fixture
async def stream(storage: Storage) -> int:
    return await a_stream(storage, "radio-one")
