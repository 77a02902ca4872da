"""The worker: from the bus to one transaction per stream and batch. Owns the streams' memories, never their truth.

A stream's state is a pure function of the last minute of records and of what is stored: after a crash or a rebalance
the worker reads that minute again without deciding anything (`Listener.again`), then goes on.

The steps of a batch, for each stream in it:
    1. recall    the stream's memory; on the first batch from PostgreSQL: where it is, which plays are on air
    2. account   every record for the coverage ledger: listened to, a gap with its reason, or lost
    3. match     embed, search, fetch exact vectors, decide (`matcher.py`)
    4. write     matches, alerts, coverage and progress in one transaction
    5. remember  only now does the new memory replace the old one
then, for all streams of the batch together:
    6. commit    the offsets; records read again later lie before the stored progress and change nothing
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import groupby

import structlog

from ingest.backoff import Backoff
from ingest.bus import Bus, Delivery
from monitor import metrics
from monitor.core.policy import severity
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import DependencyError, StaleProgress
from monitor.pipeline.listener import Listener, Outcome
from monitor.pipeline.matcher import Matcher, step_timer
from monitor.records import Batch
from monitor.store import UNREACHABLE, Store

log = structlog.get_logger(__name__)

ORPHANS_EVERY_S = 15
RETRY_MOST_S = 10.0


class Worker:
    """One consumer of the bus."""

    def __init__(self, bus: Bus, store: Store, matcher: Matcher) -> None:
        self._bus = bus
        self._store = store
        self._matcher = matcher
        self._listeners: dict[int, Listener] = {}

    async def run(self) -> None:
        """Until cancelled. What a cancelled batch did not write is read again by the next worker."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._close_orphans(), name="close-orphans")
            async for deliveries in self._bus.deliveries(self._start_at):
                await self._take_until_done(deliveries)

    async def close_all(self) -> None:
        """Closes the plays of all streams: for a monitor that stops listening altogether."""
        for stream, listener in self._listeners.items():
            if listener.memory.open and listener.progress is not None:
                outcome = listener.stopped()
                await self._write(stream, listener, outcome)

    async def _start_at(self, partition: int) -> int | None:
        """A partition was given to us: whatever we remember may be out of date, its last minute must come again."""
        self._listeners = {
            stream: listener
            for stream, listener in self._listeners.items()
            if listener.progress is not None and listener.progress.partition != partition
        }
        return await self._store.replay_from(partition)

    async def _take_until_done(self, deliveries: Sequence[Delivery]) -> None:
        """PostgreSQL or Milvus may be away for a while: nothing is skipped, the same batch is tried again."""
        backoff = Backoff(first_s=0.5, most_s=RETRY_MOST_S)
        while True:
            try:
                await self._take(deliveries)
                return
            except (DependencyError, *UNREACHABLE) as error:
                wait_s = backoff.next_s()
                metrics.FAILURES.labels(type(error).__name__).inc()
                log.warning("worker.retrying", error=str(error) or type(error).__name__, wait_s=round(wait_s, 1))
                await asyncio.sleep(wait_s)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        ordered = sorted(deliveries, key=lambda delivery: delivery.record.stream_id)
        for stream, own in groupby(ordered, key=lambda delivery: delivery.record.stream_id):
            await self._take_stream(stream, list(own))
        with step_timer("commit"):
            await self._bus.commit(_next_offsets(deliveries))

    async def _take_stream(self, stream: int, deliveries: Sequence[Delivery]) -> None:
        listener = await self._recall(stream)
        if listener is None:
            log.warning("worker.unknown_stream", stream=stream, records=len(deliveries))
            return
        outcome = await listener.hear(deliveries)
        if outcome.progress != listener.progress:
            try:
                await self._write(stream, listener, outcome)
            except StaleProgress:
                log.warning("worker.stale", stream=stream)
                self._listeners.pop(stream, None)
                return
        self._listeners[stream] = outcome.listener

    async def _recall(self, stream: int) -> Listener | None:
        if (listener := self._listeners.get(stream)) is not None:
            return listener
        if not await self._store.stream_exists(stream):
            return None
        open_plays = await self._store.open_plays(stream, self._matcher.detector.info)
        return Listener.recalled(str(stream), self._matcher, await self._store.progress(stream), open_plays)

    async def _write(self, stream: int, listener: Listener, outcome: Outcome) -> None:
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
                for stream, count in (await self._store.open_counts()).items():
                    metrics.MATCHES_OPEN.labels(stream).set(count)
            except UNREACHABLE as error:
                log.warning("worker.orphans_not_closed", error=str(error) or type(error).__name__)
            await asyncio.sleep(ORPHANS_EVERY_S)


def _next_offsets(deliveries: Sequence[Delivery]) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for delivery in deliveries:
        offsets[delivery.partition] = max(offsets.get(delivery.partition, 0), delivery.offset + 1)
    return offsets


def _report(batch: Batch, outcome: Outcome) -> None:
    metrics.WINDOWS.labels(batch.stream_id).inc(outcome.windows)
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
