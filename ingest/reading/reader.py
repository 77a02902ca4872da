"""One stream's loop: connect, receive, publish; after a break wait and reconnect, until stopped.

Owns the stream's clock: every moment between the reader's first and its last ends up in a window or in a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from ingest import metrics, timeline
from ingest.backoff import Backoff
from ingest.bus.port import Bus
from ingest.errors import SourceError
from ingest.leases.lease import Lease
from ingest.lifecycle import is_set_within
from ingest.reading.gap_ledger import GAP_STEP, GapLedger
from ingest.reading.outage_log import OutageLog
from ingest.reading.publisher import Publisher
from ingest.reading.session import Session
from ingest.redact import redact
from ingest.settings import IngestSettings
from ingest.sources import ffmpeg
from ingest.sources.ffmpeg import Process
from ingest.sources.ffmpeg_errors import Failure
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, GapReason, Record

log = structlog.get_logger(__name__)

TICK_S = 0.1  # within which the end of a burst is noticed
SILENT_TICK_S = 1.0  # within which a stall is noticed, and how often a gap in progress grows before the first audio
# A live stream is not read piece by piece, but when its next window is almost complete: each wakeup costs CPU. It is
# read before that if this share of its pipe may be full, so that ffmpeg never has to wait.
MAX_PIPE_SHARE = 0.75

# A source that sends faster than real time, such as a file, is only read this far into the future. The jitter of a
# live source stays below.
MAX_LEAD = timeline.samples(0.5)

HEALTHY = timeline.samples(60)  # after this much audio from one connection, the next break starts with the first wait
GAP_TICK_S = 1.0  # how often a gap in progress may be published during a wait
DRAIN_S = 10.0  # for records that wait for the bus when the reader stops


def clock_now() -> int:
    """The stream clock of this moment, by this machine's clock."""
    return timeline.to_clock(datetime.now(UTC))


