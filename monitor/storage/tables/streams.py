"""The table of streams."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.storage.database import Database
from monitor.storage.records import StreamStatus


class StreamTable:
    """The streams that are monitored. A removed one keeps its row, which its matches refer to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, url: str) -> int | None:
        """Adds a stream and returns its id; None if the name is taken."""
        stream: int | None = await self._database.fetchval("stream_insert", name, url)
        return stream

    async def list(self) -> Sequence[StreamStatus]:
        """All streams that are not removed, in the order of their ids."""
        return [StreamStatus(**row) for row in await self._database.fetch("streams")]

    async def exists(self, stream: int) -> bool:
        """Whether there is a stream with this id, removed or not."""
        return await self._database.fetchval("stream_exists", stream) is not None

    async def remove(self, name: str) -> bool:
        """Stops monitoring a stream; False if there is none with this name."""
        return await self._database.fetchval("stream_remove", name) is not None
