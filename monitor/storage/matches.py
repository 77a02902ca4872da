"""The asyncpg adapter: everything that is kept. One method per question; the SQL is in sql/queries.sql."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from typing import Any

import asyncpg
import orjson

from ingest.redact import redact_text
from monitor.core.play import Play
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError, HomeTooNew, StaleProgress
from monitor.storage.outbox import Outbox
from monitor.storage.records import Alert, Batch, Calibration, Coverage, Interval, Match, Progress, StreamStatus
from monitor.storage.sounds import SoundStore
from monitor.storage.sql import migrations
from monitor.storage.tracks import LOCK_TIMEOUT_S, CatalogStore

MIGRATION_LOCK = 1095324241  # any constants; "AIR" and a number
COMMAND_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
# A process that was stopped, or cut off, in the middle of a transaction would keep others from its streams without end.
IDLE_TRANSACTION_S = 15
# What asyncpg and its sockets raise when PostgreSQL does not answer.
UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)


class Store(CatalogStore, SoundStore):
    """PostgreSQL behind a pool; its catalog is in catalog_store.py, what things sound like in sounds/kept.py."""

    outbox: Outbox | None = None  # without one, nobody is told of anything

    # Streams

    async def add_stream(self, name: str, url: str) -> int | None:
        """The new stream's id; None when the name is taken."""
        stream: int | None = await self._pool.fetchval(self._sql["stream_insert"], name, url)
        return stream

    async def streams(self) -> list[StreamStatus]:
        return [StreamStatus(**row) for row in await self._pool.fetch(self._sql["streams"])]

    async def remove_stream(self, name: str) -> bool:
        return await self._pool.fetchval(self._sql["stream_remove"], name) is not None

    # The worker

    async def progress(self, stream: int) -> Progress | None:
        row = await self._pool.fetchrow(self._sql["progress"], stream)
        return _progress(row) if row else None

    async def progress_in(self, partition: int) -> dict[int, Progress]:
        """Of the streams of a partition, those that are of now."""
        rows = await self._pool.fetch(self._sql["progress_in"], partition)
        return {row["stream_id"]: _progress(row) for row in rows}

    async def replay_from(self, partition: int) -> int | None:
        """The offset from which all streams of a partition have their last minute again."""
        offset: int | None = await self._pool.fetchval(self._sql["replay_from"], partition)
        return offset

    async def stream_exists(self, stream: int) -> bool:
        return await self._pool.fetchval(self._sql["stream_exists"], stream) is not None

    async def open_plays(self, stream: int, info: DetectorInfo, hole_samples: int = 0) -> tuple[Play, ...]:
        """The plays on air, also what a stop of the monitor closed less than `hole_samples` before the position."""
        rows = await self._pool.fetch(self._sql["open_plays"], stream, info.name, hole_samples)
        return tuple(_kept_play(row) for row in rows)

    async def ended_plays(self, stream: int, info: DetectorInfo, since: int) -> tuple[Play, ...]:
        """Plays that ended at a stream clock or later, for another reason than a stop of the monitor."""
        rows = await self._pool.fetch(self._sql["ended_plays"], stream, info.name, since)
        return tuple(_kept_play(row) for row in rows)

    async def write(self, batch: Batch, info: DetectorInfo) -> None:
        """Writes a batch in one transaction; doing it twice changes nothing.

        Raises:
            StaleProgress: the stream is not where the batch started from.
        """
        changed: list[Play] = []
        async with self._pool.acquire() as connection, connection.transaction():
            await self._advance(connection, batch)
            for state, plays in (("open", batch.open), ("closed", batch.closed)):
                for play in plays:
                    values = (*_play(batch.stream_id, play, info, state), state == "closed" and batch.is_stop)
                    if await connection.execute(self._sql["match_upsert"], *values) != "UPDATE 0":
                        changed.append(play)  # its alert has another track now
            for play in batch.closed:  # also where the track is gone, so that the upsert had nothing to select
                await connection.execute(self._sql["match_close"], play.id)
            for play in batch.opened:
                await connection.execute(self._sql["alert_raise"], play.id, batch.severity)
            for interval in batch.coverage:
                await self._cover(connection, batch.stream_id, interval)
            if self.outbox is not None:
                await self.outbox.add(connection, batch, changed)

    async def _advance(self, connection: Any, batch: Batch) -> None:
        new = batch.progress
        values = (new.position, new.partition, new.offset, new.replay_offset, new.epoch)
        if batch.expected is None:
            written = await connection.fetchval(self._sql["progress_first"], batch.stream_id, *values)
        else:
            written = await connection.fetchval(self._sql["progress_advance"], batch.stream_id, batch.expected, *values)
        if written is None:
            raise StaleProgress

    async def _cover(self, connection: Any, stream: int, interval: Interval) -> None:
        state = "covered" if interval.reason is None else "gap"
        values = (stream, state, interval.starts, interval.ends, interval.reason)
        if await connection.fetchval(self._sql["coverage_extend"], *values) is None:
            await connection.execute(self._sql["coverage_insert"], *values)

    async def close_orphans(self) -> None:
        """Closes open matches that no worker will come back to: of removed streams and deleted tracks."""
        await self._pool.execute(self._sql["close_orphans"], self.outbox is not None)

    async def open_counts(self) -> dict[int, int]:
        """How many matches are open, by stream that is monitored or has one."""
        return {row["id"]: row["count"] for row in await self._pool.fetch(self._sql["open_counts"])}

    # Calibrations

    async def add_calibration(self, calibration: Calibration, info: DetectorInfo) -> Calibration:
        """Stores one, which is the newest from now on; gives it with its time."""
        values = astuple(replace(calibration, made_at=None))[:-1]
        made_at = await self._pool.fetchval(
            self._sql["calibration_insert"], info.name, info.version, info.checksum, *values
        )
        return replace(calibration, made_at=made_at)

    async def calibration(self, info: DetectorInfo) -> Calibration | None:
        """The newest of these weights."""
        row = await self._pool.fetchrow(self._sql["calibration"], info.name, info.version, info.checksum)
        return Calibration(**row) if row else None

    async def delete_calibrations(self, info: DetectorInfo) -> None:
        """All of these weights."""
        await self._pool.execute(self._sql["calibrations_delete"], info.name, info.version, info.checksum)

    # Reading

    async def matches(
        self, stream: str | None = None, state: str | None = None, since: int | None = None, limit: int = 100
    ) -> list[Match]:
        """Newest first; `since` is a stream clock value that a match must end behind."""
        return [_match(row) for row in await self._pool.fetch(self._sql["matches"], stream, state, since, limit)]

    async def match(self, match: uuid.UUID) -> Match | None:
        row = await self._pool.fetchrow(self._sql["match"], match)
        return _match(row) if row else None

    async def coverage(self, stream: str | None = None, since: int | None = None, limit: int = 1000) -> list[Coverage]:
        rows = await self._pool.fetch(self._sql["coverage"], stream, since, limit)
        return [
            Coverage(row["stream_name"], row["starts"], row["ends"], row["state"], row["reason"], row["stream_id"])
            for row in rows
        ]

    async def alerts(self, state: str | None = None, limit: int = 100) -> list[Alert]:
        return [Alert(**row) for row in await self._pool.fetch(self._sql["alerts"], state, limit)]

    async def ping(self) -> None:
        await self._pool.fetchval("select 1")