class Reader:
    """Reads one stream. `run` may be called again after it failed, and continues at `heard_until`."""

    def __init__(
        self,
        stream_id: int,
        url: str,
        bus: Bus,
        settings: IngestSettings,
        heard_until: int | None = None,
        now: Callable[[], int] = clock_now,
        lease: Lease | None = None,
        *,
        outages: OutageLog | None = None,
        drain_s: float = DRAIN_S,
        gap_step: int = GAP_STEP,
    ) -> None:
        """A reader of the stream at `url`.

        heard_until: stream clock up to which earlier readers have accounted for the stream; None if it was never read.
        now: returns the present as a stream clock value.
        lease: None if no other process publishes the stream.
        outages: the log that all readers of the process share; None for one of its own.
        drain_s: how long the rest may take to publish when the reader stops. gap_step: see `GapLedger`.
        """
        self._stream_id = stream_id
        self._url = url
        self._settings = settings
        self._now = now
        self._was_heard = heard_until is not None
        self._ledger = GapLedger(stream_id, now() if heard_until is None else heard_until, gap_step)
        self._drain_s = drain_s
        self._silent_tick_s = min(SILENT_TICK_S, settings.connect_timeout_s / 10, settings.stall_timeout_s / 10)
        self._process: Process | None = None  # while it is connected
        self._publisher = Publisher(stream_id, bus, timeline.samples(settings.buffer_s), lease, outages)
        self._max_burst = timeline.samples(settings.max_burst_s)
        self._backoff = Backoff(settings.backoff_first_s, settings.max_backoff_s)

    @property
    def heard_until(self) -> int:
        """Stream clock up to which every moment is accounted for."""
        return self._ledger.heard_until

    async def run(self, stop: asyncio.Event) -> None:
        """Reads until `stop` is set, then publishes the rest."""
        metrics.UP.labels(self._stream_id).set(0)
        self._publisher.open()
        try:
            async with asyncio.TaskGroup() as group:
                publishing = group.create_task(self._publisher.run(), name=f"publish-{self._stream_id}")
                self._account_for_downtime()
                group.create_task(self._interrupt(stop), name=f"stop-{self._stream_id}")
                await self._read(stop)
                self._publisher.close()
                await asyncio.wait({publishing}, timeout=self._drain_s)
                publishing.cancel()
        finally:
            metrics.UP.remove(self._stream_id)
        if left_s := self._publisher.waiting_s:
            log.warning("publisher.left", stream=self._stream_id, left_s=round(left_s, 1))

    def _account_for_downtime(self) -> None:
        now = self._now()
        if self._was_heard:
            self._publish(self._ledger.close_gap(now, GapReason.STOPPED))
        if (lead := self.heard_until - now) > MAX_LEAD:
            log.warning("stream.clock_is_behind", stream=self._stream_id, skips_s=round(lead / SAMPLE_RATE_HZ, 1))
        self._was_heard = True

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            begun = self._now()
            session = Session(self._ledger, timeline.samples(self._settings.window_s), self._max_burst)
            failure = await self._connect(session, stop)
            if failure is not None:
                await self._wait_to_reconnect(session, begun, failure, stop)
            elif session.received:
                return  # stopped while audio was coming in: there is no gap yet
        self._publish(self._ledger.gaps(self._now()))

    async def _connect(self, session: Session, stop: asyncio.Event) -> Failure | None:
        """Runs one connection to its end, and returns why it ended; None if it was stopped."""
        try:
            async with ffmpeg.open_stream(self._url) as process:
                self._process = process
                try:
                    return await self._receive(process, session, stop)
                finally:
                    self._process = None
                    self._publish(session.flush())
                    metrics.UP.labels(self._stream_id).set(0)
        except SourceError as error:
            return Failure(GapReason(error.reason), str(error))
        except OSError as error:  # out of processes, files or memory; perhaps only for a while
            return Failure(GapReason.DECODE_ERROR, f"ffmpeg cannot be started: {error.strerror or error}")

    async def _interrupt(self, stop: asyncio.Event) -> None:
        await stop.wait()
        if self._process is not None:
            self._process.interrupt()

    async def _receive(self, process: Process, session: Session, stop: asyncio.Event) -> Failure | None:
        clock = asyncio.get_running_loop().time
        begun_s = received_s = clock()
        while not stop.is_set():
            lead = session.lead(self._now())
            if lead > MAX_LEAD:
                await is_set_within(stop, min((lead - MAX_LEAD) / SAMPLE_RATE_HZ, TICK_S))
                continue
            max_bytes = _max_read(lead) if session.is_live else ffmpeg.READ_BYTES
            pcm = process.read_now(max_bytes)
            if pcm == b"":
                return await process.failure()
            if pcm is not None:
                received_s = clock()
            elif (failure := self._check_silence(session, clock() - received_s)) is not None:
                return failure
            self._feed(session, pcm or b"", begun_s)
            if pcm is not None and len(pcm) == max_bytes:
                await asyncio.sleep(0)  # there is more, but other streams have their turn first
            else:
                await self._wait_for_more(process, session, is_empty=pcm is None)
        return None

    def _feed(self, session: Session, pcm: bytes, begun_s: float) -> None:
        """Publishes what the session makes of `pcm`; `begun_s`: the loop's time at which the connection began."""
        was_live, was_silent, lost_before = session.is_live, not session.received, session.lost
        self._publish(session.feed(self._now(), pcm))
        if was_silent and session.received:
            metrics.SESSIONS.labels(self._stream_id).inc()
            metrics.UP.labels(self._stream_id).set(1)
        if session.is_live and not was_live:
            self._log_connected(session, asyncio.get_running_loop().time() - begun_s)
        if session.lost > lost_before:
            log.warning("stream.lost_audio", stream=self._stream_id, lost_s=_seconds(session.lost - lost_before))
        if not session.is_live:
            self._publish_gap_in_progress()

    async def _wait_for_more(self, process: Process, session: Session, *, is_empty: bool) -> None:
        """Waits until it is worth reading again; `is_empty`: nothing has arrived since the last time."""
        rest = min(session.missing - ffmpeg.LIVE_PIECE, round(MAX_PIPE_SHARE * process.max_ahead))
        if session.is_live and not is_empty and rest > ffmpeg.LIVE_PIECE:
            await process.wait(rest / SAMPLE_RATE_HZ, for_pcm=False)
        else:
            is_burst = session.received and not session.is_live
            await process.wait(TICK_S if is_burst else self._silent_tick_s, for_pcm=True)

    def _check_silence(self, session: Session, silent_s: float) -> Failure | None:
        """The failure, if nothing has arrived for too long."""
        if not session.received and silent_s > self._settings.connect_timeout_s:
            return Failure(GapReason.CONNECTING, f"no audio within {self._settings.connect_timeout_s:g} s")
        if session.received and silent_s > self._settings.stall_timeout_s:
            return Failure(GapReason.STALLED, f"no more audio for {self._settings.stall_timeout_s:g} s")
        return None

    async def _wait_to_reconnect(self, session: Session, begun: int, failure: Failure, stop: asyncio.Event) -> None:
        """Opens a gap with the reason, and waits."""
        facts = {"stream": self._stream_id, "reason": failure.reason.value, "error": failure.text}
        if session.received:
            self._ledger.open_gap(self.heard_until, failure.reason)
            log.warning("stream.lost", **facts, heard_s=_seconds(session.received))
        else:
            self._ledger.open_gap(begun, failure.reason)
        if session.received >= HEALTHY:
            self._backoff.reset()
        wait_s = self._backoff.next_s()
        log.warning("stream.reconnecting", **facts, wait_s=round(wait_s, 1))
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while (left_s := until_s - loop.time()) > 0 and not await is_set_within(stop, min(left_s, GAP_TICK_S)):
            self._publish_gap_in_progress()

    def _publish_gap_in_progress(self) -> None:
        """Publishes only what the burst of the next connection can no longer cover: audio is better than a gap."""
        self._publish(self._ledger.gaps_in_progress(self._now() - self._max_burst))

    def _publish(self, records: Iterable[Record]) -> None:
        for record in records:
            self._publisher.put(record)

    def _log_connected(self, session: Session, took_s: float) -> None:
        facts = {"url": redact(self._url), "took_s": round(took_s, 1), "received_s": _seconds(session.received)}
        log.info("stream.connected", stream=self._stream_id, **facts)


def _max_read(lead: int) -> int:
    """How many bytes to read from a live session that is `lead` samples ahead."""
    return max(MAX_LEAD - lead, timeline.samples(TICK_S)) * BYTES_PER_SAMPLE


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE_HZ, 1)
