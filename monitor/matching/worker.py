"""The worker: from the bus to one transaction per batch. Owns the state of its streams in memory.

A stream's state is a pure function of the last minute of records and of what is stored. After a crash or a rebalance
the worker replays that minute without deciding anything (`Matcher.replay`), then continues. If it gets a partition back
that no other worker has had in between, it continues at once, because it wrote the stored state itself.

The steps of a batch, for each stream in it, several streams at a time:
    1. recall    the stream's state; on the first batch, its position and its open plays come from PostgreSQL
    2. account   every record for the coverage ledger: covered, a gap with its reason, or lost (`load/backlog.py`)
    3. match     embed, search, fetch exact vectors, decide (`matcher.py`)
    4. write     matches, alerts, coverage and progress in one transaction, which several streams share
    5. keep      the new state replaces the old one, only now
then, for all streams of the batch together:
    6. commit    the offsets; records that are read again lie before the stored progress and change nothing

Temporary failures are retried, for the streams that are not done, while the bus reads nothing more.
After a permanent failure, records are retried one by one, and the one at fault is rejected: the ledger accounts for it
as lost. Records of partitions that went to another worker are left to it. If two workers write the same stream, the
second finds that the stored position is not the one it started from (`StaleProgress`), reads it again and continues
from there.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

import structlog

from ingest.backoff import Backoff, retry
from ingest.bus.port import Bus, Delivery
from ingest.errors import BusError
from ingest.wire import Window
from monitor import metrics
from monitor.alerts.policy import severity
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import DependencyError, RowDeleted, StaleProgress, with_cause
from monitor.matching.call_batcher import CallBatcher
from monitor.matching.load.backlog import BacklogMonitor
from monitor.matching.load.reporter import LoadReporter
from monitor.matching.matcher import Matcher, Memory
from monitor.matching.steps import step_timer
from monitor.matching.stream_state import BatchResult, StreamState
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.records import Batch, Progress
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)
T = TypeVar("T")

ORPHANS_EVERY_S = 15.0
RETRY_FIRST_S = 0.5
MAX_RETRY_S = 10.0
# The steps of so many streams go together: one call embeds, searches, or writes several of them (`call_batcher.py`).
MAX_CONCURRENT_STREAMS = 64
# When this many records in a row cannot be matched, the records are not at fault: stop while the bus keeps them.
MAX_REJECTED = 20

# PostgreSQL, Milvus, the bus or its disk may be unavailable for a while, another worker may have had the stream until
# now, and a track may have been deleted just now. A value that PostgreSQL rejects stays rejected.
PASSING = (DependencyError, BusError, StaleProgress, RowDeleted, OSError)


class Worker:
    """One consumer of the bus.

    tagger: labels the audio of the streams beside the matching; None: nothing does.
    reporter: says how well the worker keeps up; None: nothing does.
    """

    def __init__(
        self,
        bus: Bus,
        storage: Storage,
        matcher: Matcher,
        backlog: BacklogMonitor | None = None,
        tagger: StreamTagger | None = None,
        reporter: LoadReporter | None = None,
        *,
        retry_first_s: float = RETRY_FIRST_S,
        orphans_every_s: float = ORPHANS_EVERY_S,
        max_concurrent_streams: int = MAX_CONCURRENT_STREAMS,
    ) -> None:
        self._bus = bus
        self._storage = storage
        self._matcher = matcher
        self._backlog = backlog or BacklogMonitor()
        self._tagger = tagger
        self._reporter = reporter
        self._retry_first_s = retry_first_s
        self._orphans_every_s = orphans_every_s
        self._states: dict[int, StreamState] = {}
        self._stale: set[int] = set()  # streams that another worker has written
        self._n_rejected = 0  # records in a row
        self._write_batcher = CallBatcher("write", self._write_all, max_items=max_concurrent_streams)
        self._slots = asyncio.Semaphore(max_concurrent_streams)
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_stopping = False

    async def run(self) -> None:
        """Runs until cancelled. What a cancelled batch did not write is read again by the next worker."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._close_orphans(), name="close-orphans")
            if self._tagger is not None:
                group.create_task(self._tagger.run(), name="sounds")
            if self._reporter is not None:
                group.create_task(self._reporter.run(), name="load")
            backoff = Backoff(self._retry_first_s, MAX_RETRY_S)

            def log_failure(error: Exception, wait_s: float) -> None:
                log.warning("worker.bus_unavailable", error=str(error), wait_s=round(wait_s, 1))

            # Each attempt asks again where to start.
            await retry(lambda: self._consume(backoff), backoff=backoff, retry_on=BusError, on_error=log_failure)

    async def drain(self) -> None:
        """Starts no further batch; returns when the current one is written and committed."""
        self._is_stopping = True
        await self._idle.wait()

    async def close_all(self) -> None:
        """Closes the open plays of all streams, for a monitor that stops altogether."""
        for stream, state in self._states.items():
            if state.memory.open and state.progress is not None:
                try:
                    await self._write(stream, state, state.close_plays())
                except PASSING as error:  # they stay open until the next start
                    log.warning("worker.not_closed", stream=stream, error=with_cause(error))

    async def _start_at(self, partition: int) -> int | None:
        """Where to start a partition: its last minute is replayed, unless no other worker has had it since we last had
        it.
        """
        stored = await self._until_done(lambda: self._storage.progress.in_partition(partition))
        known = self._in_partition(partition)
        if stored and all(known.get(stream) == progress for stream, progress in stored.items()):
            return None
        for stream in known:
            self._forget(stream)
        return await self._until_done(lambda: self._storage.progress.replay_offset(partition))

    def _in_partition(self, partition: int) -> dict[int, Progress]:
        """The progress of the streams in memory that belong to a partition."""
        places = {stream: state.progress for stream, state in self._states.items()}
        return {stream: at for stream, at in places.items() if at is not None and at.partition == partition}

    def _forget_others(self) -> None:
        """Drops the state of streams whose partitions went to another worker."""
        for stream, state in list(self._states.items()):
            if state.progress is None or not self._bus.holds(state.progress.partition):
                self._forget(stream)

    async def _consume(self, backoff: Backoff) -> None:
        async with aclosing(self._bus.deliveries(self._start_at)) as batches:
            async for deliveries in batches:
                if self._is_stopping:
                    await asyncio.Event().wait()
                self._idle.clear()
                self._forget_others()
                try:
                    with self._backlog.capacity.batch(_audio_s(deliveries)):
                        await self._process_batch(deliveries)
                finally:
                    self._idle.set()
                backoff.reset()

    async def _process_batch(self, deliveries: Sequence[Delivery]) -> None:
        waiting = _by_stream(deliveries)
        await self._until_done(lambda: self._process_streams(waiting))
        await self._until_done(lambda: self._commit(deliveries))

    async def _process_streams(self, waiting: dict[int, list[Delivery]]) -> None:
        """Processes each stream's records and removes it from `waiting` when done, so that a retry repeats nothing."""
        streams = sorted(waiting)
        processing = (self._process_owned(stream, waiting[stream]) for stream in streams)
        results = await asyncio.gather(*processing, return_exceptions=True)
        for stream, result in zip(streams, results, strict=True):
            if result is None:
                del waiting[stream]
        failed = [result for result in results if result is not None]
        for error in sorted(failed, key=_is_passing):  # a bug is not hidden behind an unreachable database
            raise error

    async def _process_owned(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        async with self._slots:
            if ours := [delivery for delivery in deliveries if self._bus.holds(delivery.partition)]:
                await self._process_stream(stream, ours)

    async def _process_stream(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._match(stream, deliveries)
        except Exception as error:
            if _is_passing(error):
                raise
            if len(deliveries) > 1:
                for delivery in deliveries:
                    await self._process_stream(stream, [delivery])
            else:
                await self._reject(deliveries[0], error)
        else:
            self._n_rejected = 0

    async def _reject(self, delivery: Delivery, error: Exception) -> None:
        self._n_rejected += 1
        if self._n_rejected > MAX_REJECTED:
            raise error
        place = {"partition": delivery.partition, "offset": delivery.offset}
        log.error("worker.rejected", stream=delivery.record.stream_id, **place, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        await self._until_done(lambda: self._bus.reject(delivery, reason))

    async def _commit(self, deliveries: Sequence[Delivery]) -> None:
        with step_timer("commit"):
            await self._bus.commit(_next_offsets(deliveries))

    async def _match(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        with step_timer("recall"):
            state = await self._recall(stream)
        if state is None:
            log.warning("worker.unknown_stream", stream=stream, records=len(deliveries))
            return
        result = await state.process(deliveries, self._backlog.is_late)
        if result.progress != state.progress:
            try:
                await self._write(stream, state, result)
            except StaleProgress:
                self._stale.add(stream)
                raise
        self._states[stream] = result.state
        if self._tagger is not None:
            self._tagger.feed(stream, deliveries)

    async def _recall(self, stream: int) -> StreamState | None:
        """The stream's state, from memory or as stored; None if there is no such stream."""
        state = self._states.get(stream)
        if state is not None and stream not in self._stale:
            return state
        if not await self._storage.streams.exists(stream):
            return None
        # Progress first: if plays are stored after it is read, our write becomes stale instead of wrong.
        progress = await self._storage.progress.get(stream)
        info, thresholds = self._matcher.detector.info, self._matcher.thresholds
        open_plays = await self._storage.matches.open_plays(stream, info, thresholds.max_gap_samples)
        since = 0 if progress is None else progress.position - thresholds.memory_samples
        plays = Memory(open=open_plays, ended=await self._storage.matches.ended_plays(stream, info, since))
        self._stale.discard(stream)
        if state is not None:
            # Kept before the batch is processed: if that fails, this is still what is stored.
            self._states[stream] = state.refreshed(progress, plays)
            return self._states[stream]
        return StreamState(str(stream), self._matcher, progress, plays)

    async def _write(self, stream: int, state: StreamState, result: BatchResult) -> None:
        info = self._matcher.detector.info
        batch = Batch(
            stream_id=stream,
            expected=None if state.progress is None else state.progress.position,
            progress=result.progress,
            coverage=result.coverage,
            opened=result.opened,
            open=result.state.memory.open,
            closed=result.closed,
            severity=severity(info.name),
        )
        if not await self._write_batcher.ask(batch):
            raise StaleProgress
        _report(batch, result)

    async def _write_all(self, batches: Sequence[Batch]) -> list[bool]:
        return await self._storage.batches.write_all(batches, self._matcher.detector.info)

    async def _close_orphans(self) -> None:
        """Closes plays that no worker will extend, and forgets streams that were removed."""
        while True:
            try:
                await self._storage.matches.close_orphans()
                known = set(self._states)
                counts = await self._storage.matches.open_counts()
                for stream, count in counts.items():
                    metrics.MATCHES_OPEN.labels(stream).set(count)
                for stream in known - counts.keys():
                    self._forget(stream)
            except DependencyError as error:
                log.warning("worker.orphans_not_closed", error=with_cause(error))
            await asyncio.sleep(self._orphans_every_s)

    def _forget(self, stream: int) -> None:
        """Drops the state and the metrics of a stream that was removed or went to another worker."""
        self._states.pop(stream, None)
        self._stale.discard(stream)
        self._backlog.forget(stream)
        if self._tagger is not None:
            self._tagger.forget(stream)
        for metric in (metrics.MATCHES_OPEN, metrics.DELAY_SECONDS):
            metric.remove(stream)

    async def _until_done(self, action: Callable[[], Awaitable[T]]) -> T:
        """The action's result. The action is retried after temporary failures, so nothing is skipped."""
        backoff = Backoff(self._retry_first_s, MAX_RETRY_S)
        return await retry(action, backoff=backoff, retry_on=PASSING, on_error=_log_retry)


def _log_retry(error: Exception, wait_s: float) -> None:
    log.warning("worker.retrying", error=with_cause(error), wait_s=round(wait_s, 1))


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, PASSING)


def _by_stream(deliveries: Iterable[Delivery]) -> dict[int, list[Delivery]]:
    streams: defaultdict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        streams[delivery.record.stream_id].append(delivery)
    return dict(streams)


def _audio_s(deliveries: Iterable[Delivery]) -> float:
    """Seconds of audio in a batch, old and new."""
    windows = (delivery.record for delivery in deliveries if isinstance(delivery.record, Window))
    return sum(window.end - window.start for window in windows) / SAMPLE_RATE_HZ


def _next_offsets(deliveries: Sequence[Delivery]) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for delivery in deliveries:
        offsets[delivery.partition] = max(offsets.get(delivery.partition, 0), delivery.offset + 1)
    return offsets


def _report(batch: Batch, result: BatchResult) -> None:
    metrics.WINDOWS.labels(batch.stream_id).inc(result.windows)
    metrics.FENCED.labels(batch.stream_id).inc(result.fenced)
    if result.skipped:
        metrics.SKIPPED_SECONDS.labels(batch.stream_id).inc(result.skipped / SAMPLE_RATE_HZ)
    for play in result.opened:
        log.info("match.opened", stream=batch.stream_id, track=play.track, score=round(play.score, 3))
    for play in result.closed:
        length_s = round((play.end - play.start) / SAMPLE_RATE_HZ, 1)
        log.info(
            "match.closed", stream=batch.stream_id, track=play.track, score=round(play.score, 3), length_s=length_s
        )
    info = result.state.detector
    metrics.MATCHES.labels(batch.stream_id, info.name).inc(len(result.opened))
    metrics.ALERTS.labels(batch.severity).inc(len(result.opened))
    metrics.MATCHES_OPEN.labels(batch.stream_id).set(len(batch.open))
    if result.windows:
        now = time.time() * SAMPLE_RATE_HZ
        metrics.DELAY_SECONDS.labels(batch.stream_id).set((now - result.progress.position) / SAMPLE_RATE_HZ)
