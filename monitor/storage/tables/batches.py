"""Writes what a worker finds in a stream's batch, in one transaction over several tables."""

from __future__ import annotations

from monitor.core.tracking.play import Play
from monitor.detect.detector import DetectorInfo
from monitor.errors import StaleProgress
from monitor.storage import rows
from monitor.storage.database import Database, QueryRunner
from monitor.storage.records import Batch, Interval
from monitor.storage.tables.outbox import Outbox


class BatchWriter:
    """Writes batches: progress, matches, alerts, coverage, and the events about them."""

    def __init__(self, database: Database, outbox: Outbox | None = None) -> None:
        """`outbox`: where to write events; None if no events are published."""
        self._database = database
        self._outbox = outbox

    async def write(self, batch: Batch, info: DetectorInfo) -> None:
        """Writes a batch in one transaction; writing it twice changes nothing.

        Raises:
            StaleProgress: the stream is no longer at the position at which the batch starts.
        """
        async with self._database.transaction() as connection:
            await self._advance(connection, batch)
            changed = await self._write_matches(connection, batch, info)
            for play in batch.opened:
                await connection.execute("alert_raise", play.id, batch.severity)
            for interval in batch.coverage:
                await self._cover(connection, batch.stream_id, interval)
            if self._outbox is not None:
                await self._outbox.add(connection, batch, changed)

    async def _advance(self, connection: QueryRunner, batch: Batch) -> None:
        new = batch.progress
        values = (new.position, new.partition, new.offset, new.replay_offset, new.epoch)
        if batch.expected is None:
            written = await connection.fetchval("progress_first", batch.stream_id, *values)
        else:
            written = await connection.fetchval("progress_advance", batch.stream_id, batch.expected, *values)
        if written is None:
            raise StaleProgress

    async def _write_matches(self, connection: QueryRunner, batch: Batch, info: DetectorInfo) -> list[Play]:
        """The plays whose alert now names another track."""
        changed: list[Play] = []
        for state, plays in (("open", batch.open), ("closed", batch.closed)):
            for play in plays:
                values = rows.from_play(batch.stream_id, play, info, state)
                if await connection.execute("match_upsert", *values, state == "closed" and batch.is_stop):
                    changed.append(play)
        for play in batch.closed:  # also if its track was deleted, in which case the upsert selected nothing
            await connection.execute("match_close", play.id)
        return changed

    async def _cover(self, connection: QueryRunner, stream: int, interval: Interval) -> None:
        state = "covered" if interval.reason is None else "gap"
        values = (stream, state, interval.starts, interval.ends, interval.reason)
        if await connection.fetchval("coverage_extend", *values) is None:
            await connection.execute("coverage_insert", *values)
