"""Trying again after a failure: how long to wait (doubling, with jitter), and the one retry loop of the project."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

from ingest.lifecycle import is_set_within

T = TypeVar("T")
RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

# Each wait is drawn between this share of the full wait and all of it, so that clients that failed together do not
# come back together.
MIN_SHARE = 0.5


class Backoff:
    """Waits that double from `first_s` up to `max_s`, until a success resets them."""

    def __init__(self, first_s: float, max_s: float, draw: Callable[[], float] = random.random) -> None:
        """`draw` returns numbers in [0, 1)."""
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._draw = draw
        self._full_s = self._first_s

    def next_s(self) -> float:
        """The next wait, in seconds; never more than `max_s`."""
        wait_s = self._full_s * (MIN_SHARE + (1 - MIN_SHARE) * self._draw())
        self._full_s = min(2 * self._full_s, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Makes the next wait start at `first_s` again, after a success."""
        self._full_s = self._first_s


@overload
async def retry(
    action: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    retry_on: RetryOn,
    on_error: Callable[[Exception, float], None],
    stop: None = None,
) -> T: ...


@overload
async def retry(
    action: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    retry_on: RetryOn,
    on_error: Callable[[Exception, float], None],
    stop: asyncio.Event,
) -> T | None: ...


async def retry(
    action: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    retry_on: RetryOn,
    on_error: Callable[[Exception, float], None],
    stop: asyncio.Event | None = None,
) -> T | None:
    """Runs `action` until it succeeds, and returns its result; None once `stop` is set, without another attempt.

    There is no limit on attempts. The library stamina does not fit: only cancellation ends its waits, not an event, and
    it adds a bounded jitter on top of the backoff. Its backoff cannot be shared, or reset from within the action.

    backoff: gives the waits; reset on success. An action that makes progress before it fails may reset it, too.
    retry_on: the exceptions after which to retry, as types or as a predicate; any other exception is raised at once.
    on_error: called once for each failure, inside the `except` block, with the error and the wait in seconds that
        follows. To give up, it raises.
    stop: ends a wait at once. The action itself is not interrupted.
    """
    while stop is None or not stop.is_set():
        try:
            result = await action()
        except Exception as error:
            if not _is_retried(error, retry_on):
                raise
            wait_s = backoff.next_s()
            on_error(error, wait_s)
        else:
            backoff.reset()
            return result
        if stop is None:
            await asyncio.sleep(wait_s)
        else:
            await is_set_within(stop, wait_s)
    return None


def _is_retried(error: Exception, retry_on: RetryOn) -> bool:
    if isinstance(retry_on, type | tuple):
        return isinstance(error, retry_on)
    return retry_on(error)
