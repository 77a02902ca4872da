"""Requests that arrive during a call go together into the next one, and each gets its own answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from monitor.core.segments import Hit
from monitor.errors import DependencyError
from monitor.matching.search_batcher import SearchBatcher


class _Index:
    """Answers each vector with its own first component, once it is allowed to."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.failing = False
        self.open = asyncio.Event()
        self.open.set()

    async def search(self, vectors: np.ndarray, top_k: int) -> list[tuple[Hit, ...]]:
        self.calls.append(vectors[:, 0].tolist())
        await self.open.wait()
        if self.failing:
            raise DependencyError("Milvus: away")
        return [(Hit(int(vector[0]), 0, 1.0),) * top_k for vector in vectors]


def _vectors(*numbers: float) -> np.ndarray:
    return np.array([[number, 0] for number in numbers], np.float32)


def _tracks(hits: list[tuple[Hit, ...]]) -> list[int]:
    return [each[0].track for each in hits]


async def _asked(searches: SearchBatcher, index: _Index, *questions: tuple[float, ...]) -> list[asyncio.Task[list]]:
    """Starts requests: the first one is being answered, and the others wait."""
    index.open.clear()
    tasks = []
    for numbers in questions:
        tasks.append(asyncio.create_task(searches.hits(_vectors(*numbers)), name=str(numbers)))
        await asyncio.sleep(0)
    return tasks


async def test_waiting_requests_are_answered_by_one_call() -> None:
    index = _Index()
    tasks = await _asked(SearchBatcher(index, 2), index, (1, 2), (3,), (4, 5), (6,))
    index.open.set()
    assert [_tracks(await task) for task in tasks] == [[1, 2], [3], [4, 5], [6]]
    assert index.calls == [[1, 2], [3, 4, 5, 6]]
    assert all(len(hits) == 2 for hits in await tasks[0])


async def test_a_failure_reaches_all_requests_of_a_call_and_they_may_retry() -> None:
    index = _Index()
    searches = SearchBatcher(index, 1)
    tasks = await _asked(searches, index, (1,), (2,), (3,))
    index.failing = True
    index.open.set()
    for task in tasks:
        with pytest.raises(DependencyError, match="away"):
            await task
    index.failing = False
    assert _tracks(await searches.hits(_vectors(7))) == [7]


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_cancelled_request_does_not_cancel_the_others(cancelled: int) -> None:
    """Neither the request that makes the call nor one that waits."""
    index = _Index()
    tasks = await _asked(SearchBatcher(index, 1), index, (1,), (2,), (3,))
    tasks[cancelled].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[cancelled]
    index.open.set()
    left = [task for number, task in enumerate(tasks) if number != cancelled]
    assert [_tracks(await task) for task in left] == [[n] for n in (1, 2, 3) if n != cancelled + 1]
