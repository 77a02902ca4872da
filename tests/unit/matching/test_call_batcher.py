"""Calls for several tasks: asked together they go together, and one that fails does not fail its neighbors."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from monitor.errors import DependencyError
from monitor.matching.call_batcher import CallBatcher
from tests.workers import failures


class Doubling:
    """Doubles numbers, and records its calls; -1 is refused. Calls wait for `released`."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.calls: list[list[int]] = []
        self.n_running = self.max_running = 0
        self.refusal = refusal or ValueError("negative")
        self.called, self.released = asyncio.Event(), asyncio.Event()
        self.released.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.called.set()
        self.n_running += 1
        self.max_running = max(self.max_running, self.n_running)
        try:
            await asyncio.sleep(0)
            await self.released.wait()
        finally:
            self.n_running -= 1
        if -1 in items:
            raise self.refusal
        return [2 * item for item in items]


async def _asked(batcher: CallBatcher[int, int], *items: int) -> list[int | BaseException]:
    return await asyncio.gather(*(batcher.ask(item) for item in items), return_exceptions=True)


async def test_requests_of_one_turn_share_calls_of_at_most_so_many_items() -> None:
    doubling = Doubling()
    batcher = CallBatcher("test", doubling, max_items=2)
    assert await _asked(batcher, 1, 2, 3) == [2, 4, 6]
    assert doubling.calls == [[1, 2], [3]]
    assert doubling.max_running == 1


async def test_requests_that_arrive_during_a_call_go_into_the_next_one() -> None:
    doubling = Doubling()
    doubling.released.clear()
    batcher = CallBatcher("test", doubling, max_items=8)
    first = asyncio.create_task(batcher.ask(1), name="first")
    await doubling.called.wait()
    others = [asyncio.create_task(batcher.ask(item), name="other") for item in (2, 3)]
    await asyncio.sleep(0)
    doubling.released.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert doubling.calls == [[1], [2, 3]]


async def test_several_calls_run_at_a_time_if_they_may() -> None:
    doubling = Doubling()
    assert await _asked(CallBatcher("test", doubling, max_items=1, max_calls=2), 1, 2, 3) == [2, 4, 6]
    assert doubling.max_running == 2


async def test_a_request_that_fails_does_not_fail_the_others() -> None:
    step = f"test-{uuid.uuid4().hex}"
    doubling = Doubling()
    one, failed, three = await _asked(CallBatcher(step, doubling, max_items=8), 1, -1, 3)
    assert (one, three) == (2, 6)
    assert failed is doubling.refusal
    assert doubling.calls == [[1, -1, 3], [1], [-1], [3]]
    assert failures(step) == 2


@pytest.mark.parametrize("error", [DependencyError("gone"), ConnectionResetError()])
async def test_an_unreachable_server_fails_all_requests_at_once(error: Exception) -> None:
    doubling = Doubling(error)
    assert await _asked(CallBatcher("test", doubling, max_items=8), 1, -1) == [error, error]
    assert len(doubling.calls) == 1


async def test_a_cancelled_request_leaves_the_others_and_needs_no_call_of_its_own() -> None:
    doubling = Doubling()
    doubling.released.clear()
    batcher = CallBatcher("test", doubling, max_items=8)
    first, second = (asyncio.create_task(batcher.ask(item), name="asking") for item in (1, 2))
    await doubling.called.wait()
    third = asyncio.create_task(batcher.ask(3), name="asking")
    await asyncio.sleep(0)
    for task in (first, third):
        task.cancel()
    doubling.released.set()
    assert await second == 4
    await asyncio.gather(first, third, return_exceptions=True)
    assert [task.cancelled() for task in (first, third)] == [True, True]
    assert doubling.calls == [[1, 2]]
