"""Waits for a condition that no event announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 180  # two cores with much other work


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Polls until `condition` returns something true.

    Raises:
        TimeoutError: it has not within `timeout_s`.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
