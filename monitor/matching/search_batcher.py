"""Searches of several streams in one call: what is asked for while a call is under way goes together into the next.

A call to a server costs about as much for a hundred vectors as for four, so with many streams this is most of the gain
of a batch; a stream alone never waits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import Hit
from monitor.storage.milvus import Index

Hits = list[tuple[Hit, ...]]


@dataclass(slots=True, eq=False)
class _Question:
    vectors: NDArray[np.float32]
    hits: Hits | None = None
    error: Exception | None = None


class SearchBatcher:
    """The index, one call at a time."""

    def __init__(self, index: Index, top_k: int) -> None:
        self._index = index
        self._top_k = top_k
        self._calling = asyncio.Lock()
        self._waiting: list[_Question] = []

    async def hits(self, vectors: NDArray[np.float32]) -> Hits:
        """The candidates of each vector, shape (n, dimensions), best first.

        Raises:
            DependencyError: Milvus does not answer.
        """
        question = _Question(vectors)
        self._waiting.append(question)
        try:
            async with self._calling:
                if question.hits is None and question.error is None:
                    await self._answer()
        finally:
            if question in self._waiting:  # cancelled
                self._waiting.remove(question)
        if question.error is not None:
            raise question.error
        assert question.hits is not None  # noqa: S101 - it was among the waiting
        return question.hits

    async def _answer(self) -> None:
        """Asks for all that wait; if this is cancelled, the next of them does."""
        asked = list(self._waiting)
        try:
            found = await self._index.search(np.concatenate([each.vectors for each in asked]), self._top_k)
        except Exception as error:
            for each in asked:
                each.error = error
        else:
            for each in asked:
                each.hits, found = found[: len(each.vectors)], found[len(each.vectors) :]
        self._waiting = [each for each in self._waiting if each.hits is None and each.error is None]
