"""Builds the parts: which database, index and bus. The only file where the embedded and the full mode differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from ingest.bus.history import WindowHistory
from ingest.bus.kafka import KafkaBus
from ingest.bus.kafka_history import KafkaHistory
from ingest.bus.port import Bus
from ingest.bus.spool import KEEP_S, Spool
from ingest.bus.spool_history import SpoolHistory
from ingest.leases.assignment import AllStreams, StreamAssignment
from ingest.leases.lease import LeaseTiming
from ingest.leases.postgres import LeasedStreams
from monitor import metrics
from monitor.alerts.kafka import EventPublisher, events_topic
from monitor.catalog.catalog import Catalog
from monitor.detect.detector import Detector
from monitor.detect.fingerprint import NeuralDetector
from monitor.errors import SettingsError
from monitor.local import postgres
from monitor.local.home import Home
from monitor.matching.load.backlog import BacklogMonitor
from monitor.matching.load.reporter import LoadReporter
from monitor.matching.matcher import Matcher
from monitor.settings import Settings
from monitor.similarity.enrollment import Enrollment
from monitor.similarity.panns_service import PannsService, open_panns
from monitor.similarity.search import SimilaritySearch
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage import milvus
from monitor.storage.candidate_search import CandidateSearch
from monitor.storage.memory_index import MemoryIndex, open_memory_index, search_mb
from monitor.storage.milvus import Index
from monitor.storage.milvus_client import import_client
from monitor.storage.milvus_indexes import AUTO, is_file
from monitor.storage.storage import Storage, open_storage

log = structlog.get_logger(__name__)

EXECUTOR_THREADS = 2  # embedding releases the interpreter's lock in its FFTs and products; more threads gain nothing


@dataclass(frozen=True, slots=True)
class Airtrace:
    """The opened parts that the worker, the API and the commands share.

    memory_index: answers searches in place of the index; None: Milvus does.
    panns, tagger: None only if nothing asks for them.
    """

    settings: Settings
    dsn: str
    storage: Storage
    index: Index
    catalog: Catalog
    matcher: Matcher
    executor: Executor
    panns: PannsService | None = None
    tagger: StreamTagger | None = None
    memory_index: MemoryIndex | None = None


@asynccontextmanager
async def open_parts(
    settings: Settings,
    home: Home | None,
    *,
    recover: bool = True,
    matches_streams: bool = False,
    load_detector: Callable[[], Detector] = NeuralDetector,
) -> AsyncIterator[Airtrace]:
    """Opens the database, the index and what works on them; `home` may be None if the settings name both servers.

    matches_streams: it is for a worker, whose searches are worth an index in memory.

    Raises:
        DependencyError: PostgreSQL or Milvus is unreachable, or does not start.
        ModelMismatch: the catalog was made with other weights, and `recover` is true.
        SettingsError: a server is not named, and there is no home.
    """
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="airtrace"))
        loop = asyncio.get_running_loop()
        if not _opens_milvus_late(settings):
            loop.run_in_executor(executor, import_client)
        loading = loop.run_in_executor(executor, load_detector)
        dsn = await stack.enter_async_context(open_database(settings, home))
        storage = await stack.enter_async_context(_storage(settings, dsn))
        detector = await loading
        index = await stack.enter_async_context(_index(settings, home, detector))
        panns = await stack.enter_async_context(open_panns(settings, storage, index))
        max_s = settings.catalog.max_track_h * 3600
        enrollment = Enrollment(panns, storage)
        memory_index = await stack.enter_async_context(_memory_index(settings, storage, detector, matches_streams))
        catalog = Catalog(
            storage, index, detector, executor, memory_index=memory_index, second_detector=enrollment, max_s=max_s
        )
        if recover:
            await catalog.recover()
        tagger = StreamTagger(panns, SimilaritySearch(panns, storage), storage, settings.panns)
        search: CandidateSearch = memory_index or index
        matcher = Matcher(
            detector,
            search,
            storage,
            executor,
            settings.matching,
            detector.thresholds,
            needs_search=tagger.needs_search,
        )
        if (calibration := await storage.calibrations.newest(detector.info)) is not None:
            matcher.set_open_threshold(calibration.open_llr)
        info = detector.info
        metrics.BUILD.labels(version("airtrace"), info.name, f"{info.version}/{info.checksum}").set(1)
        yield Airtrace(settings, dsn, storage, index, catalog, matcher, executor, panns, tagger, memory_index)


@asynccontextmanager
async def open_database(settings: Settings, home: Home | None) -> AsyncIterator[str]:
    """DSN of the PostgreSQL that the settings name, else of a server that runs in the home.

    Raises:
        DependencyError: the server in the home does not start.
        SettingsError: no server is named, and there is no home.
    """
    if settings.database.dsn is not None:
        yield settings.database.dsn.get_secret_value()
        return
    async with postgres.embedded(_required(home).postgres) as dsn:
        yield dsn


@asynccontextmanager
async def open_bus(settings: Settings, home: Home | None) -> AsyncIterator[Bus]:
    """Kafka if the settings name brokers, else the spool in the home.

    Raises:
        BusError: Kafka is unreachable, or the spool cannot be used.
        SettingsError: no brokers are named, and there is no home.
    """
    if settings.kafka.bootstrap:
        is_idempotent, window_s = settings.kafka.idempotence, settings.ingest.window_s
        others = [events_topic(settings.kafka)]
        async with KafkaBus(settings.kafka, idempotent=is_idempotent, window_s=window_s, others=others) as kafka:
            yield kafka
    else:
        # Twice the time that a worker re-reads, because a replay starts at a record and not at a second.
        keep_s = max(KEEP_S, 2 * settings.matching.memory_s)
        async with Spool(_required(home).spool, settings.ingest.max_spool_mb, keep_s) as spool:
            yield spool


def window_history(settings: Settings) -> WindowHistory:
    """Reads past windows from Kafka if the settings name brokers, else from the spool in the home."""
    if settings.kafka.bootstrap:
        return KafkaHistory(settings.kafka)
    return SpoolHistory(Home(settings.home).spool)


def stream_assignment(settings: Settings, dsn: str) -> StreamAssignment:
    """With Kafka, several processes may read streams, so each stream is leased; a spool has one process for all."""
    if settings.kafka.bootstrap:
        return LeasedStreams(dsn, LeaseTiming.within(settings.ingest.lease_s, settings.ingest.poll_s))
    return AllStreams(dsn, settings.ingest.poll_s)


async def publish_events(settings: Settings, bus: Bus, storage: Storage) -> None:
    """Sends the events of the outbox until cancelled; returns at once if the bus has no topic for them."""
    if bus.can_send and storage.outbox is not None:
        await EventPublisher(storage.outbox, bus, settings.kafka.matches_topic).run()


async def load_search(airtrace: Airtrace) -> None:
    """Loads the index in memory, if searches use one: the first search would wait for it."""
    if airtrace.memory_index is not None:
        await airtrace.memory_index.load()


async def follow_catalog(airtrace: Airtrace) -> None:
    """Keeps the index in memory in step with the catalog until cancelled; returns at once if there is none."""
    if airtrace.memory_index is not None:
        await airtrace.memory_index.follow()


def backlog_monitor(settings: Settings) -> BacklogMonitor:
    """Applies the backlog policy of the settings."""
    return BacklogMonitor(settings.matching.backlog, settings.matching.max_backlog_s)


def load_reporter(settings: Settings, backlog: BacklogMonitor, storage: Storage) -> LoadReporter:
    """Reports how well the worker with this backlog keeps up."""
    is_embedded = is_embedded_mode(settings)
    return LoadReporter(backlog.capacity, storage.workers, is_embedded=is_embedded, policy=backlog.policy.value)


def is_embedded_mode(settings: Settings) -> bool:
    """Whether one process reads and matches all streams."""
    return not settings.kafka.bootstrap


def _storage(settings: Settings, dsn: str) -> AbstractAsyncContextManager[Storage]:
    # Events go to Kafka; without it they would wait forever.
    return open_storage(dsn, settings.database.max_connections, with_outbox=bool(settings.kafka.bootstrap))


def _index(settings: Settings, home: Home | None, detector: Detector) -> AbstractAsyncContextManager[Index]:
    token = settings.milvus.token.get_secret_value() if settings.milvus.token else None
    uri = settings.milvus.uri or str(_required(home).milvus)
    kind, late = settings.milvus.index, _opens_milvus_late(settings)
    if kind == AUTO and late:
        kind = "FLAT"  # nothing searches it, and it takes no time to build
    return milvus.open_index(uri, token, detector.info, kind, on_first_call=late)


@asynccontextmanager
async def _memory_index(
    settings: Settings, storage: Storage, detector: Detector, matches_streams: bool
) -> AsyncIterator[MemoryIndex | None]:
    in_memory = _searches_in_memory(settings)
    if settings.milvus.search == "auto" and matches_streams:
        n_vectors, max_mb = await storage.vectors.count_indexable(detector.info), settings.milvus.max_search_mb
        sizes = {"size_mb": round(search_mb(n_vectors, detector.info.dimensions)), "max_mb": max_mb}
        fits = sizes["size_mb"] <= max_mb
        if in_memory and not fits:  # Milvus Lite would take far longer for each search
            log.warning("search.exceeds_memory", **sizes, next="name a Milvus server, or raise milvus.max_search_mb")
        elif not in_memory:
            in_memory = fits
            log.info("search.in_memory" if fits else "search.by_milvus", **sizes)
    if in_memory:
        async with open_memory_index(storage, detector.info) as memory_index:
            yield memory_index
    else:
        yield None


def _searches_in_memory(settings: Settings) -> bool:
    """Whether every process does, not only workers."""
    return settings.milvus.search == "memory" or (settings.milvus.search == "auto" and _uses_lite(settings))


def _opens_milvus_late(settings: Settings) -> bool:
    """Whether Milvus is opened by its first change only; a server is checked at the start."""
    return _uses_lite(settings) and _searches_in_memory(settings)


def _uses_lite(settings: Settings) -> bool:
    return settings.milvus.uri is None or is_file(settings.milvus.uri)


def _required(home: Home | None) -> Home:
    if home is None:
        raise SettingsError("the embedded mode needs a home: set AIRTRACE_HOME, or name the servers in the settings")
    return home
