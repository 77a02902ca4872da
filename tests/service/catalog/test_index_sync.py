"""A new index is built beside the old one, which stays in use until the new one is complete."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.core.segments import HOP_SAMPLES
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.matching.matcher import Matcher
from monitor.storage import milvus as index_module
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage
from tests.service.catalog.steps import added, differences, plays_in
from tests.songs import Songs, written

pytestmark = pytest.mark.usefixtures("songs")


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


async def test_another_kind_of_index_is_built_from_the_stored_vectors_while_searches_continue(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    matcher: Matcher,
    song: Path,
    detector: LogMelDetector,
    tmp_path: Path,
) -> None:
    track = await added(catalog, song)
    there = await index.count()
    song.rename(tmp_path / "copy.wav")
    assert index.kind == "FLAT"
    index._choose = lambda n_vectors: "HNSW"  # as a process with other settings has it
    before, found = index.collection, []
    async with catalog.index_sync.lock():
        async for _ in catalog.index_sync.rebuild():
            found.append([each[0] for each in await plays_in(matcher, tmp_path / "copy.wav")])
    assert found == [[track]]
    assert (index.kind, index.collection != before) == ("HNSW", True)
    assert await index.count() == there
    assert await plays_in(matcher, tmp_path / "copy.wav")
    assert await differences(catalog, storage, index) == []
    assert await index._milvus.call("list_collections") == [index.collection]


async def test_an_interrupted_build_leaves_the_old_index_in_use(
    catalog: Catalog, index: Index, storage: Storage, song: Path
) -> None:
    await added(catalog, song)
    there = await index.count()
    with suppress(InterruptedError):
        async with index.rebuilding() as new:
            await new.insert(1, np.eye(3, LogMelDetector().info.dimensions, dtype=np.float32))
            raise InterruptedError
    assert await index.count() == there
    async with catalog.index_sync.lock():
        _ = [step async for step in catalog.index_sync.rebuild()]
    assert await index.count() == there
    assert await differences(catalog, storage, index) == []


async def test_an_index_of_another_kind_is_searched_as_the_kind_that_it_is(
    tmp_path: Path, detector: LogMelDetector, songs: Songs, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = detector.embed(songs.one).vectors
    uri = str(tmp_path / "other.db")
    for kind in ("IVF_FLAT", "HNSW"):
        async with index_module.open_index(uri, None, detector.info, kind) as opened:
            await opened.insert(1, vectors)
            assert opened.kind == "IVF_FLAT"
            assert (await opened.search(vectors[10:11], 1))[0][0].position == 10 * HOP_SAMPLES


async def test_a_new_model_is_built_beside_the_old_one_which_stays_in_use(
    catalog: Catalog,
    storage: Storage,
    index: Index,
    executor: Executor,
    song: Path,
    matcher: Matcher,
) -> None:
    track = await added(catalog, song)
    newer = _Newer()
    beside = index.for_model(newer.info)
    await beside.open()
    new = Catalog(storage, beside, newer, executor)
    assert [(one.track.id, one.error) async for one in new.rebuild()] == [(track, None)]
    await new.recover()
    await catalog.recover()
    assert [each[0] for each in await plays_in(matcher, song)] == [track]
    assert await index.count() == await beside.count()
    assert len(await storage.vectors.models()) == 2
    assert await storage.vectors.prune(newer.info) == 1
    assert [info for info, _, _ in await storage.vectors.models()] == [newer.info]


class _Newer(LogMelDetector):
    """The same vectors, by other weights' name."""

    def __init__(self) -> None:
        super().__init__()
        self.info = DetectorInfo("fingerprint", "newer-1", "ba5eba11", self.info.dimensions)
