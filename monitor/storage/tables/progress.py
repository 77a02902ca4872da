"""The table of progress: how far each stream has been processed."""

from __future__ import annotations

from monitor.storage import rows
from monitor.storage.database import Database
from monitor.storage.records import Progress


class ProgressTable:
    """How far each stream has been processed. `BatchWriter` advances it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, stream: int) -> Progress | None:
        """The progress of a stream; None if it was never processed."""
        row = await self._database.fetchrow("progress", stream)
        return rows.to_progress(row) if row else None

    async def in_partition(self, partition: int) -> dict[int, Progress]:
        """The progress of each active stream of a partition, by stream id."""
        found = await self._database.fetch("progress_in_partition", partition)
        return {row["stream_id"]: rows.to_progress(row) for row in found}

    async def replay_offset(self, partition: int) -> int | None:
        """The offset at which the last minute of every active stream of a partition begins; None without streams."""
        offset: int | None = await self._database.fetchval("replay_offset", partition)
        return offset
