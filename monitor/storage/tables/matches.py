"""The table of matches: plays of tracks in streams."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from monitor.core.tracking.play import Play
from monitor.detect.detector import DetectorInfo
from monitor.storage import rows
from monitor.storage.database import Database
from monitor.storage.records import Match


class MatchTable:
    """The matches. `BatchWriter` writes them."""

    def __init__(self, database: Database, *, with_events: bool = False) -> None:
        """`with_events`: matches that are closed here get an event in the outbox."""
        self._database = database
        self._with_events = with_events

    async def list(
        self, stream: str | None = None, state: str | None = None, since: int | None = None, limit: int = 100
    ) -> Sequence[Match]:
        """Matches that end after `since` (stream clock), newest first."""
        return [rows.to_match(row) for row in await self._database.fetch("matches", stream, state, since, limit)]

    async def get(self, match: uuid.UUID) -> Match | None:
        """A match by its id."""
        row = await self._database.fetchrow("match", match)
        return rows.to_match(row) if row else None

    async def open_counts(self) -> dict[int, int]:
        """The number of open matches, by the id of each stream that is monitored or has one."""
        return {row["id"]: row["count"] for row in await self._database.fetch("open_counts")}

    async def open_plays(self, stream: int, info: DetectorInfo, max_gap_samples: int = 0) -> tuple[Play, ...]:
        """The open plays of a stream.

        Includes those that a shutdown closed less than `max_gap_samples` before the stream's position.
        """
        found = await self._database.fetch("open_plays", stream, info.name, max_gap_samples)
        return tuple(rows.to_play(row) for row in found)

    async def ended_plays(self, stream: int, info: DetectorInfo, since: int) -> tuple[Play, ...]:
        """The plays that ended at or after `since` (stream clock), except those that a shutdown closed."""
        found = await self._database.fetch("ended_plays", stream, info.name, since)
        return tuple(rows.to_play(row) for row in found)

    async def close_orphans(self) -> None:
        """Closes open matches that no worker will return to: those of removed streams and deleted tracks."""
        await self._database.execute("close_orphans", self._with_events)
