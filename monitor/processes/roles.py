"""`airtrace run`, `ingest`, `worker` and `api`: the processes that run until they are stopped.

Each is one TaskGroup. A stop is an event, not a cancellation: first the readers stop, then the worker finishes what was
read within a deadline, then the rest is cancelled. Whatever is left is read again at the next start.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import structlog
from prometheus_client import start_http_server

from ingest.bus.port import Bus
from ingest.lifecycle import stop_event
from ingest.reading.supervisor import Supervisor
from monitor import parts
from monitor.errors import DependencyError
from monitor.local import home
from monitor.matching.worker import Worker
from monitor.parts import Airtrace
from monitor.processes import memory
from monitor.processes.http_server import serve_http
from monitor.settings import Settings

log = structlog.get_logger(__name__)

DRAIN_S = 10.0
PARENT_POLL_S = 1.0


async def run(settings: Settings, parent: int | None = None) -> int:
    """Reads, matches and serves in one process, until it is stopped or its parent process, if given, has ended."""
    memory.limit_arenas()
    stop = stop_event()
    async with AsyncExitStack() as stack:
        held = stack.enter_context(home.held(settings.home))
        airtrace = await stack.enter_async_context(parts.open_parts(settings, held, matches_streams=True))
        bus = await stack.enter_async_context(parts.open_bus(settings, held))
        url = await stack.enter_async_context(serve_http(airtrace, settings.api.host, settings.api.port))
        await parts.load_search(airtrace)
        stack.enter_context(held.announced(url))
        memory.freeze()
        log.info("airtrace.running", page=url, api=f"{url}/docs", metrics=f"{url}/metrics", home=str(settings.home))
        worker = _worker(airtrace, bus)
        async with asyncio.TaskGroup() as group:
            matching = group.create_task(worker.run(), name="worker")
            publishing = group.create_task(parts.publish_events(settings, bus, airtrace.storage), name="events")
            following = group.create_task(parts.follow_catalog(airtrace), name="search-index")
            supervisor = Supervisor(parts.stream_assignment(settings, airtrace.dsn), bus, settings.ingest)
            reading = group.create_task(supervisor.run(stop), name="ingest")
            watching = group.create_task(_parent_ended(parent), name="parent") if parent else matching
            await _stopped_or_ended(stop, matching, reading, watching)
            await reading
            await _drain_bus(bus)
            matching.cancel()
            publishing.cancel()
            following.cancel()
            watching.cancel()
        await worker.close_all()
    log.info("airtrace.stopped")
    return 0


async def ingest(settings: Settings) -> int:
    """Only reads: streams from PostgreSQL, windows to Kafka."""
    settings.require("airtrace ingest", "database.dsn", "kafka.bootstrap")
    stop = stop_event()
    _serve_metrics(settings)
    async with parts.open_database(settings, None) as dsn, parts.open_bus(settings, None) as bus:
        log.info("ingest.running")
        await Supervisor(parts.stream_assignment(settings, dsn), bus, settings.ingest).run(stop)
    log.info("ingest.stopped")
    return 0


async def worker(settings: Settings) -> int:
    """Only matches: windows from Kafka, matches to PostgreSQL."""
    settings.require("airtrace worker", "database.dsn", "milvus.uri", "kafka.bootstrap")
    memory.limit_arenas()
    stop = stop_event()
    _serve_metrics(settings)
    opening = parts.open_parts(settings, None, matches_streams=True)
    async with opening as airtrace, parts.open_bus(settings, None) as bus:
        await parts.load_search(airtrace)
        memory.freeze()
        log.info("worker.running")
        worker = _worker(airtrace, bus)
        async with asyncio.TaskGroup() as group:
            matching = group.create_task(worker.run(), name="worker")
            publishing = group.create_task(parts.publish_events(settings, bus, airtrace.storage), name="events")
            following = group.create_task(parts.follow_catalog(airtrace), name="search-index")
            await _stopped_or_ended(stop, matching)
            await _drain_worker(worker)
            matching.cancel()
            publishing.cancel()
            following.cancel()
    log.info("worker.stopped")
    return 0


async def api(settings: Settings) -> int:
    """Only serves: the API and the live page, on PostgreSQL and Milvus."""
    settings.require("airtrace api", "database.dsn", "milvus.uri")
    stop = stop_event()
    address = settings.api.host, settings.api.port
    async with parts.open_parts(settings, None) as airtrace, serve_http(airtrace, *address) as url:
        log.info("api.running", page=url, api=f"{url}/docs")
        following = asyncio.create_task(parts.follow_catalog(airtrace), name="search-index")
        await stop.wait()
        following.cancel()
    log.info("api.stopped")
    return 0


def _worker(airtrace: Airtrace, bus: Bus) -> Worker:
    backlog = parts.backlog_monitor(airtrace.settings)
    reporter = parts.load_reporter(airtrace.settings, backlog, airtrace.storage)
    return Worker(bus, airtrace.storage, airtrace.matcher, backlog, airtrace.tagger, reporter)


async def _drain_worker(worker: Worker) -> None:
    """Waits until the current batch is committed. After the deadline it is left to be read again."""
    try:
        async with asyncio.timeout(DRAIN_S):
            await worker.drain()
    except TimeoutError:
        log.warning("worker.batch_left")


async def _drain_bus(bus: Bus) -> None:
    """Waits until the worker has finished everything that was read, or the deadline has passed."""
    if records := await bus.drain(DRAIN_S):
        log.warning("airtrace.left_for_next_start", records=records)


async def _stopped_or_ended(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Waits for the stop event. A task that ends before stops the process, instead of leaving it half alive."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    stop.set()


async def _parent_ended(parent: int) -> None:
    """Waits until the process that started this one has ended, for any reason: nothing else would stop this one."""
    while os.getppid() == parent:  # noqa: ASYNC110 - another process's end has no event to wait for
        await asyncio.sleep(PARENT_POLL_S)
    log.warning("airtrace.parent_gone", parent=parent)


def _serve_metrics(settings: Settings) -> None:
    if settings.metrics.port == 0:
        return
    try:
        start_http_server(settings.metrics.port, settings.metrics.host)
    except OSError as error:
        raise DependencyError(
            f"port {settings.metrics.port} of the metrics cannot be used ({error.strerror}): set AIRTRACE_METRICS__PORT"
        ) from error
