"""Brings the index into step with PostgreSQL, which is the truth; everything here can be done again after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from monitor.detect.detector import DetectorInfo
from monitor.storage.matches import Store
from monitor.storage.milvus import Index

BATCH_TRACKS = 64  # whose vectors are in memory at once: 16 MB of four minutes each


@dataclass(frozen=True, slots=True)
class Refilled:
    """How many of how many tracks are in the new index."""

    done: int
    total: int


class IndexSync:
    """One catalog and its index of one model."""

    def __init__(self, store: Store, index: Index, info: DetectorInfo) -> None:
        self._store = store
        self._index = index
        self._info = info
        self._changing = asyncio.Lock()  # one connection of this process waits for the others, not all of the pool

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Whoever brings index and catalog into step does it alone, among all processes."""
        async with self._changing, self._store.catalog_lock():
            yield

    def advise(self, n_vectors: int) -> None:
        """Says so where another kind of index would be built for so many vectors."""
        self._index.advise(n_vectors)

    async def count(self) -> int:
        """How many vectors the index has."""
        return await self._index.count()

    # All that follows is for who is in a `change`.

    async def bring(self, track: int) -> None:
        """Puts a track into the index as PostgreSQL has it; one that was pending is ready then."""
        for each in await self._store.indexables([track], self._info):
            if each.revision > 1:  # it may be there with other vectors, and more of them
                await self._index.delete(track)
            await self._index.insert(track, each.vectors)
            await self._store.mark_indexed(each, self._info)

    async def take_out(self, track: int) -> None:
        """Takes a track that is retiring out of the index."""
        await self._index.delete(track)
        await self._store.mark(track, "retired")

    async def finish(self) -> None:
        """Ends what was broken off."""
        for track in await self._store.retiring_tracks():
            await self.take_out(track)
        for track in await self._store.pending_tracks():
            await self.bring(track)
        for track in await self._store.unindexed_tracks(self._info):
            await self.bring(track)

    async def refill(self) -> AsyncIterator[Refilled]:
        """Builds the index anew from the stored vectors, beside the one that is searched until it is done."""
        tracks = await self._store.ready_tracks(self._info)
        n_vectors = await self._store.audible_segments(self._info)
        async with self._index.building(n_vectors) as new:
            for first in range(0, len(tracks), BATCH_TRACKS):
                for each in await self._store.indexables(tracks[first : first + BATCH_TRACKS], self._info):
                    await new.insert(each.track, each.vectors)
                    await self._store.mark_indexed(each, self._info)
                yield Refilled(min(first + BATCH_TRACKS, len(tracks)), len(tracks))
