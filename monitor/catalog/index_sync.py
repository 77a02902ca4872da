"""Keeps the index in sync with PostgreSQL, which is the source of truth. Every step can be repeated after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from monitor.detect.detector import DetectorInfo
from monitor.storage.memory_index import MemoryIndex
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)

BATCH_TRACKS = 64  # tracks whose vectors are in memory at once: 16 MB if they last four minutes each


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """`done` of `total` tracks are in the new index."""

    done: int
    total: int


class IndexSync:
    """Keeps the index of one model in sync with the catalog.

    Callers of all other methods hold the lock.
    """

    def __init__(
        self, storage: Storage, index: Index, info: DetectorInfo, memory_index: MemoryIndex | None = None
    ) -> None:
        """`memory_index`: answers this process's searches instead of the index; it gets the same changes."""
        self._storage = storage
        self._index = index
        self._info = info
        self._memory_index = memory_index
        self._is_complete = False  # the index was compared with PostgreSQL
        # Of this process, only one connection at a time waits for the lock in PostgreSQL, not the whole pool.
        self._process_lock = asyncio.Lock()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Holds the catalog lock: of all processes, only one at a time changes the catalog and its index."""
        async with self._process_lock, self._storage.tracks.catalog_lock():
            yield

    async def add(self, track: int) -> None:
        """Writes a track to the index as it is in PostgreSQL. A pending track becomes ready."""
        await self._complete()
        for row in await self._storage.vectors.index_rows([track], self._info):
            if row.revision > 1:  # the index may contain other vectors of it, and more of them
                await self._index.delete(track)
            await self._index.insert(track, row.vectors)
            await self._storage.tracks.set_indexed(row, self._info)
            if self._memory_index is not None:
                await self._memory_index.put(track, row.revision, row.vectors)

    async def remove(self, track: int) -> None:
        """Deletes a retiring track from the index. It becomes retired."""
        if self._memory_index is not None:
            await self._memory_index.remove(track)
        await self._complete()
        await self._index.delete(track)
        await self._storage.tracks.set_status(track, "retired")

    async def refresh(self) -> None:
        """Takes over the changes of other processes; an index that is not in memory has them already."""
        if self._memory_index is not None:
            await self._memory_index.refresh()

    async def recover(self) -> None:
        """Completes interrupted changes. Rebuilds an index that searches use if it has fewer vectors than are stored.

        With an index in memory, that is checked before the first change: most commands and days change nothing, and
        Milvus Lite takes a second and 150 MB of memory.
        """
        await self.resume()
        self._is_complete = False
        if self._memory_index is None:
            await self._complete()

    async def _complete(self) -> None:
        if self._is_complete:
            return
        wanted = await self._storage.vectors.count_indexable(self._info)
        there = await self._index.count()
        self._index.suggest_kind(wanted)
        if there < wanted:
            log.warning("catalog.rebuilding_index", vectors_wanted=wanted, vectors_indexed=there)
            async for _ in self.rebuild():
                pass
        self._is_complete = True

    async def resume(self) -> None:
        """Completes changes that were interrupted."""
        for track in await self._storage.tracks.retiring():
            await self.remove(track)
        for track in await self._storage.tracks.pending():
            await self.add(track)
        for track in await self._storage.vectors.unindexed_tracks(self._info):
            await self.add(track)

    async def rebuild(self) -> AsyncIterator[RebuildProgress]:
        """Builds a new index from the stored vectors. Searches use the old one until the new one is complete."""
        tracks = await self._storage.vectors.ready_tracks(self._info)
        n_vectors = await self._storage.vectors.count_indexable(self._info)
        async with self._index.rebuilding(n_vectors) as new:
            for first in range(0, len(tracks), BATCH_TRACKS):
                for row in await self._storage.vectors.index_rows(tracks[first : first + BATCH_TRACKS], self._info):
                    await new.insert(row.track, row.vectors)
                    await self._storage.tracks.set_indexed(row, self._info)
                yield RebuildProgress(min(first + BATCH_TRACKS, len(tracks)), len(tracks))
