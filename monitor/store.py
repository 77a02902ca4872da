"""The asyncpg adapter: everything that is kept. One method per question; the SQL is in sql/queries.sql."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from typing import Any

import asyncpg
import numpy as np
import orjson

from ingest.redact import redact_text
from monitor.core.families import Kin, Link
from monitor.core.match import Play, Reference
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError, HomeTooNew, StaleProgress
from monitor.records import (
    Alert,
    Batch,
    Calibration,
    Coverage,
    Fingerprint,
    Interval,
    Match,
    Member,
    Metadata,
    Progress,
    StreamStatus,
    Track,
)
from monitor.sql import migrations, queries

MIGRATION_LOCK = 1095324241  # any constants; "AIR" and a number
CATALOG_LOCK = 1095324242
FAMILY_MOST = 50  # members that are named beside a track; who has more versions of one recording knows
COMMAND_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 3600  # for locks and migrations: another process may be filling a large index
# What asyncpg and its sockets raise when PostgreSQL does not answer.
UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)


class Store:
    """PostgreSQL behind a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries()

    # The catalog

    async def add_track(
        self, sha256: bytes, n_samples: int, metadata: Metadata, fingerprint: Fingerprint
    ) -> int | None:
        """Stores a new track as pending; None when audio with this hash is there already."""
        async with self._pool.acquire() as connection, connection.transaction():
            track: int | None = await connection.fetchval(
                self._sql["track_insert"],
                *(sha256, metadata.title, metadata.artist, metadata.album, metadata.isrc, metadata.source, n_samples),
            )
            if track is not None:
                await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(fingerprint))
            return track

    async def replace_fingerprint(self, track: int, fingerprint: Fingerprint) -> None:
        """Stores another model's vectors of a track, which is pending until the index has them too, and has no kin."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(self._sql["track_pending"], track)
            await connection.execute(self._sql["kinships_delete"], track)
            await connection.execute(self._sql["fingerprint_upsert"], track, *_blob(fingerprint))

    @asynccontextmanager
    async def catalog_lock(self) -> AsyncIterator[None]:
        """Held while index and catalog are brought into step, by one process at a time."""
        async with self._pool.acquire() as connection:  # whose release gives the lock back, whatever happened
            await connection.execute("select pg_advisory_lock($1)", CATALOG_LOCK, timeout=LOCK_TIMEOUT_S)
            yield

    async def mark_pending(self, track: int) -> bool:
        """Takes a track out of matching until the index has it, or it is deleted; False when there is no such track."""
        return await self._pool.fetchval(self._sql["track_pending"], track) is not None

    async def mark_ready(self, track: int) -> None:
        await self._pool.execute(self._sql["track_ready"], track)

    async def pending_tracks(self) -> list[int]:
        return [row["id"] for row in await self._pool.fetch(self._sql["tracks_pending"])]

    async def ready_tracks(self, info: DetectorInfo) -> list[int]:
        rows = await self._pool.fetch(self._sql["tracks_ready"], info.name, info.checksum)
        return [row["id"] for row in rows]

    async def track(self, track: int) -> Track | None:
        row = await self._pool.fetchrow(self._sql["track"], track)
        return _track(row) if row else None

    async def track_by_sha256(self, sha256: bytes) -> Track | None:
        row = await self._pool.fetchrow(self._sql["track_by_sha256"], sha256)
        return _track(row) if row else None

    async def tracks(self, text: str | None = None, limit: int = 100, offset: int = 0) -> list[Track]:
        return [_track(row) for row in await self._pool.fetch(self._sql["tracks"], text, limit, offset)]

    async def delete_track(self, track: int) -> bool:
        deleted: str = await self._pool.execute(self._sql["track_delete"], track)
        return deleted != "DELETE 0"

    async def count_tracks(self) -> int:
        return int(await self._pool.fetchval(self._sql["tracks_count"]))

    async def tracks_of_other_models(self, info: DetectorInfo) -> list[Track]:
        """Tracks that have no vectors of this model."""
        rows = await self._pool.fetch(self._sql["tracks_other_model"], info.name, info.version, info.checksum)
        return [_track(row) for row in rows]

    async def audible_segments(self, info: DetectorInfo) -> int:
        """How many vectors the index must hold."""
        return int(await self._pool.fetchval(self._sql["audible_segments"], info.name, info.checksum))

    async def references(self, tracks: Collection[int], info: DetectorInfo) -> dict[int, Reference]:
        """The exact vectors of those of the tracks that are in the catalog."""
        rows = await self._pool.fetch(self._sql["fingerprints_ready"], list(tracks), info.name, info.checksum)
        return {row["track_id"]: _reference(row) for row in rows}

    async def vectors(self, track: int, info: DetectorInfo) -> Reference | None:
        """The exact vectors of a track, ready or not."""
        row = await self._pool.fetchrow(self._sql["fingerprint"], track, info.name, info.checksum)
        return _reference(row) if row else None

    async def still_ready(self, tracks: Collection[int]) -> set[int]:
        rows = await self._pool.fetch(self._sql["tracks_still_ready"], list(tracks))
        return {row["id"] for row in rows}

    # Families

    async def unrelated_tracks(self, info: DetectorInfo, limit: int | None = None) -> list[int]:
        """Tracks whose kin have not been looked for, at most `limit`."""
        rows = await self._pool.fetch(self._sql["tracks_unrelated"], info.name, info.checksum, limit)
        return [row["id"] for row in rows]

    async def relate(self, track: int, kin: Collection[Kin], info: DetectorInfo) -> None:
        """Stores what was found when a track's kin were looked for; what others found of it stays."""
        rows: list[tuple[int, int, float, float, bool]] = []
        for each in kin:
            rows.append((track, each.track, each.share, each.speed, each.is_part))
            rows.append((each.track, track, each.kin_share, 1 / each.speed, each.is_part))
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(self._sql["kinship_upsert"], rows)
            await connection.execute(self._sql["fingerprint_related"], track, info.name, info.checksum)

    async def families(self, tracks: Collection[int]) -> dict[int, list[Member]]:
        """The other members of each track's family, of those that have one; the first FAMILY_MOST."""
        found: defaultdict[int, list[Member]] = defaultdict(list)
        if tracks:
            for row in await self._pool.fetch(self._sql["families"], list(tracks), FAMILY_MOST):
                found[row["root"]].append(_member(row))
        return dict(found)

    async def kinships(self) -> list[Link]:
        """All pairs of kin."""
        rows = await self._pool.fetch(self._sql["kinships"])
        return [Link(row["track_id"], row["kin_id"], row["part"]) for row in rows]

    async def members(self, tracks: Collection[int]) -> dict[int, Member]:
        """Tracks by their ids, those that are there."""
        rows = await self._pool.fetch(self._sql["tracks_named"], list(tracks))
        return {row["id"]: _member(row) for row in rows}

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
        return Progress(row["position"], row["log_partition"], row["log_offset"], row["replay_offset"]) if row else None

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
        async with self._pool.acquire() as connection, connection.transaction():
            await self._advance(connection, batch)
            for state, plays in (("open", batch.open), ("closed", batch.closed)):
                for play in plays:
                    values = _play(batch.stream_id, play, info, state)
                    await connection.execute(self._sql["match_upsert"], *values, state == "closed" and batch.is_stop)
            for play in batch.closed:  # also where the track is gone, so that the upsert had nothing to select
                await connection.execute(self._sql["match_close"], play.id)
            for play in batch.opened:
                await connection.execute(self._sql["alert_raise"], play.id, batch.severity)
            for interval in batch.coverage:
                await self._cover(connection, batch.stream_id, interval)

    async def _advance(self, connection: Any, batch: Batch) -> None:
        new = batch.progress
        values = (new.position, new.partition, new.offset, new.replay_offset)
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
        await self._pool.execute(self._sql["close_orphans"])

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
        return [Coverage(row["stream_name"], row["starts"], row["ends"], row["state"], row["reason"]) for row in rows]

    async def alerts(self, state: str | None = None, limit: int = 100) -> list[Alert]:
        return [Alert(**row) for row in await self._pool.fetch(self._sql["alerts"], state, limit)]

    async def ping(self) -> None:
        await self._pool.fetchval("select 1")


