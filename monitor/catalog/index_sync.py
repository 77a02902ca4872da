"""Keeps the index in sync with PostgreSQL, which is the source of truth. Every step can be repeated after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from monitor.detect.detector import DetectorInfo
from monitor.storage.memory_index import MemoryIndex
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage

BATCH_TRACKS = 64  # tracks whose vectors are in memory at once: 16 MB if they last four minutes each


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """`done` of `total` tracks are in the new index."""

    done: int
    total: int


class IndexSync:
    """Keeps the index of one model in sync with the catalog.

    Callers of all methods but `count` and `suggest_kind` hold the lock.
    """

    def __init__(
        self, storage: Storage, index: Index, info: DetectorInfo, memory_index: MemoryIndex | None = None
    ) -> None:
        """`memory_index`: answers this process's searches instead of the index; it gets the same changes."""
        self._storage = storage
        self._index = index
        self._info = info
        self._memory_index = memory_index
        # Of this process, only one connection at a time waits for the lock in PostgreSQL, not the whole pool.
        self._process_lock = asyncio.Lock()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Holds the catalog lock: of all processes, only one at a time changes the catalog and its index."""
        async with self._process_lock, self._storage.tracks.catalog_lock():
            yield

    def suggest_kind(self, n_vectors: int) -> None:
        """Logs a suggestion if another kind of index suits this number of vectors better."""
        self._index.suggest_kind(n_vectors)

    async def count(self) -> int:
        """The number of vectors in the index."""
        return await self._index.count()

    async def add(self, track: int) -> None:
        """Writes a track to the index as it is in PostgreSQL. A pending track becomes ready."""
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
        await self._index.delete(track)
        await self._storage.tracks.set_status(track, "retired")

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
