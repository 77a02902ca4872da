"""The table of coverage: when each stream was listened to, and the gaps."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.storage.database import Database
from monitor.storage.records import Coverage


class CoverageTable:
    """The coverage ledger. `BatchWriter` writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, stream: str | None = None, since: int | None = None, limit: int = 1000) -> Sequence[Coverage]:
        """The newest intervals that end after `since` (stream clock), by stream, newest first."""
        return [
            Coverage(row["stream_name"], row["starts"], row["ends"], row["state"], row["reason"], row["stream_id"])
            for row in await self._database.fetch("coverage", stream, since, limit)
        ]
