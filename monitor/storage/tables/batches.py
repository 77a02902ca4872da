"""Writes what a worker finds in the batches of its streams, in one transaction over several tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
        if not (await self.write_all([batch], info))[0]:
            raise StaleProgress

    async def write_all(self, batches: Sequence[Batch], info: DetectorInfo) -> list[bool]:
        """Writes batches of different streams in one transaction.

        Returns:
            For each batch, whether it was written. It was not if its stream is no longer at the position at which the
            batch starts. If this raises an error, none was written.
        """
        async with self._database.transaction() as connection:
            advanced = await self._advance(connection, batches)
            current = [batch for batch in batches if batch.stream_id in advanced]
            changed = await self._write_matches(connection, current, info)
            for batch in current:
                for play in batch.opened:
                    await connection.execute("alert_raise", play.id, batch.severity)
            await self._cover(connection, current)
            if self._outbox is not None:
                for batch in current:
                    await self._outbox.add(connection, batch, changed[batch.stream_id])
        return [batch.stream_id in advanced for batch in batches]

    async def _advance(self, connection: QueryRunner, batches: Sequence[Batch]) -> set[int]:
        """Advances the progress of the streams that are where their batches start; returns these streams."""
        known = [
            (batch.stream_id, batch.expected, *rows.from_progress(batch.progress))
            for batch in batches
            if batch.expected is not None
        ]
        advanced: set[int] = set()
        if known:
            advanced |= {row["stream_id"] for row in await connection.fetch("progress_advance", *_columns(known))}
        for batch in batches:
            if batch.expected is None:
                values = rows.from_progress(batch.progress)
                if await connection.fetchval("progress_first", batch.stream_id, *values) is not None:
                    advanced.add(batch.stream_id)
        return advanced

    async def _write_matches(
        self, connection: QueryRunner, batches: Sequence[Batch], info: DetectorInfo
    ) -> dict[int, list[Play]]:
        """The plays whose alert now names another track, by stream."""
        changed: dict[int, list[Play]] = {batch.stream_id: [] for batch in batches}
        # By id: a play that is open and closed in one batch ends up closed.
        found = {play.id: (batch, play, "open") for batch in batches for play in batch.open}
        found |= {play.id: (batch, play, "closed") for batch in batches for play in batch.closed}
        if not found:
            return changed
        values = {
            id_: (*rows.from_play(batch.stream_id, play, info, state), state == "closed" and batch.is_stop)
            for id_, (batch, play, state) in found.items()
        }
        extensions = [(id_, track, *rest) for id_, _, track, _, _, *rest in values.values()]
        known = {row["id"] for row in await connection.fetch("matches_extend", *_columns(extensions))}
        for id_, (batch, play, _) in found.items():
            if id_ not in known and await connection.execute("match_upsert", *values[id_]):
                changed[batch.stream_id].append(play)
        # Also those whose track was deleted, of which the statements above write nothing.
        if closed := [play.id for batch in batches for play in batch.closed if play.id not in known]:
            await connection.execute("matches_close", closed)
        return changed

    async def _cover(self, connection: QueryRunner, batches: Sequence[Batch]) -> None:
        """Extends the newest interval of each stream by the first one of its batch, or inserts it; then the others."""
        joined = {batch.stream_id: _joined(batch.coverage) for batch in batches if batch.coverage}
        if not joined:
            return
        first = [_from_interval(stream, intervals[0]) for stream, intervals in joined.items()]
        extended = {row["stream_id"] for row in await connection.fetch("coverage_extend", *_columns(first))}
        new = [values for values in first if values[0] not in extended]
        new += [_from_interval(stream, each) for stream, intervals in joined.items() for each in intervals[1:]]
        if new:
            await connection.executemany("coverage_insert", new)


def _joined(intervals: Sequence[Interval]) -> list[Interval]:
    """Intervals in order, with neighbors that are alike as one."""
    joined: list[Interval] = []
    for each in intervals:
        if joined and (joined[-1].ends, joined[-1].reason) == (each.starts, each.reason):
            joined[-1] = replace(joined[-1], ends=each.ends)
        else:
            joined.append(each)
    return joined


def _columns(values: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows of values as lists of values, one for each column."""
    return [list(column) for column in zip(*values, strict=True)]


def _from_interval(stream: int, interval: Interval) -> tuple[int, str, int, int, str | None]:
    state = "covered" if interval.reason is None else "gap"
    return stream, state, interval.starts, interval.ends, interval.reason
