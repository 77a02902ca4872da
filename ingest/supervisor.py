"""All readers of this process: one for each stream in PostgreSQL, added and removed while running.

Owns the readers' tasks. A reader that breaks is started again, on its own; no other reader notices.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import asyncpg
import structlog

from ingest import ffmpeg
from ingest.backoff import Backoff
from ingest.bus import Bus
from ingest.lifecycle import stopped_within
from ingest.reader import Reader
from ingest.redact import redact_text
from ingest.settings import IngestSettings

log = structlog.get_logger(__name__)

QUERY = """
    select s.id, s.url, p.position
    from streams s left join progress p on p.stream_id = s.id
    where s.enabled and s.removed_at is null
    order by s.id
"""
DATABASE_TIMEOUT_S = 10  # a database that takes longer is away
# The last one is what asyncpg raises when the server ended the connection while nothing was asked.
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
RESTART_FIRST_S = 1.0
RESTART_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What PostgreSQL says about a stream; `position` is the stream clock up to which it was worked off."""

    id: int
    url: str
    position: int | None


@dataclass(frozen=True, slots=True)
class _Running:
    url: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Reads every enabled stream and publishes what it hears."""

    def __init__(self, dsn: str, bus: Bus, settings: IngestSettings) -> None:
        self._dsn = dsn
        self._bus = bus
        self._settings = settings
        self._running: dict[int, _Running] = {}
        self._heard_until: dict[int, int] = {}  # by readers of ours that ended; PostgreSQL hears of it later

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; returns when all readers have published their rest.

        Raises:
            FfmpegMissing: there is no ffmpeg.
        """
        await asyncio.to_thread(ffmpeg.binary)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follow(group), name="streams")
            await stop.wait()
            following.cancel()
            for running in self._running.values():
                running.stop.set()

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Reads the list of streams again and again; while the database is away, all stays as it is."""
        streams = _Streams(self._dsn)
        try:
            while True:
                if (wanted := await streams.read()) is not None:
                    self._align(group, wanted)
                await asyncio.sleep(self._settings.poll_s)
        finally:
            streams.close()

    def _align(self, group: asyncio.TaskGroup, wanted: dict[int, Stream]) -> None:
        for stream_id, running in self._running.items():
            stream = wanted.get(stream_id)
            if (stream is None or stream.url != running.url) and not running.stop.is_set():
                running.stop.set()
                log.info("stream.removed" if stream is None else "stream.changed", stream=stream_id)
        for stream in wanted.values():
            if stream.id not in self._running:  # one with a new address waits until its old reader has ended
                running = self._running[stream.id] = _Running(stream.url)
                reader = Reader(stream.id, stream.url, self._bus, self._settings, self._known_until(stream))
                group.create_task(self._keep(stream.id, reader, running.stop), name=f"stream-{stream.id}")

    def _known_until(self, stream: Stream) -> int | None:
        known = [until for until in (stream.position, self._heard_until.get(stream.id)) if until is not None]
        return max(known, default=None)

    async def _keep(self, stream_id: int, reader: Reader, stop: asyncio.Event) -> None:
        """Runs a reader until it is stopped, and again when it breaks: that is a bug, but one stream's only."""
        backoff = Backoff(RESTART_FIRST_S, RESTART_MOST_S)
        try:
            while not stop.is_set():
                try:
                    await reader.run(stop)
                    return
                except Exception:
                    wait_s = backoff.next_s()
                    log.exception("stream.crashed", stream=stream_id, wait_s=round(wait_s, 1))
                    await stopped_within(stop, wait_s)
        finally:
            self._heard_until[stream_id] = reader.heard_until
            del self._running[stream_id]


class _Streams:
    """The list of streams, over one connection that is made again when it breaks."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._is_away = False

    async def read(self) -> dict[int, Stream] | None:
        """The streams to listen to; None when the database does not answer, which is logged once."""
        try:
            streams = await self._fetch()
        except ValueError:  # its text would quote parts of the DSN
            self._failed("the DSN of the database is not valid: see AIRTRACE_DATABASE__DSN")
            return None
        except AWAY as error:
            self._failed(redact_text(str(error), self._dsn) or type(error).__name__)
            return None
        if self._is_away:
            log.info("streams.readable_again")
        self._is_away = False
        return streams

    async def _fetch(self) -> dict[int, Stream]:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            if self._connection is None:
                self._connection = await asyncpg.connect(self._dsn)
            rows = await self._connection.fetch(QUERY)
        return {row["id"]: Stream(row["id"], row["url"], row["position"]) for row in rows}

    def _failed(self, error: str) -> None:
        self.close()
        if not self._is_away:
            log.warning("streams.unreadable", error=error)
        self._is_away = True

    def close(self) -> None:
        """At once, without a farewell: the server may not be there to hear it."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
