"""Waiting for what comes to pass by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 60  # two busy cores


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Polls until it holds.

    Raises:
        TimeoutError: it does not come to.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