@asynccontextmanager
async def open_storage(dsn: str, max_connections: int, *, with_outbox: bool = False) -> AsyncIterator[Store]:
    """Connects, brings the schema up to date, and gives the store; `with_outbox`: events are written for a relay.

    Raises:
        DependencyError: PostgreSQL cannot be reached (the message never has the password).
        HomeTooNew: a newer version made this database.
    """
    pool = await _pool(dsn, max_connections)
    try:
        async with pool.acquire() as connection:
            try:
                await migrate(connection)
            except asyncpg.PostgresError as error:
                raise DependencyError(f"PostgreSQL does not take our schema ({error}): see its rights") from error
        store = Store(pool)
        store.outbox = Outbox(pool) if with_outbox else None
        yield store
    finally:
        await _closed(pool)


async def _pool(dsn: str, maximum: int) -> asyncpg.Pool:
    # It logs a traceback for each connection that it cannot make ahead; who needs one says the same in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=maximum,
            init=_prepare,
            command_timeout=COMMAND_TIMEOUT_S,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_S}s"},
        )
    except ValueError:  # its text quotes parts of the DSN, and so may the traceback
        raise DependencyError(
            "PostgreSQL cannot be reached: the DSN is not valid; write postgresql://user:password@host:5432/database, "
            "with %40 for @, %2F for / and the like in the password"
        ) from None
    except UNREACHABLE as error:
        reason = redact_text(str(error), dsn) or type(error).__name__
        raise DependencyError(
            f"PostgreSQL cannot be reached ({reason}): see that it runs, or set AIRTRACE_DATABASE__DSN"
        ) from error


async def _closed(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def migrate(connection: Any) -> None:
    """Applies the migrations that are missing, one transaction each, under an advisory lock."""
    await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK, timeout=LOCK_TIMEOUT_S)
    try:
        await connection.execute("create table if not exists schema_version (version integer primary key)")
        done = await connection.fetchval("select coalesce(max(version), 0) from schema_version")
        known = migrations()
        newest = known[-1][0]
        if done > newest:
            raise HomeTooNew(
                f"the database was made by a newer Airtrace (schema {done}, this one knows {newest}): upgrade"
            )
        for version, text in known:
            if version > done:
                async with connection.transaction():
                    await connection.execute(text, timeout=LOCK_TIMEOUT_S)
                    await connection.execute("insert into schema_version values ($1)", version)
    finally:
        await connection.execute("select pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )


def _play(stream: int, play: Play, info: DetectorInfo, state: str) -> Sequence[object]:
    values = (play.id, stream, play.track, info.name, info.version, state)
    places = (play.start, play.end, play.track_start, play.track_end, play.speed)
    return *values, *places, play.score_sum, play.scored, play.llr, play.bridged, play.is_ambiguous


def _progress(row: Any) -> Progress:
    return Progress(row["position"], row["log_partition"], row["log_offset"], row["replay_offset"], row["epoch"])


def _kept_play(row: Any) -> Play:
    return Play(
        id=row["id"],
        track=row["track_id"],
        start=row["starts"],
        end=row["ends"],
        track_start=row["track_starts"],
        track_end=row["track_ends"],
        speed=row["speed"],
        score_sum=row["score_sum"],
        scored=row["scored"],
        llr=row["llr"],
        bridged=row["bridged"],
        is_ambiguous=row["ambiguous"],
    )


def _match(row: Any) -> Match:
    return Match(
        id=row["id"],
        stream_id=row["stream_id"],
        stream_name=row["stream_name"],
        track=row["track"],
        detector=row["detector"],
        version=row["version"],
        state=row["state"],
        starts=row["starts"],
        ends=row["ends"],
        track_start_s=row["track_starts"] / SAMPLE_RATE_HZ,
        track_end_s=row["track_ends"] / SAMPLE_RATE_HZ,
        score=row["score"],
        llr=row["llr"],
        bridged_s=row["bridged"] / SAMPLE_RATE_HZ,
        is_ambiguous=row["ambiguous"],
    )
