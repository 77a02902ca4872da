"""The worker: from the bus to one transaction per stream and batch. Owns the streams' memories, never their truth.

A stream's state is a pure function of the last minute of records and of what is stored: after a crash or a rebalance
the worker reads that minute again without deciding anything (`Matcher.remember`), then goes on. A partition that it had
before a rebalance, and nobody else since, it goes on with at once: what is stored is what it wrote itself.

The steps of a batch, for each stream in it, several at a time:
    1. recall    the stream's memory; on the first batch from PostgreSQL: where it is, which plays are on air
    2. account   every record for the coverage ledger: listened to, a gap with its reason, or lost (`pace.py`)
    3. match     embed, search, fetch exact vectors, decide (`matcher.py`)
    4. write     matches, alerts, coverage and progress in one transaction
    5. remember  only now does the new memory replace the old one
then, for all streams of the batch together:
    6. commit    the offsets; records read again later lie before the stored progress and change nothing

What cannot be done now is tried again, for those streams that are not done, while the bus takes nothing more in; what
can never be done is tried record by record, and the record that it is due to is left out: the ledger books it as lost.
What belongs to another worker by then is left to it: of two that write a stream, the second finds it elsewhere than
it began from (`StaleProgress`), and goes on from there with what it has heard.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

import asyncpg
import structlog

from ingest.backoff import Backoff
from ingest.bus.port import Bus, Delivery
from ingest.errors import BusError
from monitor import metrics
from monitor.alerts.policy import severity
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import DependencyError, StaleProgress
from monitor.matching.backlog import BacklogMonitor
from monitor.matching.matcher import Matcher, Memory, step_timer
from monitor.matching.stream_state import BatchResult, StreamState
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.matches import UNREACHABLE, Store
from monitor.storage.records import Batch, Progress

log = structlog.get_logger(__name__)
T = TypeVar("T")

ORPHANS_EVERY_S = 15
RETRY_FIRST_S = 0.5
MAX_RETRY_S = 10.0
# Their searches go together into one call, and their transactions share the connections (database.pool_most).
STREAMS_AT_ONCE = 8
# So many records in a row that cannot be matched are not the records' fault: better to stop while the bus keeps them.
MAX_REJECTED = 20

# PostgreSQL, Milvus or the bus may be away for a while, and another worker may have had the stream until now.
PASSING = (DependencyError, BusError, StaleProgress, *UNREACHABLE)
# These are PostgreSQL's as well, but the same values will not be taken the next time either.
LASTING = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Worker:
    """One consumer of the bus."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        matcher: Matcher,
        pace: BacklogMonitor | None = None,
        watch: StreamTagger | None = None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._matcher = matcher
        self._pace = pace or BacklogMonitor()
        self._watch = watch
        self._listeners: dict[int, StreamState] = {}
        self._stale: set[int] = set()  # streams that another worker has written
        self._rejected = 0  # records in a row
        self._working = asyncio.Semaphore(STREAMS_AT_ONCE)
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_stopping = False

    async def run(self) -> None:
        """Until cancelled. What a cancelled batch did not write is read again by the next worker."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._close_orphans(), name="close-orphans")
            if self._watch is not None:
                group.create_task(self._watch.run(), name="sounds")
            backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
            while True:
                try:
                    await self._consume(backoff)
                except BusError as error:  # its replay begins anew
                    wait_s = backoff.next_s()
                    log.warning("worker.no_records", error=str(error), wait_s=round(wait_s, 1))
                    await asyncio.sleep(wait_s)

    async def drained(self) -> None:
        """Begins no other batch; returns when the one in hand is written and committed."""
        self._is_stopping = True
        await self._idle.wait()

    async def close_all(self) -> None:
        """Closes the plays of all streams: for a monitor that stops listening altogether."""
        for stream, listener in self._listeners.items():
            if listener.memory.open and listener.progress is not None:
                try:
                    await self._write(stream, listener, listener.stopped())
                except PASSING as error:  # they are as they were when it comes back
                    log.warning("worker.not_closed", stream=stream, error=str(error) or type(error).__name__)

    async def _start_at(self, partition: int) -> int | None:
        """A partition was given to us: its last minute must come again, unless nobody has had it since we had it."""
        stored = await _until_done(lambda: self._store.progress_in(partition))
        known = self._in_partition(partition)
        if stored and all(known.get(stream) == progress for stream, progress in stored.items()):
            return None
        for stream in known:
            self._forget(stream)
        return await _until_done(lambda: self._store.replay_from(partition))

    def _in_partition(self, partition: int) -> dict[int, Progress]:
        """How far the streams are that we remember of a partition."""
        places = {stream: listener.progress for stream, listener in self._listeners.items()}
        return {stream: at for stream, at in places.items() if at is not None and at.partition == partition}

    def _forget_others(self) -> None:
        """Of streams whose partitions went elsewhere, nothing stays."""
        for stream, listener in list(self._listeners.items()):
            if listener.progress is None or not self._bus.holds(listener.progress.partition):
                self._forget(stream)

    async def _consume(self, backoff: Backoff) -> None:
        async with aclosing(self._bus.deliveries(self._start_at)) as batches:
            async for deliveries in batches:
                if self._is_stopping:
                    await asyncio.Event().wait()
                self._idle.clear()
                self._forget_others()
                try:
                    await self._take(deliveries)
                finally:
                    self._idle.set()
                backoff.reset()

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        waiting = _by_stream(deliveries)
        await _until_done(lambda: self._take_streams(waiting))
        await _until_done(lambda: self._commit(deliveries))

    async def _take_streams(self, waiting: dict[int, list[Delivery]]) -> None:
        """Takes each stream's records, and out of `waiting` what is done: a second try does nothing twice."""
        streams = sorted(waiting)
        taking = (self._take_ours(stream, waiting[stream]) for stream in streams)
        results = await asyncio.gather(*taking, return_exceptions=True)
        for stream, result in zip(streams, results, strict=True):
            if result is None:
                del waiting[stream]
        failed = [result for result in results if result is not None]
        for error in sorted(failed, key=_is_passing):  # a bug is not hidden behind a database that is away
            raise error

    async def _take_ours(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        async with self._working:
            if ours := [delivery for delivery in deliveries if self._bus.holds(delivery.partition)]:
                await self._take_stream(stream, ours)

    async def _take_stream(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._match(stream, deliveries)
        except Exception as error:
            if _will_pass(error):
                raise
            if len(deliveries) > 1:
                for delivery in deliveries:
                    await self._take_stream(stream, [delivery])
            else:
                await self._reject(deliveries[0], error)
        else:
            self._rejected = 0

    async def _reject(self, delivery: Delivery, error: Exception) -> None:
        self._rejected += 1
        if self._rejected > MAX_REJECTED:
            raise error
        place = {"partition": delivery.partition, "offset": delivery.offset}
        log.error("worker.rejected", stream=delivery.record.stream_id, **place, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        await _until_done(lambda: self._bus.reject(delivery, reason))

    async def _commit(self, deliveries: Sequence[Delivery]) -> None:
        with step_timer("commit"):
            await self._bus.commit(_next_offsets(deliveries))

    async def _match(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        with step_timer("recall"):
            listener = await self._recall(stream)
        if listener is None:
            log.warning("worker.unknown_stream", stream=stream, records=len(deliveries))
            return
        outcome = await listener.hear(deliveries, self._pace.is_late)
        if outcome.progress != listener.progress:
            try:
                await self._write(stream, listener, outcome)
            except StaleProgress:
                self._stale.add(stream)
                raise
        self._listeners[stream] = outcome.listener
        if self._watch is not None:
            self._watch.hear(stream, deliveries)

    async def _recall(self, stream: int) -> StreamState | None:
        listener = self._listeners.get(stream)
        if listener is not None and stream not in self._stale:
            return listener
        if not await self._store.stream_exists(stream):
            return None
        progress = await self._store.progress(stream)  # first: plays that are newer make our write stale, not wrong
        info, thresholds = self._matcher.detector.info, self._matcher.thresholds
        open_plays = await self._store.open_plays(stream, info, thresholds.max_gap_samples)
        since = 0 if progress is None else progress.position - thresholds.memory_samples
        plays = Memory(open=open_plays, ended=await self._store.ended_plays(stream, info, since))
        self._stale.discard(stream)
        if listener is not None:
            # Kept before the batch is heard: should it fail, this is still what is stored.
            self._listeners[stream] = listener.refreshed(progress, plays)
            return self._listeners[stream]
        return StreamState.recalled(str(stream), self._matcher, progress, plays)

    async def _write(self, stream: int, listener: StreamState, outcome: BatchResult) -> None:
        info = self._matcher.detector.info
        batch = Batch(
            stream_id=stream,
            expected=None if listener.progress is None else listener.progress.position,
            progress=outcome.progress,
            coverage=outcome.coverage,
            opened=outcome.opened,
            open=outcome.listener.memory.open,
            closed=outcome.closed,
            severity=severity(info.name),
        )
        with step_timer("write"):
            await self._store.write(batch, info)
        _report(batch, outcome)

    async def _close_orphans(self) -> None:
        while True:
            try:
                await self._store.close_orphans()
                remembered = set(self._listeners)
                counts = await self._store.open_counts()
                for stream, count in counts.items():
                    metrics.MATCHES_OPEN.labels(stream).set(count)
                for stream in remembered - counts.keys():
                    self._forget(stream)
            except UNREACHABLE as error:
                log.warning("worker.orphans_not_closed", error=str(error) or type(error).__name__)
            await asyncio.sleep(ORPHANS_EVERY_S)

    def _forget(self, stream: int) -> None:
        """Of a stream that was removed, or went to another worker, neither a minute of vectors nor its metrics stay."""
        self._listeners.pop(stream, None)
        self._stale.discard(stream)
        self._pace.forget(stream)
        if self._watch is not None:
            self._watch.forget(stream)
        for metric in (metrics.MATCHES_OPEN, metrics.DELAY_SECONDS):
            metric.remove(stream)


async def _until_done(action: Callable[[], Awaitable[T]]) -> T:
    """The action's result, tried again for as long as it fails for a reason that will pass: nothing is skipped."""
    backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
    while True:
        try:
            return await action()
        except PASSING as error:
            if not _will_pass(error):
                raise
            wait_s = backoff.next_s()
            log.warning("worker.retrying", error=str(error) or type(error).__name__, wait_s=round(wait_s, 1))
            await asyncio.sleep(wait_s)


def _will_pass(error: Exception) -> bool:
    if isinstance(error, asyncpg.ForeignKeyViolationError):  # a track was deleted in this moment
        return True
    return isinstance(error, PASSING) and not isinstance(error, LASTING)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, Exception) and _will_pass(error)


def _by_stream(deliveries: Iterable[Delivery]) -> dict[int, list[Delivery]]:
    streams: defaultdict[int, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        streams[delivery.record.stream_id].append(delivery)
    return dict(streams)


def _next_offsets(deliveries: Sequence[Delivery]) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for delivery in deliveries:
        offsets[delivery.partition] = max(offsets.get(delivery.partition, 0), delivery.offset + 1)
    return offsets


def _report(batch: Batch, outcome: BatchResult) -> None:
    metrics.WINDOWS.labels(batch.stream_id).inc(outcome.windows)
    metrics.FENCED.labels(batch.stream_id).inc(outcome.fenced)
    if outcome.skipped:
        skipped_s = outcome.skipped / SAMPLE_RATE_HZ
        metrics.SKIPPED_SECONDS.labels(batch.stream_id).inc(skipped_s)
        log.info("worker.skipped", stream=batch.stream_id, skipped_s=round(skipped_s, 1))
    for play in outcome.opened:
        log.info("match.opened", stream=batch.stream_id, track=play.track, score=round(play.score, 3))
    for play in outcome.closed:
        length_s = round((play.end - play.start) / SAMPLE_RATE_HZ, 1)
        log.info(
            "match.closed", stream=batch.stream_id, track=play.track, score=round(play.score, 3), length_s=length_s
        )
    info = outcome.listener.detector
    metrics.MATCHES.labels(batch.stream_id, info.name).inc(len(outcome.opened))
    metrics.ALERTS.labels(batch.severity).inc(len(outcome.opened))
    metrics.MATCHES_OPEN.labels(batch.stream_id).set(len(batch.open))
    if outcome.windows:
        now = time.time() * SAMPLE_RATE_HZ
        metrics.DELAY_SECONDS.labels(batch.stream_id).set((now - outcome.progress.position) / SAMPLE_RATE_HZ)
