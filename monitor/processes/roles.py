"""`airtrace run`, `ingest`, `worker` and `api`: the processes that go on until they are stopped.

Each is one TaskGroup. Stopping is an event, not a cancellation: first listening ends, then what was heard is worked
off within a deadline, then the rest is cancelled. Whatever is left is read again at the next start.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import structlog
from prometheus_client import start_http_server

from ingest.lifecycle import stop_event
from ingest.reading.supervisor import Supervisor
from monitor import parts as app
from monitor.errors import DependencyError, SettingsError
from monitor.local import home
from monitor.matching.worker import Worker
from monitor.parts import _pace, _relay, _streams
from monitor.processes.http_server import serve_http
from monitor.settings import Settings

log = structlog.get_logger(__name__)

DRAIN_S = 10.0
PARENT_POLL_S = 1.0


async def run(settings: Settings, parent: int | None = None) -> int:
    """Listens, matches and serves in one process, until it is told to stop or its parent, if given, is gone."""
    stop = stop_event()
    async with AsyncExitStack() as stack:
        held = stack.enter_context(home.held(settings.home))
        parts = await stack.enter_async_context(app.open_parts(settings, held))
        bus = await stack.enter_async_context(app.bus(settings, held))
        url = await stack.enter_async_context(serve_http(parts, settings.api.host, settings.api.port))
        stack.enter_context(held.announced(url))
        log.info("airtrace.running", page=url, api=f"{url}/docs", metrics=f"{url}/metrics", home=str(settings.home))
        worker = Worker(bus, parts.store, parts.matcher, _pace(settings), app.stream_tagger(parts))
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run(), name="worker")
            relaying = group.create_task(_relay(bus, parts.store, settings.kafka.matches_topic), name="relay")
            supervisor = Supervisor(_streams(settings, parts.dsn), bus, settings.ingest)
            listening = group.create_task(supervisor.run(stop), name="ingest")
            watching = group.create_task(_gone(parent), name="parent") if parent else working
            await _first(stop, working, listening, watching)
            await listening
            if left := await bus.drain(DRAIN_S):
                log.warning("airtrace.left_for_next_start", records=left)
            working.cancel()
            relaying.cancel()
            watching.cancel()
        await worker.close_all()
    log.info("airtrace.stopped")
    return 0


async def ingest(settings: Settings) -> int:
    """Listens only: streams from PostgreSQL, windows to Kafka."""
    if settings.database.dsn is None or not settings.kafka.bootstrap:
        raise SettingsError("`airtrace ingest` needs AIRTRACE_DATABASE__DSN and AIRTRACE_KAFKA__BOOTSTRAP")
    stop = stop_event()
    _serve_metrics(settings)
    async with app.bus(settings, None) as bus:
        log.info("ingest.running")
        streams = _streams(settings, settings.database.dsn.get_secret_value())
        await Supervisor(streams, bus, settings.ingest).run(stop)
    log.info("ingest.stopped")
    return 0


async def worker(settings: Settings) -> int:
    """Matches only: windows from Kafka, matches to PostgreSQL."""
    if settings.database.dsn is None or settings.milvus.uri is None or not settings.kafka.bootstrap:
        raise SettingsError(
            "`airtrace worker` needs AIRTRACE_DATABASE__DSN, AIRTRACE_MILVUS__URI and AIRTRACE_KAFKA__BOOTSTRAP"
        )
    stop = stop_event()
    _serve_metrics(settings)
    async with app.open_parts(settings, None) as parts, app.bus(settings, None) as bus:
        log.info("worker.running")
        worker = Worker(bus, parts.store, parts.matcher, _pace(settings), app.stream_tagger(parts))
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run(), name="worker")
            relaying = group.create_task(_relay(bus, parts.store, settings.kafka.matches_topic), name="relay")
            await _first(stop, working)
            await _finished(worker)
            working.cancel()
            relaying.cancel()
    log.info("worker.stopped")
    return 0


async def api(settings: Settings) -> int:
    """Serves only: the API and the live page over PostgreSQL and Milvus."""
    if settings.database.dsn is None or settings.milvus.uri is None:
        raise SettingsError("`airtrace api` needs AIRTRACE_DATABASE__DSN and AIRTRACE_MILVUS__URI")
    stop = stop_event()
    async with app.open_parts(settings, None) as parts, serve_http(parts, settings.api.host, settings.api.port) as url:
        log.info("api.running", page=url, api=f"{url}/docs")
        await stop.wait()
    log.info("api.stopped")
    return 0


async def _finished(worker: Worker) -> None:
    """Until the batch in hand is written and committed, or the deadline is over: then it is read again later."""
    try:
        async with asyncio.timeout(DRAIN_S):
            await worker.drain()
    except TimeoutError:
        log.warning("worker.batch_left")


async def _first(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Until it is time to stop; a task that ends on its own stops the process instead of leaving it half dead."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    stop.set()


async def _gone(parent: int) -> None:
    """Until whoever started this process has ended, however that was: nobody else would stop it then."""
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
