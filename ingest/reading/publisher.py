"""One stream's records on their way to the bus. Never makes the reader wait: what the bus cannot take in time is
dropped, oldest first, and a gap with the exact times takes its place. Publishes only while this process may."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import deque
from dataclasses import replace

import structlog

from ingest import metrics, timeline
from ingest.backoff import Backoff
from ingest.bus.port import Bus
from ingest.errors import BusError
from ingest.leases.lease import Lease
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Gap, GapReason, Record, Window

log = structlog.get_logger(__name__)

# A broker's restart or election takes some tens of seconds; a minute of PCM is 3.8 MB, which hundreds of streams can
# afford. What waits longer than that would only come too late. (The default of AIRTRACE_INGEST__BUFFER_S.)
MAX_WAITING = timeline.samples(60)

RETRY_FIRST_S = 0.2
MAX_RETRY_S = 5.0  # half of the time that a stopping reader gives us


class Publisher:
    """`put` records, `run` as a task of its own, `close` when there will be no more."""

    def __init__(self, stream_id: int, bus: Bus, max_waiting: int = MAX_WAITING, lease: Lease | None = None) -> None:
        """`waiting_most`: samples of audio that may wait for the bus. `lease`: without one nobody else publishes."""
        self._stream_id = stream_id
        self._bus = bus
        self._lease = lease or Lease()
        self._behind: tuple[uuid.UUID, int] | None = None  # session and sample at which the next window should begin
        self._max_waiting = max_waiting
        self._queue: deque[Record] = deque()
        self._waiting = 0
        self._sending: Record | None = None
        self._news = asyncio.Event()
        self._closed = False

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that the bus has not taken yet."""
        sending = _audio(self._sending) if self._sending else 0
        return (self._waiting + sending) / SAMPLE_RATE_HZ

    def put(self, record: Record) -> None:
        """Queues a record behind the others; never waits."""
        self._queue.append(record)
        self._waiting += _audio(record)
        while self._waiting > self._max_waiting:
            self._drop_oldest()
        self._news.set()

    def open(self) -> None:
        """More will be put: to be said before a run that follows a broken one."""
        self._closed = False

    def close(self) -> None:
        """No more will be put: `run` returns when all is published."""
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        """Publishes, in order, until closed, or until the stream is another process's: then the rest is forgotten.

        Cancelled or broken by a bug, it keeps its queue and may be run again.
        """
        while True:
            while self._sending is not None or self._queue:
                if not self._lease.is_valid and await self._lease.wait_until_valid() is None:
                    self._forget()
                    return
                if self._sending is None:
                    self._sending = self._queue.popleft()
                    self._waiting -= _audio(self._sending)
                if await self._send(self._sending):
                    self._count(self._sending)
                    self._sending = None
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    async def _send(self, record: Record) -> bool:
        """Tries until the bus has it; False when this process may not publish it any more, or not now."""
        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        record = self._marked(record)
        while True:
            if not self._lease.is_valid:
                return False
            try:
                await self._bus.publish(replace(record, epoch=self._lease.epoch))
                return True
            except BusError as error:
                wait_s = backoff.next_s()
                facts = {"error": str(error), "wait_s": round(wait_s, 1), "waiting_s": round(self.waiting_s, 1)}
                log.warning("publisher.retrying", stream=self._stream_id, **facts)
                await asyncio.sleep(wait_s)

    def _marked(self, record: Record) -> Record:
        """A window with its trace, and whether what was published before it lacks what lies in between."""
        if isinstance(record, Gap):
            return record
        is_continuous = self._behind == (record.session_id, record.first_sample)
        trace = f"00-{uuid.uuid4().hex}-{os.urandom(8).hex()}-00"
        return replace(record, is_discontinuous=not is_continuous, trace=trace)

    def _forget(self) -> None:
        """What waits is the next holder's to tell of: it counts from what the workers have."""
        if self._queue or self._sending:
            log.warning("publisher.forgotten", stream=self._stream_id, waiting_s=round(self.waiting_s, 1))
        self._queue.clear()
        self._sending = None
        self._waiting = 0

    def _drop_oldest(self) -> None:
        """Replaces the oldest waiting window by a gap, or lengthens the gap that stands before it."""
        index = next(i for i, record in enumerate(self._queue) if isinstance(record, Window))
        dropped = self._queue[index]
        self._waiting -= _audio(dropped)
        metrics.DROPPED.labels(self._stream_id).inc()
        before = self._queue[index - 1] if index else None
        if isinstance(before, Gap) and before.reason is GapReason.DROPPED and before.end == dropped.start:
            self._queue[index - 1] = Gap(self._stream_id, before.start, dropped.end, GapReason.DROPPED)
            del self._queue[index]
        else:
            self._queue[index] = Gap(self._stream_id, dropped.start, dropped.end, GapReason.DROPPED)
            log.warning("publisher.dropping", stream=self._stream_id, waiting_s=round(self.waiting_s, 1))

    def _count(self, record: Record) -> None:
        seconds = (record.end - record.start) / SAMPLE_RATE_HZ
        if isinstance(record, Window):
            self._behind = (record.session_id, record.first_sample + len(record.pcm) // BYTES_PER_SAMPLE)
            metrics.WINDOWS.labels(self._stream_id).inc()
            metrics.AUDIO_SECONDS.labels(self._stream_id).inc(seconds)
        else:
            metrics.GAP_SECONDS.labels(self._stream_id, record.reason.value).inc(seconds)


def _audio(record: Record) -> int:
    return record.end - record.start if isinstance(record, Window) else 0
