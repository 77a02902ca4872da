"""What several tests of PANNs do: register a sound, run a tagger, replace a method of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from ingest.bus.port import Delivery
from ingest.wire import Record
from monitor.catalog.catalog import Catalog
from monitor.detect.panns import Panns
from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService
from monitor.similarity.search import SimilaritySearch
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.records import Metadata, Track
from monitor.storage.storage import Storage
from tests.songs import written
from tests.waiting import until

LoadNetwork = Callable[..., Panns]


def settings_of(home: Path, checkpoint: Path | None, **panns_settings: Any) -> Settings:
    """Settings with PANNs on the CPU."""
    return Settings(home=home, panns={"device": "cpu", "checkpoint": checkpoint, **panns_settings})


async def registered(catalog: Catalog, path: Path, pcm: np.ndarray) -> Track:
    """Registers a sound as a track."""
    return (await catalog.add(written(path, pcm), Metadata(path.stem, str(path)))).track


def delivered(records: Sequence[Record]) -> list[Delivery]:
    """Records as a bus delivers them."""
    return [Delivery(0, offset, record) for offset, record in enumerate(records)]


def a_tagger(service: PannsService, storage: Storage, settings: Settings, **options: Any) -> StreamTagger:
    """A tagger that is not running."""
    return StreamTagger(service, SimilaritySearch(service, storage), storage, settings.panns, **options)


@asynccontextmanager
async def running(tagger: StreamTagger) -> AsyncIterator[StreamTagger]:
    """Runs a tagger until the context ends, which kills it."""
    task = asyncio.create_task(tagger.run(), name="tagger")
    try:
        await until(lambda: tagger.is_on or task.done())
        yield tagger
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Substitute:
    """A part of which a test replaces some methods."""

    def __init__(self, part: Any, **methods: Any) -> None:
        self._part = part
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


def substituted(service: PannsService, **methods: Any) -> PannsService:
    """A PannsService with some of its methods replaced."""
    return cast(PannsService, Substitute(service, **methods))
