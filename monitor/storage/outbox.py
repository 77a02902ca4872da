"""Events for other systems: written with what they tell, sent behind it, deleted once they are safe.

An event may be sent twice (its id stays the same), never not at all; those of one stream keep their order, as only one
process sends at a time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from monitor.core.play import Play
from monitor.storage.records import Batch
from monitor.storage.sql import queries

SENDING_LOCK = 1095324243  # any constant that no other lock has
MAX_TURN_S = 5.0  # with one event's time-out, less than the store lets a transaction be idle
AT_ONCE = 100  # events in one transaction: what is sent again when it breaks


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as it was written: `body` has the rows as they were then."""

    event: uuid.UUID
    stream_id: int
    body: dict[str, Any]
    written_at: datetime


class Outbox:
    """The table of events that wait."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries()

    async def add(self, connection: Any, batch: Batch, changed: Collection[Play]) -> None:
        """Writes the events of a batch, in its transaction. `changed`: plays that are another track's by now.

        The ids follow from what is told, so that telling it twice is telling it once.
        """
        for play in batch.opened:
            await self._add(connection, play, "match.opened", "match.opened")
            await self._add(connection, play, "alert.raised", "alert.raised")
        for play in changed:
            await self._add(connection, play, "match.changed", f"match.changed/{play.track}")
        for play in batch.closed:
            await self._add(connection, play, "match.closed", f"match.closed/{play.end}")

    async def _add(self, connection: Any, play: Play, kind: str, name: str) -> None:
        await connection.execute(self._sql["outbox_add"], uuid.uuid5(play.id, name), kind, play.id)

    async def send(self, publish: Callable[[OutboxEvent], Awaitable[None]]) -> int:
        """Publishes the oldest events; how many. None of them while another process does.

        What `publish` raises ends it: what was published before is deleted all the same.
        """
        failed: BaseException | None = None
        async with self._pool.acquire() as connection, connection.transaction():
            # A process that is paused in here loses its connection, and with it the lock, by the store's time-out.
            if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", SENDING_LOCK):
                return 0
            sent: list[int] = []
            clock = asyncio.get_running_loop().time
            until_s = clock() + MAX_TURN_S
            for row in await connection.fetch(self._sql["outbox_next"], AT_ONCE):
                if clock() > until_s:
                    break
                try:
                    await publish(OutboxEvent(row["event"], row["stream_id"], row["body"], row["written_at"]))
                except BaseException as error:  # also a cancellation: what is safe is deleted first
                    failed = error
                    break
                sent.append(row["id"])
            await connection.execute(self._sql["outbox_delete"], sent)
        if failed is not None:
            raise failed
        return len(sent)

    async def waiting(self) -> int:
        """How many events wait."""
        return int(await self._pool.fetchval(self._sql["outbox_count"]))
