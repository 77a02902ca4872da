"""Which streams this process reads: the port, and the answer of a process that reads them all (`airtrace run`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from ingest.leases.connection import Connection
from ingest.leases.lease import Lease
from ingest.leases.queries import queries


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream to read; `position` is the stream clock up to which workers have processed it, None if never."""

    id: int
    url: str
    position: int | None
    lease: Lease


class StreamAssignment(Protocol):
    """Decides which streams to read. The supervisor calls `read` at least every `turn_s` seconds."""

    turn_s: float

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """The streams to read now, by id; None while the database is unreachable.

        running: ids of the streams that still have a reader here. is_leaving: this process takes no new streams.
        """

    def close(self) -> None:
        """Closes the connection. Leases are given up by `read(..., is_leaving=True)`, not here."""


class AllStreams:
    """Every enabled stream, with a lease that never expires."""

    def __init__(self, dsn: str, poll_s: float) -> None:
        self.turn_s = poll_s
        self._connection = Connection(dsn)
        self._lease = Lease()

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """See `StreamAssignment`."""
        if is_leaving:
            return {}
        rows = await self._connection.run(lambda connection: connection.fetch(queries()["all_streams"]))
        if rows is None:
            return None
        return {row["id"]: Stream(row["id"], row["url"], row["position"], self._lease) for row in rows}

    def close(self) -> None:
        """See `StreamAssignment`."""
        self._connection.close()