@asynccontextmanager
async def opened(dsn: str, pool_most: int) -> AsyncIterator[Store]:
    """Connects, brings the schema up to date, and gives the store.

    Raises:
        DependencyError: PostgreSQL cannot be reached (the message never has the password).
        HomeTooNew: a newer version made this database.
    """
    pool = await _pool(dsn, pool_most)
    try:
        async with pool.acquire() as connection:
            try:
                await migrate(connection)
            except asyncpg.PostgresError as error:
                raise DependencyError(f"PostgreSQL does not take our schema ({error}): see its rights") from error
        yield Store(pool)
    finally:
        await _closed(pool)


async def _pool(dsn: str, most: int) -> asyncpg.Pool:
    try:
        return await asyncpg.create_pool(
            dsn, min_size=1, max_size=most, init=_prepare, command_timeout=COMMAND_TIMEOUT_S, timeout=CONNECT_TIMEOUT_S
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


def _blob(fingerprint: Fingerprint) -> Sequence[object]:
    info, vectors = fingerprint.info, fingerprint.vectors
    audible = int(vectors.any(axis=1).sum())
    blob = vectors.astype("<f2").tobytes()
    return info.name, info.version, info.checksum, len(vectors), audible, info.dimensions, blob


def _reference(row: Any) -> Reference:
    shape = (row["n_segments"], row["dimensions"])
    return Reference(np.frombuffer(row["vectors"], "<f2").reshape(shape).astype(np.float32))


def _track(row: Any) -> Track:
    return Track(
        id=row["id"],
        status=row["status"],
        metadata=Metadata(row["title"], row["source"], row["artist"], row["album"], row["isrc"]),
        duration_s=row["n_samples"] / SAMPLE_RATE_HZ,
        added_at=row["added_at"],
    )


def _member(row: Any) -> Member:
    return Member(row["id"], row["title"], row["artist"], row["source"])


def _play(stream: int, play: Play, info: DetectorInfo, state: str) -> Sequence[object]:
    values = (play.id, stream, play.track, info.name, info.version, state)
    places = (play.start, play.end, play.track_start, play.track_end, play.speed)
    return *values, *places, play.score_sum, play.scored, play.evidence, play.bridged, play.is_ambiguous


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
        evidence=row["evidence"],
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
        evidence=row["evidence"],
        bridged_s=row["bridged"] / SAMPLE_RATE_HZ,
        is_ambiguous=row["ambiguous"],
    )
