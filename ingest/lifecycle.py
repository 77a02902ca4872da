"""How a process is told to stop: an event that a signal sets. A second signal exits at once."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

log = structlog.get_logger(__name__)

EXIT_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def stop_event() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets; call it inside the running loop, once a process."""
    stop = asyncio.Event()
    asked: list[int] = []

    def on_signal(number: int) -> None:
        if asked:
            os._exit(EXIT_INTERRUPTED)  # nothing is lost that a crash would not lose
        asked.append(number)
        log.info("stopping", hint="once more to exit at once")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Waits that long, or less when it is time to stop; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
