"""Puts the parts together: which database, index and bus. The only place that knows embedded from full mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ingest.bus.history import WindowHistory
from ingest.bus.kafka import KafkaBus
from ingest.bus.port import Bus
from ingest.bus.spool import KEEP_S, Spool
from ingest.bus.spool_history import SpoolHistory
from ingest.leases.assignment import AllStreams, StreamAssignment
from ingest.leases.lease import LeaseTiming
from ingest.leases.postgres import LeasedStreams
from ingest.settings import KafkaSettings
from ingest.wire import Encoded, Headers
from monitor import metrics
from monitor.alerts.kafka import EventPublisher
from monitor.catalog.catalog import Catalog
from monitor.detect.detector import Detector
from monitor.detect.fingerprint import NeuralDetector
from monitor.errors import DependencyError, SettingsError
from monitor.local import postgres
from monitor.local.home import Home
from monitor.matching.backlog import BacklogMonitor
from monitor.matching.matcher import Matcher
from monitor.settings import Settings
from monitor.similarity import panns_service
from monitor.similarity.panns_service import PannsService
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage import matches, milvus
from monitor.storage.matches import Store
from monitor.storage.milvus import Index

EXECUTOR_THREADS = 2  # embedding releases the interpreter's lock in its FFTs and products; more threads gain nothing


@dataclass(frozen=True, slots=True)
class Airtrace:
    """The opened parts that the worker, the API and the commands share."""

    settings: Settings
    dsn: str
    store: Store
    index: Index
    catalog: Catalog
    matcher: Matcher
    executor: Executor
    sounds: PannsService | None = None  # None only where nothing asks for it


@asynccontextmanager
async def open_parts(settings: Settings, home: Home | None, *, recover: bool = True) -> AsyncIterator[Airtrace]:
    """Opens database and index; `home` is needed where the settings leave either to the embedded mode.

    Raises:
        DependencyError: a part cannot be reached.
        ModelMismatch: the catalog was made with other weights, and `recover` was asked for.
    """
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="airtrace"))
        loop = asyncio.get_running_loop()
        importing = loop.run_in_executor(executor, _import_milvus)
        loading = loop.run_in_executor(executor, NeuralDetector)
        dsn = await stack.enter_async_context(_database(settings, home))
        kept = await stack.enter_async_context(_store(settings, dsn))
        await importing
        detector = await loading
        vectors = await stack.enter_async_context(_index(settings, home, detector))
        catalog = Catalog(kept, vectors, detector, executor, settings.catalog.max_track_h * 3600)
        if recover:
            await catalog.recover()
        matcher = Matcher(detector, vectors, kept, executor, settings.matching, detector.thresholds)
        if (calibration := await kept.calibration(detector.info)) is not None:
            matcher.thresholds = matcher.thresholds_at(calibration.open_llr)
        info = detector.info
        metrics.BUILD.labels(version("airtrace"), info.name, f"{info.version}/{info.checksum}").set(1)
        heard = await stack.enter_async_context(panns_service.open_panns(settings, kept, vectors))
        catalog.second_detector = heard
        yield Airtrace(settings, dsn, kept, vectors, catalog, matcher, executor, heard)


@asynccontextmanager
async def bus(settings: Settings, home: Home | None) -> AsyncIterator[Bus]:
    """Kafka where the settings name brokers, else the spool in the home."""
    if settings.kafka.bootstrap:
        is_idempotent, window_s = settings.kafka.idempotence, settings.ingest.window_s
        async with KafkaBus(settings.kafka, idempotent=is_idempotent, window_s=window_s) as kafka:
            yield kafka
    else:
        # Twice what a worker re-reads: it begins again at a record, not at a second.
        keep_s = max(KEEP_S, 2 * settings.matching.memory_s)
        async with Spool(_needed(home).spool, settings.ingest.max_spool_mb, keep_s) as spool:
            yield spool


def stream_tagger(parts: Airtrace) -> StreamTagger | None:
    """What listens to the worker's streams with PANNs, and tells its matcher what needs no search; None without it."""
    if parts.sounds is None:
        return None
    watch = StreamTagger(parts.sounds, parts.store, parts.settings.panns)
    parts.matcher.needs_search = watch.needs_search
    return watch


def _store(settings: Settings, dsn: str) -> AbstractAsyncContextManager[Store]:
    # Events go over Kafka: without it they would wait for ever.
    return matches.open_storage(dsn, settings.database.max_connections, with_outbox=bool(settings.kafka.bootstrap))


def needs_home(settings: Settings) -> bool:
    """Whether anything is left to the embedded mode."""
    return settings.database.dsn is None or settings.milvus.uri is None


@asynccontextmanager
async def _database(settings: Settings, home: Home | None) -> AsyncIterator[str]:
    if settings.database.dsn is not None:
        yield settings.database.dsn.get_secret_value()
        return
    async with postgres.embedded(_needed(home).postgres) as dsn:
        yield dsn


def _index(settings: Settings, home: Home | None, detector: Detector) -> AbstractAsyncContextManager[Index]:
    token = settings.milvus.token.get_secret_value() if settings.milvus.token else None
    uri = settings.milvus.uri or str(_needed(home).milvus)
    return milvus.open_index(uri, token, detector.info, settings.milvus.index)


def _needed(home: Home | None) -> Home:
    if home is None:
        raise SettingsError("the embedded mode needs a home: set AIRTRACE_HOME, or name the servers in the settings")
    return home


def _import_milvus() -> None:
    try:
        import pymilvus  # noqa: F401 - a second of import, while PostgreSQL starts
    except ImportError as error:
        raise DependencyError(f"pymilvus cannot be imported: {error}") from error


def recorder(kafka: KafkaSettings, spool: Path) -> WindowHistory:
    """Reads from Kafka where brokers are named, else from the spool in a folder."""
    if kafka.bootstrap:
        from ingest.bus.kafka_history import KafkaHistory

        return KafkaHistory(kafka)
    return SpoolHistory(spool)


def _streams(settings: Settings, dsn: str) -> StreamAssignment:
    """Over Kafka others may read streams, too, so that each is claimed; the spool's one process has them all."""
    if settings.kafka.bootstrap:
        return LeasedStreams(dsn, LeaseTiming.within(settings.ingest.lease_s, settings.ingest.poll_s))
    return AllStreams(dsn, settings.ingest.poll_s)


async def _relay(bus: Bus, store: Store, topic: str) -> None:
    """Tells others of matches, where there is a bus to do it over."""
    if bus.can_send and store.outbox is not None:
        await EventPublisher(store.outbox, partial(_send_event, bus, topic)).run()


async def _send_event(bus: Bus, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
    await bus.send(topic, Encoded(key, headers, value))


def _pace(settings: Settings) -> BacklogMonitor:
    return BacklogMonitor(settings.matching.backlog, settings.matching.max_backlog_s)
