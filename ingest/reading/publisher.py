"""Publishes one stream's records while this process holds the stream's lease.

Never makes the reader wait: audio that the bus cannot accept in time is dropped, oldest first, and a gap with the exact
times takes its place.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from dataclasses import replace
from typing import Any

import structlog

from ingest import metrics, timeline
from ingest.backoff import Backoff, retry
from ingest.bus.port import Bus
from ingest.errors import BusError
from ingest.leases.lease import Lease
from ingest.reading.outage_log import OutageLog
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Gap, GapReason, Record, Window

log = structlog.get_logger(__name__)

# In samples; the default of AIRTRACE_INGEST__BUFFER_S. A broker's restart or election takes tens of seconds, and a
# minute of PCM is 3.8 MB, which hundreds of streams can afford. Anything that waits longer would come too late.
MAX_WAITING = timeline.samples(60)

RETRY_FIRST_S = 0.2
MAX_RETRY_S = 5.0  # half of the time that a stopping reader allows


class Publisher:
    """`put` records, `run` in a task of its own, and `close` after the last record."""

    def __init__(
        self,
        stream_id: int,
        bus: Bus,
        max_waiting: int = MAX_WAITING,
        lease: Lease | None = None,
        outages: OutageLog | None = None,
    ) -> None:
        """A publisher of one stream.

        max_waiting: samples of audio that may wait for the bus. lease: None if no other process publishes.
        outages: the log that all publishers of the process share; None for one of its own.
        """
        self._stream_id = stream_id
        self._bus = bus
        self._lease = lease or Lease()
        self._outages = outages or OutageLog()
        self._expected: tuple[uuid.UUID, int] | None = None  # session and sample at which the next window should start
        self._max_waiting = max_waiting
        self._queue: deque[Record] = deque()
        self._waiting = 0
        self._sending: Record | None = None
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def waiting_s(self) -> float:
        """Audio that the bus has not accepted yet, in seconds."""
        sending = _audio(self._sending) if self._sending else 0
        return (self._waiting + sending) / SAMPLE_RATE_HZ

    def put(self, record: Record) -> None:
        """Queues a record behind the others; never waits."""
        self._queue.append(record)
        self._waiting += _audio(record)
        while self._waiting > self._max_waiting:
            self._drop_oldest()
        self._changed.set()

    def open(self) -> None:
        """Accepts records again: call it before a `run` that follows a failed one."""
        self._is_closed = False

    def close(self) -> None:
        """Accepts no more records: `run` returns once all are published."""
        self._is_closed = True
        self._changed.set()

    async def run(self) -> None:
        """Publishes in order until closed, or until another process has the stream: then it discards the rest.

        If it is cancelled or fails with a bug, it keeps its queue and may be run again.
        """
        self._outages.add(self._stream_id)
        try:
            await self._publish_all()
        finally:
            self._outages.remove(self._stream_id)

    async def _publish_all(self) -> None:
        while True:
            while self._sending is not None or self._queue:
                if not self._lease.is_valid and await self._lease.wait_until_valid() is None:
                    self._discard()
                    return
                if self._sending is None:
                    self._sending = self._queue.popleft()
                    self._waiting -= _audio(self._sending)
                if await self._send(self._sending):
                    self._count(self._sending)
                    self._sending = None
            if self._is_closed:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _send(self, record: Record) -> bool:
        """Tries until the bus has it; False as soon as the lease is not valid."""
        marks = self._marks(record)

        async def publish() -> bool:
            if not self._lease.is_valid:
                return False
            await self._bus.publish(replace(record, epoch=self._lease.epoch, **marks))
            return True

        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        is_published = await retry(publish, backoff=backoff, retry_on=BusError, on_error=self._report_refused)
        if is_published:
            self._outages.accepted(self._stream_id)
        return is_published

    def _report_refused(self, error: Exception, _: float) -> None:
        self._outages.refused(self._stream_id, str(error))

    def _marks(self, record: Record) -> dict[str, Any]:
        """A window's trace, and whether it follows the window published before it."""
        if isinstance(record, Gap):
            return {}
        is_continuous = self._expected == (record.session_id, record.first_sample)
        # Random, not secret: the system's random numbers cost a tenth of all CPU of a reader.
        trace = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"
        return {"is_discontinuous": not is_continuous, "trace": trace}

    def _discard(self) -> None:
        """The next holder accounts for the time of these records: it starts from what the workers have."""
        if self._queue or self._sending:
            log.warning("publisher.forgotten", stream=self._stream_id, waiting_s=round(self.waiting_s, 1))
        self._queue.clear()
        self._sending = None
        self._waiting = 0

    def _drop_oldest(self) -> None:
        """Replaces the oldest waiting window by a gap, or extends the gap before it."""
        index = next(i for i, record in enumerate(self._queue) if isinstance(record, Window))
        dropped = self._queue[index]
        self._waiting -= _audio(dropped)
        metrics.DROPPED.labels(self._stream_id).inc()
        self._outages.dropped(_audio(dropped) / SAMPLE_RATE_HZ)
        before = self._queue[index - 1] if index else None
        if isinstance(before, Gap) and before.reason is GapReason.DROPPED and before.end == dropped.start:
            self._queue[index - 1] = Gap(self._stream_id, before.start, dropped.end, GapReason.DROPPED)
            del self._queue[index]
        else:
            self._queue[index] = Gap(self._stream_id, dropped.start, dropped.end, GapReason.DROPPED)

    def _count(self, record: Record) -> None:
        seconds = (record.end - record.start) / SAMPLE_RATE_HZ
        if isinstance(record, Window):
            self._expected = (record.session_id, record.first_sample + len(record.pcm) // BYTES_PER_SAMPLE)
            metrics.WINDOWS.labels(self._stream_id).inc()
            metrics.AUDIO_SECONDS.labels(self._stream_id).inc(seconds)
        else:
            metrics.GAP_SECONDS.labels(self._stream_id, record.reason.value).inc(seconds)


def _audio(record: Record) -> int:
    return record.end - record.start if isinstance(record, Window) else 0
