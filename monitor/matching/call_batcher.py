"""Answers several tasks with one call: requests of one turn of the event loop, or that arrive during a call.

The steps of a batch cost more per call than per stream: a thread to wake, a transaction to commit. Their calls take the
requests of several streams at once. A single stream never waits for others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from monitor.errors import DependencyError
from monitor.matching.steps import step_timer

UNREACHABLE = (DependencyError, OSError)  # a server or a disk, which goes for all requests of a call

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Request(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]


class CallBatcher(Generic[Item, Answer]):
    """Collects requests for one step of a batch, and answers them in the order of their arrival.

    If a call fails, each of its requests is tried alone, so that one bad stream does not fail its neighbors. If a
    server is unreachable, all of them fail at once.
    """

    def __init__(
        self,
        step: str,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        max_items: int,
        max_calls: int = 1,
    ) -> None:
        """Makes no call yet.

        Args:
            step: the name of the step, for the metrics.
            call: returns an answer for each of some items.
            max_items: items in one call.
            max_calls: calls at the same time.
        """
        self._step = step
        self._call = call
        self._max_items = max_items
        self._max_calls = max_calls
        self._waiting: deque[_Request[Item, Answer]] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, item: Item) -> Answer:
        """The answer for one item. Raises what the call raises."""
        loop = asyncio.get_running_loop()
        request: _Request[Item, Answer] = _Request(item, loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) == 1:
            loop.call_soon(self._start_calls)  # later in this turn, other tasks may ask, too
        return await request.answer

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < self._max_calls:
            requests = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
            # Cancelled requests need no answer. A call in progress ends even if all of its requests are cancelled.
            if requests := [request for request in requests if not request.answer.done()]:
                task = asyncio.create_task(self._answer(requests), name=self._step)
                self._calls.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._start_calls()

    async def _answer(self, requests: Sequence[_Request[Item, Answer]]) -> None:
        """Answers each request, with an error if need be."""
        try:
            with step_timer(self._step):
                answers = await self._call([request.item for request in requests])
        except Exception as error:
            if len(requests) > 1 and not isinstance(error, UNREACHABLE):
                for request in requests:
                    await self._answer([request])
                return
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
        except BaseException:  # the loop is closing
            for request in requests:
                request.answer.cancel()
            raise
        else:
            for request, answer in zip(requests, answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(answer)
