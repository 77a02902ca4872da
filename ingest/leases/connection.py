"""The connection to PostgreSQL of the stream assignment. Its errors are logged here and never reach the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from ingest.redact import redact_text

log = structlog.get_logger(__name__)
T = TypeVar("T")

ANSWER_TIMEOUT_S = 10  # a database that takes longer counts as unreachable
# asyncpg raises InternalClientError if the server closed an idle connection.
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Connection:
    """One connection to PostgreSQL, which is opened again after it breaks."""

    def __init__(self, dsn: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._connection: asyncpg.Connection | None = None
        self._is_failing = False

    async def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T | None:
        """The result of `work`; None if the database failed or took longer than the timeout, which is logged once."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._dsn)
                    # A process paused within a transaction would keep the others from taking over its streams.
                    idle_ms = round(self._timeout_s * 1000)
                    await self._connection.execute(f"set idle_in_transaction_session_timeout = {idle_ms}")
                result = await work(self._connection)
        except ValueError:  # its text would quote parts of the DSN
            self._note_failure("the DSN of the database is not valid: see AIRTRACE_DATABASE__DSN")
            return None
        except UNREACHABLE as error:
            self._note_failure(redact_text(str(error), self._dsn) or type(error).__name__)
            return None
        if self._is_failing:
            log.info("streams.readable_again")
        self._is_failing = False
        return result

    def close(self) -> None:
        """Closes at once, without waiting for a server that may be unreachable."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    def _note_failure(self, error: str) -> None:
        self.close()
        if not self._is_failing:
            log.warning("streams.unreadable", error=error)
        self._is_failing = True
