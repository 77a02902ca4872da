"""Which streams this process reads: the port, and the answer of a process that has them all (`airtrace run`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

import asyncpg
import structlog

from ingest.leases.lease import Lease
from ingest.redact import redact_text

log = structlog.get_logger(__name__)
T = TypeVar("T")

ALL = """
    select s.id, s.url, p.position
    from streams s left join progress p on p.stream_id = s.id
    where s.enabled and s.removed_at is null
    order by s.id
"""
ANSWER_TIMEOUT_S = 10  # a database that takes longer is away
# The last one is what asyncpg raises when the server ended the connection while nothing was asked.
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class Stream:
    """What PostgreSQL says about a stream; `position` is the stream clock up to which it was worked off."""

    id: int
    url: str
    position: int | None
    permit: Lease


class StreamAssignment(Protocol):
    """Asked again and again, at least every `turn_s` seconds."""

    turn_s: float

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """The streams to read now; None while the database does not answer.

        running: ids of the streams that still have a reader here. is_leaving: there will be no new ones.
        """

    def close(self) -> None:
        """Frees what is held here; the database is told nothing."""


class AllStreams:
    """Every enabled stream, with a permit that nobody can take."""

    def __init__(self, dsn: str, poll_s: float) -> None:
        self.turn_s = poll_s
        self._database = Connection(dsn, ANSWER_TIMEOUT_S)
        self._permit = Lease()

    async def read(self, running: Collection[int], *, is_leaving: bool) -> dict[int, Stream] | None:
        """See `Streams`."""
        if is_leaving:
            return {}
        rows = await self._database.run(lambda connection: connection.fetch(ALL))
        if rows is None:
            return None
        return {row["id"]: Stream(row["id"], row["url"], row["position"], self._permit) for row in rows}

    def close(self) -> None:
        """See `Streams`."""
        self._database.close()


class Connection:
    """One connection, made again when it breaks."""

    def __init__(self, dsn: str, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._connection: asyncpg.Connection | None = None
        self._is_away = False

    async def run(self, question: Callable[[asyncpg.Connection], Awaitable[T]]) -> T | None:
        """The answer; None when there was none in time, which is logged once."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._dsn)
                    # Of a process that is paused within a transaction, nobody could take the streams over.
                    idle_ms = round(self._timeout_s * 1000)
                    await self._connection.execute(f"set idle_in_transaction_session_timeout = {idle_ms}")
                answer = await question(self._connection)
        except ValueError:  # its text would quote parts of the DSN
            self._failed("the DSN of the database is not valid: see AIRTRACE_DATABASE__DSN")
            return None
        except AWAY as error:
            self._failed(redact_text(str(error), self._dsn) or type(error).__name__)
            return None
        if self._is_away:
            log.info("streams.readable_again")
        self._is_away = False
        return answer

    def _failed(self, error: str) -> None:
        self.close()
        if not self._is_away:
            log.warning("streams.unreadable", error=error)
        self._is_away = True

    def close(self) -> None:
        """At once, without a farewell: the server may not be there to hear it."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
