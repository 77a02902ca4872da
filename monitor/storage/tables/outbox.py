"""The outbox: events for other systems, written together with the rows they report and deleted once sent.

An event may be sent twice, with the same id, but is never lost. Only one process sends at a time, so the events of a
stream keep their order.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.core.tracking.play import Play
from monitor.storage.database import Database, QueryRunner
from monitor.storage.records import Batch

SENDING_LOCK = 1095324243  # any constant that no other lock has
# Together with the timeout of one event, this is less than the database's limit for idle transactions.
MAX_TURN_S = 5.0
MAX_EVENTS_PER_TURN = 100  # events sent in one transaction, which are sent again if it fails


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as it was written; `body` contains the rows as they were then."""

    event: uuid.UUID
    stream_id: int
    body: dict[str, Any]
    written_at: datetime


class Outbox:
    """The table of events that wait to be sent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, connection: QueryRunner, batch: Batch, changed: Collection[Play]) -> None:
        """Writes the events of a batch in its transaction. `changed`: plays that now belong to another track.

        Ids are derived from the content, so that writing an event twice stores it once.
        """
        for play in batch.opened:
            await self._add(connection, play, "match.opened", "match.opened")
            await self._add(connection, play, "alert.raised", "alert.raised")
        for play in changed:
            await self._add(connection, play, "match.changed", f"match.changed/{play.track}")
        for play in batch.closed:
            await self._add(connection, play, "match.closed", f"match.closed/{play.end}")

    async def _add(self, connection: QueryRunner, play: Play, kind: str, name: str) -> None:
        await connection.execute("outbox_add", uuid.uuid5(play.id, name), kind, play.id)

    async def send(self, publish: Callable[[OutboxEvent], Awaitable[None]], max_turn_s: float = MAX_TURN_S) -> int:
        """Publishes the oldest events and returns how many; 0 while another process publishes.

        An exception of `publish` ends the turn and is raised after the events published before it are deleted.
        """
        failed: BaseException | None = None
        async with self._database.transaction() as connection:
            # A process suspended here loses its connection, and with it the lock, by the idle-transaction timeout.
            if not await connection.fetchval("try_lock_transaction", SENDING_LOCK):
                return 0
            sent: list[int] = []
            clock = asyncio.get_running_loop().time
            until_s = clock() + max_turn_s
            for row in await connection.fetch("outbox_next", MAX_EVENTS_PER_TURN):
                if clock() > until_s:
                    break
                try:
                    await publish(OutboxEvent(row["event"], row["stream_id"], row["body"], row["written_at"]))
                except BaseException as error:  # also a cancellation: first delete what was sent
                    failed = error
                    break
                sent.append(row["id"])
            await connection.execute("outbox_delete", sent)
        if failed is not None:
            raise failed
        return len(sent)

    async def count(self) -> int:
        """The number of events that wait."""
        return int(await self._database.fetchval("outbox_count"))
