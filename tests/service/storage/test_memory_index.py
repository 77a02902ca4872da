"""The index in memory gives what PostgreSQL has, through every change by this process and by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.catalog.catalog import Catalog
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ
from monitor.detect.logmel import LogMelDetector
from monitor.storage.faiss_index import IndexPlan
from monitor.storage.memory_index import MemoryIndex, open_memory_index
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded
from monitor.storage.storage import Storage
from tests.service.catalog.steps import added
from tests.songs import Songs, written
from tests.waiting import PATIENCE_S


@pytest.fixture
async def memory_index(storage: Storage, detector: LogMelDetector) -> AsyncIterator[MemoryIndex]:
    async with open_memory_index(storage, detector.info) as opened:
        yield opened


@pytest.fixture
def catalog(
    storage: Storage, index: Index, detector: LogMelDetector, executor: Executor, memory_index: MemoryIndex
) -> Catalog:
    return Catalog(storage, index, detector, executor, memory_index=memory_index)


@pytest.fixture
async def other_process(storage: Storage, detector: LogMelDetector) -> AsyncIterator[MemoryIndex]:
    """An index that nobody tells of the changes."""
    async with open_memory_index(storage, detector.info) as opened:
        yield opened


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


async def _vectors(storage: Storage, detector: LogMelDetector, track: int) -> NDArray[np.float32]:
    (row,) = await storage.vectors.index_rows([track], detector.info)
    return row.vectors[row.vectors.any(axis=1)]


async def _found(index: MemoryIndex, vectors: NDArray[np.float32]) -> set[int]:
    """The tracks that have exactly these vectors."""
    return {hit.track for hits in await index.search(vectors, 1) for hit in hits if hit.score > 0.99}


async def test_a_vector_is_found_at_its_position(
    catalog: Catalog, memory_index: MemoryIndex, storage: Storage, detector: LogMelDetector, song: Path
) -> None:
    track = await added(catalog, song)
    (row,) = await storage.vectors.index_rows([track], detector.info)
    audible = np.flatnonzero(row.vectors.any(axis=1))[10:14]
    hits = await memory_index.search(row.vectors[audible], 3)
    assert [(found[0].track, found[0].position // HOP_SAMPLES) for found in hits] == [(track, i) for i in audible]
    assert all(len(found) == 3 and found[0].score == pytest.approx(1, abs=0.01) for found in hits)


async def test_an_empty_catalog_has_no_hits(memory_index: MemoryIndex, detector: LogMelDetector) -> None:
    queries = np.eye(2, detector.info.dimensions, dtype=np.float32)
    assert await memory_index.search(queries, 5) == [(), ()]
    assert await memory_index.search(queries, 5, but=[1]) == [(), ()]


async def test_changes_of_this_process_are_found_at_once(
    catalog: Catalog,
    memory_index: MemoryIndex,
    storage: Storage,
    detector: LogMelDetector,
    song: Path,
    tmp_path: Path,
    songs: Songs,
) -> None:
    await memory_index.load()
    track = await added(catalog, song)
    old = await _vectors(storage, detector, track)
    assert await _found(memory_index, old) == {track}
    await catalog.exclude(track, [Excluded(0, 20 * SAMPLE_RATE_HZ, "")])
    assert await _found(memory_index, old[:30]) == set()
    await catalog.exclude(track, [])
    assert await _found(memory_index, old[:30]) == {track}
    await catalog.replace(track, written(tmp_path / "other.wav", songs.two), "other")
    assert await _found(memory_index, old) == set()
    new = await _vectors(storage, detector, track)
    assert await _found(memory_index, new) == {track}
    await catalog.retire(track)
    assert await _found(memory_index, new) == set()
    await catalog.restore(track)
    assert await _found(memory_index, new) == {track}
    await catalog.delete(track)
    assert await _found(memory_index, new) == set()


async def test_changes_of_other_processes_are_found_by_a_refresh(
    catalog: Catalog, other_process: MemoryIndex, storage: Storage, detector: LogMelDetector, song: Path
) -> None:
    await other_process.load()
    track = await added(catalog, song)
    vectors = await _vectors(storage, detector, track)
    assert await _found(other_process, vectors) == set()
    await other_process.refresh()
    assert await _found(other_process, vectors) == {track}
    await catalog.exclude(track, [Excluded(0, 20 * SAMPLE_RATE_HZ, "")])
    await other_process.refresh()
    assert await _found(other_process, vectors[:30]) == set()
    await catalog.retire(track)
    await other_process.refresh()
    assert await _found(other_process, vectors) == set()


async def test_an_index_that_follows_finds_changes_on_its_own(
    catalog: Catalog, storage: Storage, detector: LogMelDetector, song: Path
) -> None:
    with ThreadPoolExecutor(1) as thread:
        index = MemoryIndex(storage, detector.info, thread, follow_s=0.05)
        following = asyncio.create_task(index.follow(), name="follow")
        track = await added(catalog, song)
        vectors = await _vectors(storage, detector, track)
        async with asyncio.timeout(PATIENCE_S):
            while await _found(index, vectors) != {track}:  # noqa: ASYNC110 - PostgreSQL announces no change
                await asyncio.sleep(0.05)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_tracks_are_left_out(
    catalog: Catalog,
    memory_index: MemoryIndex,
    storage: Storage,
    detector: LogMelDetector,
    song: Path,
    tmp_path: Path,
    songs: Songs,
) -> None:
    one = await added(catalog, song)
    two = await added(catalog, written(tmp_path / "two.wav", songs.two))
    vectors = await _vectors(storage, detector, one)
    found = await memory_index.search(vectors[:5], 8, but=[one])
    assert all(len(hits) == 8 and {hit.track for hit in hits} == {two} for hits in found)


async def test_an_index_that_is_outgrown_is_built_again_with_another_structure(
    catalog: Catalog, storage: Storage, detector: LogMelDetector, song: Path, tmp_path: Path, songs: Songs
) -> None:
    def choose(n_vectors: int) -> IndexPlan:
        return IndexPlan(n_vectors, 1, 1) if n_vectors < 100 else IndexPlan(n_vectors, 2, 2)

    with ThreadPoolExecutor(1) as thread:
        index = MemoryIndex(storage, detector.info, thread, choose=choose)
        await index.load()
        assert index.plan == IndexPlan(0, 1, 1)
        one = await added(catalog, song)
        two = await added(catalog, written(tmp_path / "two.wav", songs.two))
        await index.refresh()
        await index.refresh()
        assert index.plan is not None
        assert index.plan.n_cells == 2
        for track in (one, two):
            assert await _found(index, await _vectors(storage, detector, track)) == {track}


async def test_a_change_that_was_cancelled_leaves_nothing_behind(
    catalog: Catalog, storage: Storage, detector: LogMelDetector, song: Path
) -> None:
    track = await added(catalog, song)
    vectors = await _vectors(storage, detector, track)
    with ThreadPoolExecutor(1) as thread:
        index = MemoryIndex(storage, detector.info, thread)
        await index.load()
        for change in (index.put(track, 1, vectors), index.put(99, 1, vectors), index.remove(track)):
            release = Event()
            busy = asyncio.get_running_loop().run_in_executor(thread, release.wait)
            changing = asyncio.create_task(change, name="change")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            changing.cancel()
            release.set()
            await busy
            with suppress(asyncio.CancelledError):
                await changing
        await catalog.exclude(track, [])  # another revision, so that the refresh compares
        await index.refresh()
        assert await _found(index, vectors) == {track}
        await catalog.retire(track)
        await index.refresh()
        assert await _found(index, vectors) == set()
