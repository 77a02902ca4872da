"""All readers of this process: one for each stream assigned to it, added and removed while it runs.

Owns the readers' tasks. A reader that crashes is restarted; no other reader notices. A reader whose stream has moved to
another process ends without publishing the rest of its audio.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from ingest.backoff import Backoff, retry
from ingest.bus.port import Bus
from ingest.leases.assignment import Stream, StreamAssignment
from ingest.leases.lease import Lease
from ingest.lifecycle import is_set_within
from ingest.reading.outage_log import OutageLog
from ingest.reading.reader import Reader
from ingest.settings import IngestSettings
from ingest.sources import child_watcher, ffmpeg

log = structlog.get_logger(__name__)

RESTART_FIRST_S = 1.0
MAX_RESTART_S = 60.0


@dataclass(frozen=True, slots=True)
class _Running:
    url: str
    lease: Lease
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Reads the assigned streams and publishes their audio."""

    def __init__(
        self,
        streams: StreamAssignment,
        bus: Bus,
        settings: IngestSettings,
        *,
        restart_first_s: float = RESTART_FIRST_S,
    ) -> None:
        """`restart_first_s`: the first wait after a crash of a reader."""
        self._streams = streams
        self._bus = bus
        self._settings = settings
        self._restart_first_s = restart_first_s
        self._outages = OutageLog()
        self._running: dict[int, _Running] = {}
        self._heard_until: dict[int, int] = {}  # where ended readers of ours stopped; PostgreSQL learns of it later
        self._ended = asyncio.Event()  # a reader has ended, or all of them are being stopped

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set; returns when all readers have published their rest and all streams are given up.

        Raises:
            FfmpegMissing: this machine has no ffmpeg.
        """
        child_watcher.install()
        await asyncio.to_thread(ffmpeg.binary)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(group, stop), name="streams")
            await stop.wait()
            for running in self._running.values():
                running.stop.set()
            self._ended.set()

    async def _follow(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Follows the assignment; while the database is unreachable, nothing changes."""
        try:
            while not (stop.is_set() and not self._running):
                wanted = await self._streams.read(self._running.keys(), is_leaving=stop.is_set())
                if wanted is not None and not stop.is_set():
                    self._align(group, wanted)
                await is_set_within(self._ended, self._streams.turn_s)
                self._ended.clear()
            await self._streams.read((), is_leaving=True)
        finally:
            self._streams.close()

    def _align(self, group: asyncio.TaskGroup, wanted: dict[int, Stream]) -> None:
        for stream_id, running in self._running.items():
            stream = wanted.get(stream_id)
            if (stream is None or not _is_same(stream, running)) and not running.stop.is_set():
                running.stop.set()
                log.info("stream.removed" if stream is None else "stream.changed", stream=stream_id)
        for stream in wanted.values():
            if stream.id not in self._running:  # a stream with a new URL waits until its old reader has ended
                running = self._running[stream.id] = _Running(stream.url, stream.lease)
                reader = self._reader(stream)
                group.create_task(self._keep(stream.id, reader, running), name=f"stream-{stream.id}")

    def _reader(self, stream: Stream) -> Reader:
        known = [until for until in (stream.position, self._heard_until.get(stream.id)) if until is not None]
        heard_until = max(known, default=None)
        return Reader(
            stream.id,
            stream.url,
            self._bus,
            self._settings,
            heard_until,
            lease=stream.lease,
            outages=self._outages,
        )

    async def _keep(self, stream_id: int, reader: Reader, running: _Running) -> None:
        """Runs a reader until it is stopped, and again after it crashes: that is a bug, but only of this stream."""

        def log_crash(_: Exception, wait_s: float) -> None:
            log.exception("stream.crashed", stream=stream_id, wait_s=round(wait_s, 1))

        backoff, stop = Backoff(self._restart_first_s, MAX_RESTART_S), running.stop
        try:
            await retry(lambda: reader.run(stop), backoff=backoff, retry_on=Exception, on_error=log_crash, stop=stop)
        finally:
            if running.lease.is_revoked:  # its last audio was not published: the next reader accounts for it
                self._heard_until.pop(stream_id, None)
            else:
                self._heard_until[stream_id] = reader.heard_until
            del self._running[stream_id]
            self._ended.set()


def _is_same(stream: Stream, running: _Running) -> bool:
    return stream.url == running.url and stream.lease is running.lease
