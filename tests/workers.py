"""Runs a worker until it has processed everything in a bus, and reads what it has stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from prometheus_client import REGISTRY

from ingest.bus.port import Bus
from ingest.bus.spool import Spool
from ingest.wire import Record
from monitor.matching.worker import Worker
from monitor.storage.storage import Storage
from tests.fakes import MemoryBus
from tests.waiting import until

RETRY_FIRST_S = 0.01
MATCHES = """
    select stream_id, track_id, state, starts, ends, track_starts, track_ends, speed, llr, bridged, ambiguous,
           score_sum, scored
    from matches order by 1, 4, 2
"""
COVERAGE = "select stream_id, starts, ends, state, reason from coverage order by 1, 2"
ALERTS = "select id, match_id, severity, state, track, raised_at from alerts order by 1"


def quick_worker(*parts: Any, **options: Any) -> Worker:
    """A worker that retries soon."""
    return Worker(*parts, retry_first_s=RETRY_FIRST_S, **options)


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a worker until the context ends, which kills it."""
    task = asyncio.create_task(worker.run(), name="worker")
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def work_off(worker: Worker, bus: Spool | MemoryBus) -> None:
    """Runs a worker until it has committed everything."""
    async with working(worker) as task:
        await until(lambda: bus.committed == bus.next_offset or task.done())
        if task.done():
            await task


async def publish(bus: Bus, *records: Sequence[Record]) -> None:
    """Publishes several sequences of records, one after the other."""
    for some in records:
        for record in some:
            await bus.publish(record)


async def a_stream(storage: Storage, name: str) -> int:
    """Adds a stream; returns its id."""
    stream = await storage.streams.add(name, "http://radio.example/a.mp3")
    assert stream is not None
    return stream


async def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def stored(dsn: str) -> list[list[tuple[Any, ...]]]:
    """All matches, coverage and alerts."""
    return [await rows(dsn, query) for query in (MATCHES, COVERAGE, ALERTS)]


def failures(step: str) -> float:
    """How often a step has failed so far."""
    return REGISTRY.get_sample_value("airtrace_worker_failures_total", {"step": step}) or 0
