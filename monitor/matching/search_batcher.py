"""Searches for several streams in one call: requests that arrive during a call go together into the next one.

A call to a server takes about as long for a hundred vectors as for four, so batching pays off with many streams. A
single stream never waits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import Hit
from monitor.storage.candidate_search import CandidateSearch

Hits = list[tuple[Hit, ...]]


@dataclass(slots=True, eq=False)
class _Request:
    vectors: NDArray[np.float32]
    hits: Hits | None = None
    error: Exception | None = None


class SearchBatcher:
    """The index, one call at a time."""

    def __init__(self, index: CandidateSearch, top_k: int) -> None:
        self._index = index
        self._top_k = top_k
        self._calling = asyncio.Lock()
        self._waiting: list[_Request] = []

    async def hits(self, vectors: NDArray[np.float32]) -> Hits:
        """Searches vectors, (n, dimensions) float32; returns the hits of each one, best first.

        Raises:
            DependencyError: Milvus is unreachable.
        """
        request = _Request(vectors)
        self._waiting.append(request)
        try:
            async with self._calling:
                if request.hits is None and request.error is None:
                    await self._search_waiting()
        finally:
            if request in self._waiting:  # cancelled
                self._waiting.remove(request)
        if request.error is not None:
            raise request.error
        assert request.hits is not None  # noqa: S101 - it was waiting
        return request.hits

    async def _search_waiting(self) -> None:
        """Answers all waiting requests; if this is cancelled, the next of them takes over."""
        requests = list(self._waiting)
        try:
            found = await self._index.search(np.concatenate([each.vectors for each in requests]), self._top_k)
        except Exception as error:
            for each in requests:
                each.error = error
        else:
            for each in requests:
                each.hits, found = found[: len(each.vectors)], found[len(each.vectors) :]
        self._waiting = [each for each in self._waiting if each.hits is None and each.error is None]
