"""Searches the catalog's vectors in memory. PostgreSQL is the source: it loads them from there and follows its changes.

Milvus Lite walks over all of its rows in Python at every search. With it, this index answers, and Milvus Lite keeps the
vectors. A worker of the full mode may use it as well, instead of asking the server (`milvus.search`).

An index that is late, or approximate, makes nothing wrong: it only proposes, and whoever decides fetches the vectors of
the tracks from PostgreSQL, where a track that was retired has none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor import metrics
from monitor.core.segments import Hit
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.storage.candidate_search import hit_of
from monitor.storage.faiss_index import FaissIndex, IndexPlan, bytes_per_vector, plan_for
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)
T = TypeVar("T")
Args = TypeVarTuple("Args")
Floats = NDArray[np.float32]

UNKNOWN_REVISION = 0  # of a track whose vectors may have been added; PostgreSQL counts from 1
BATCH_TRACKS = 64  # read at once: 16 MB if they last four minutes each
GROWTH = 4  # with this many times the planned vectors, its cells are too full, if another plan has more of them
FOLLOW_S = 2.0  # how often changes by other processes are looked for
PROGRESS_S = 5.0  # how often a long load is logged
# The cells are made from about this many times the vectors that they need, of at least this many tracks: tracks differ
# in length, and those of one album are alike.
SAMPLE_MARGIN, MIN_SAMPLE_TRACKS = 1.5, 50


@dataclass(slots=True)
class _Content:
    """An index, and the revision of each track in it."""

    index: FaissIndex
    revisions: dict[int, int] = field(default_factory=dict)


class MemoryIndex:
    """The vectors of the ready tracks of one model. Loaded by the first search, or by `load`.

    Changes of this process are passed on by `put` and `remove`; those of other processes are found by `follow`.
    """

    def __init__(
        self,
        storage: Storage,
        info: DetectorInfo,
        thread: ThreadPoolExecutor,
        *,
        choose: Callable[[int], IndexPlan] = plan_for,
        follow_s: float = FOLLOW_S,
    ) -> None:
        """`thread`: one thread, in which all searches run. `choose`: the structure for a number of vectors."""
        self._storage = storage
        self._info = info
        self._thread = thread
        self._choose = choose
        self._follow_s = follow_s
        self._content: _Content | None = None
        self._state = ""  # of PostgreSQL, when the content was last compared with it
        self._changing = asyncio.Lock()

    async def search(self, vectors: Floats, top_k: int, but: Collection[int] = ()) -> list[tuple[Hit, ...]]:
        """See `CandidateSearch`."""
        content = self._content or await self._loaded()
        scores, ids = await self._in_thread(content.index.search, vectors, top_k, but)
        return [
            tuple(hit_of(row, score) for row, score in zip(rows, of_rows, strict=True) if row >= 0)
            for rows, of_rows in zip(ids.tolist(), scores.tolist(), strict=True)
        ]

    @property
    def plan(self) -> IndexPlan | None:
        """The structure in use; None before the index is loaded."""
        return None if self._content is None else self._content.index.plan

    async def load(self) -> None:
        """Reads all vectors, unless that was done before, and logs the progress.

        Raises:
            DependencyError: PostgreSQL is unreachable.
        """
        await self._loaded()

    async def put(self, track: int, revision: int, vectors: Floats) -> None:
        """Puts a ready track's vectors, float32 (k, dimensions), in place of earlier ones."""
        async with self._changing:
            if self._content is not None:
                self._content.revisions[track] = UNKNOWN_REVISION  # also if this is cancelled while the thread adds
                await self._in_thread(self._content.index.add, {track: vectors})
                self._content.revisions[track] = revision
                self._count(self._content)

    async def remove(self, track: int) -> None:
        """Removes a track's vectors."""
        async with self._changing:
            if self._content is not None:
                await self._remove(self._content, track)
                self._count(self._content)

    async def follow(self) -> None:
        """Keeps the index in step with PostgreSQL until cancelled."""
        while True:
            try:
                await self.refresh()
            except DependencyError as error:
                log.warning("search.not_refreshed", error=str(error))
            await asyncio.sleep(self._follow_s)

    async def refresh(self) -> None:
        """Takes over the changes of other processes; builds a new index if this one has grown out of its structure.

        Searches continue meanwhile.

        Raises:
            DependencyError: PostgreSQL is unreachable.
        """
        content = await self._loaded()
        async with self._changing:
            state = await self._storage.vectors.searchable_state(self._info)
            if content.index.is_fragmented or self._is_outgrown(content.index):
                content = self._content = await self._built()
            elif state != self._state:
                await self._align(content, await self._storage.vectors.searchable_tracks(self._info), self._in_thread)
            self._state = state
            self._count(content)

    async def _loaded(self) -> _Content:
        async with self._changing:
            if self._content is None:
                self._content = await self._built()
                self._count(self._content)
            return self._content

    def _is_outgrown(self, index: FaissIndex) -> bool:
        """Whether there are more vectors than it was planned for, and another structure suits them better."""
        better = self._choose(len(index))
        return len(index) > GROWTH * index.plan.n_vectors and better.n_cells != index.plan.n_cells

    async def _built(self) -> _Content:
        """A new index of what PostgreSQL has."""
        begun_s = time.monotonic()
        wanted = await self._storage.vectors.searchable_tracks(self._info)
        plan = self._choose(await self._storage.vectors.count_indexable(self._info))
        sample = await self._sample(list(wanted), plan)
        content = _Content(await asyncio.to_thread(FaissIndex, self._info.dimensions, plan, sample))
        await self._align(content, wanted, asyncio.to_thread)
        facts = {"tracks": len(content.revisions), "vectors": len(content.index), "cells": content.index.plan.n_cells}
        log.info("search.loaded", **facts, took_s=round(time.monotonic() - begun_s, 1))
        return content

    async def _sample(self, tracks: Sequence[int], plan: IndexPlan) -> Floats:
        """Vectors of some tracks, evenly chosen: as many as the plan needs, if there are as many."""
        parts: list[Floats] = [np.empty((0, self._info.dimensions), np.float32)]
        if tracks:
            share = min(1.0, plan.n_training_vectors * SAMPLE_MARGIN / max(1, plan.n_vectors))
            n_tracks = min(len(tracks), max(MIN_SAMPLE_TRACKS, round(len(tracks) * share)))
            chosen = [tracks[i] for i in np.linspace(0, len(tracks) - 1, n_tracks, dtype=int)]
            for first in range(0, len(chosen), BATCH_TRACKS):
                rows = await self._storage.vectors.index_rows(chosen[first : first + BATCH_TRACKS], self._info)
                parts += [row.vectors[row.vectors.any(axis=1)] for row in rows]
        found = np.concatenate(parts)
        return found[:: max(1, len(found) // max(1, plan.n_training_vectors))]

    async def _align(self, content: _Content, wanted: dict[int, int], run: Callable[..., Awaitable[None]]) -> None:
        """Removes the tracks that are no longer wanted, and adds those that are missing or have another revision."""
        logged_s = time.monotonic()
        for track in [track for track in content.revisions if track not in wanted]:
            await self._remove(content, track)
        missing = [track for track, revision in wanted.items() if content.revisions.get(track) != revision]
        for first in range(0, len(missing), BATCH_TRACKS):
            rows = await self._storage.vectors.index_rows(missing[first : first + BATCH_TRACKS], self._info)
            content.revisions.update({row.track: UNKNOWN_REVISION for row in rows})
            await run(content.index.add, {row.track: row.vectors for row in rows})
            content.revisions.update({row.track: row.revision for row in rows})
            if time.monotonic() - logged_s > PROGRESS_S:
                logged_s = time.monotonic()
                log.info("search.loading", tracks=first + len(rows), of=len(missing))

    async def _remove(self, content: _Content, track: int) -> None:
        if track in content.revisions:
            await self._in_thread(content.index.remove, track)
            content.revisions.pop(track, None)

    def _count(self, content: _Content) -> None:
        metrics.SEARCH_VECTORS.set(len(content.index))

    async def _in_thread(self, call: Callable[[*Args], T], *args: *Args) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


def search_mb(n_vectors: int, dimensions: int) -> float:
    """The memory that an index of this many vectors takes, in MB."""
    return n_vectors * bytes_per_vector(dimensions) / 1e6


@asynccontextmanager
async def open_memory_index(storage: Storage, info: DetectorInfo) -> AsyncIterator[MemoryIndex]:
    """An index that is loaded on first use."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="search", initializer=_use_one_core)
    try:
        yield MemoryIndex(storage, info, thread)
    finally:
        thread.shutdown(wait=True)


def _use_one_core() -> None:
    """faiss would use all cores for a batch of queries, and its threads would wait for each other in busy loops."""
    import faiss

    faiss.omp_set_num_threads(1)
