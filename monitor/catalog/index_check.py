"""Compares the index with PostgreSQL, track by track and vector by vector, and repairs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.catalog.index_sync import IndexSync
from monitor.detect.detector import DetectorInfo
from monitor.storage.candidate_search import SEGMENT_BITS
from monitor.storage.milvus import Index, Rows
from monitor.storage.storage import Storage

BATCH_VECTORS = 20_000  # of 128 numbers: 10 MB in one message; servers send at most 100
BATCH_TRACKS = 1000  # looked up at once
# The index stores vectors as float16; a lossy kind may return slightly different ones.
MAX_VECTOR_ERROR = 1e-3


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a track differs.

    kind: `missing` in the index; `extra` there; `doubled` there; `other` vectors there; `unfinished` (a change was
        interrupted); or `unembedded` (no vectors of this model are stored: `airtrace tracks rebuild`).
    vectors: how many vectors differ; 0 if the kind is not about vectors.
    repaired: whether the difference was repaired.
    """

    track: int
    kind: str
    vectors: int
    repaired: bool


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """`done` of `total` tracks have been compared."""

    done: int
    total: int


class IndexCheck:
    """Compares the index of one model with the stored vectors."""

    def __init__(
        self,
        storage: Storage,
        index: Index,
        index_sync: IndexSync,
        info: DetectorInfo,
        *,
        batch_vectors: int = BATCH_VECTORS,
        batch_tracks: int = BATCH_TRACKS,
    ) -> None:
        """`batch_vectors` and `batch_tracks` bound how much is compared at once, under one hold of the lock."""
        self._storage = storage
        self._index = index
        self._index_sync = index_sync
        self._info = info
        self._batch_vectors = batch_vectors
        self._batch_tracks = batch_tracks

    async def run(self, *, repair: bool) -> AsyncIterator[Difference | CheckProgress]:
        """Compares all tracks, and repairs what differs if `repair` is true.

        Searches continue meanwhile; changes to the catalog wait for one batch at a time.

        Raises:
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        for track in await self._storage.vectors.tracks_of_other_models(self._info):
            yield Difference(track.id, "unembedded", 0, repaired=False)
        for unfinished in await self._resume(repair=repair):
            yield Difference(unfinished, "unfinished", 0, repaired=repair)
        total, done = sum((await self._storage.tracks.count_by_status()).values()), 0
        beyond: int | None = 0
        while beyond is not None:
            first = beyond
            async with self._index_sync.lock():
                tracks, beyond = await self._batch(first)
                found = await self._compare(tracks, first, beyond)
                for difference in found:
                    if repair:
                        await self._repair(difference.track)
            for difference in found:
                yield Difference(difference.track, difference.kind, difference.vectors, repaired=repair)
            done += len(tracks)
            yield CheckProgress(done, max(done, total))

    async def _resume(self, *, repair: bool) -> list[int]:
        """The tracks with an interrupted change, which is completed if `repair` is true."""
        async with self._index_sync.lock():
            unfinished = [
                *await self._storage.tracks.retiring(),
                *await self._storage.tracks.pending(),
                *await self._storage.vectors.unindexed_tracks(self._info),
            ]
            if repair:
                await self._index_sync.resume()
        return unfinished

    async def _batch(self, first: int) -> tuple[list[int], int | None]:
        """The next tracks, and the track that the batch after them starts with; None if they are the last.

        They have at most `batch_vectors` vectors together, unless a single track has more.
        """
        counts = await self._storage.vectors.segment_counts(first, self._batch_tracks, self._info)
        n_vectors = 0
        tracks: list[int] = []
        for track, n_segments in counts:
            if tracks and n_vectors + n_segments > self._batch_vectors:
                return tracks, track
            tracks.append(track)
            n_vectors += n_segments
        return tracks, tracks[-1] + 1 if len(counts) == self._batch_tracks else None

    async def _compare(self, tracks: list[int], first: int, beyond: int | None) -> list[Difference]:
        ready = set(await self._storage.tracks.revisions(tracks))
        wanted = {row.track: row.vectors for row in await self._storage.vectors.index_rows(sorted(ready), self._info)}
        there = await self._index.rows(first, beyond)
        found = list(_differences(wanted, there))
        if there.n_rows > len(there.ids):
            found += [each async for each in self._doubled(there)]
        return found

    async def _doubled(self, there: Rows) -> AsyncIterator[Difference]:
        for track in np.unique(there.ids >> SEGMENT_BITS).tolist():
            rows = await self._index.rows(track, track + 1)
            if more := rows.n_rows - len(rows.ids):
                yield Difference(track, "doubled", more, repaired=False)

    async def _repair(self, track: int) -> None:
        await self._index.delete(track)
        if await self._storage.tracks.revisions([track]):
            await self._index_sync.add(track)


def _differences(wanted: Mapping[int, NDArray[np.float32]], there: Rows) -> Iterator[Difference]:
    tracks = there.ids >> SEGMENT_BITS
    for track in sorted({*wanted, *np.unique(tracks).tolist()}):
        own = tracks == track
        segments = there.ids[own] & ((1 << SEGMENT_BITS) - 1)
        vectors = wanted.get(track, np.empty((0, there.vectors.shape[1]), np.float32))
        indexable = np.flatnonzero(vectors.any(axis=1))
        both = np.isin(segments, indexable)
        missing, extra = len(indexable) - int(both.sum()), int((~both).sum())
        error = np.abs(there.vectors[own][both] - vectors[segments[both]]).max(axis=1, initial=0)
        other = int((error > MAX_VECTOR_ERROR).sum())
        for kind, number in (("missing", missing), ("extra", extra), ("other", other)):
            if number:
                yield Difference(track, kind, number, repaired=False)
