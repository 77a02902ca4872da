"""Stopping a process: a signal sets an event; a second signal exits at once."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

log = structlog.get_logger(__name__)

EXIT_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def stop_event() -> asyncio.Event:
    """Returns an event that SIGINT or SIGTERM sets; call it once per process, inside the running loop."""
    stop = asyncio.Event()
    received: list[int] = []

    def on_signal(number: int) -> None:
        if received:
            os._exit(EXIT_INTERRUPTED)  # loses no more than a crash would
        received.append(number)
        log.info("stopping", hint="signal once more to exit at once")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Waits for the event for at most `timeout_s` seconds; returns whether it is set."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
