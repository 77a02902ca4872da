"""The asyncpg adapter: a pool that runs named queries and raises Airtrace's errors instead of asyncpg's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import orjson

from ingest.redact import redact_text
from monitor.errors import Conflict, DependencyError, HomeTooNew, QueryFailed, RejectedValue, RowDeleted
from monitor.storage.sql import migrations, queries

MIGRATION_LOCK = 1095324241  # any constants; "AIR" and a number
COMMAND_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 3600  # for locks and migrations: another process may be filling a large index
# A process that is suspended or cut off in the middle of a transaction would otherwise block its streams forever.
IDLE_TRANSACTION_S = 15

# What asyncpg and its sockets raise while PostgreSQL is unreachable, refuses connections, or drops them.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
)


class QueryRunner:
    """Runs queries by name (see `monitor.storage.sql`) on a pool or on one connection.

    All methods raise:
        DependencyError: PostgreSQL does not answer, or (QueryFailed) could not run the query; a retry may help.
        RejectedValue: PostgreSQL does not store this value.
        Conflict: another row has the same key, or (RowDeleted) a row that this one refers to was just deleted.
    """

    def __init__(self, executor: asyncpg.Pool | asyncpg.Connection) -> None:
        self._executor: Any = executor
        self._sql = queries()

    async def fetch(self, name: str, *values: object) -> list[Any]:
        """All rows of a query."""
        with translating_errors():
            return list(await self._executor.fetch(self._sql[name], *values))

    async def fetchrow(self, name: str, *values: object) -> Any:
        """The first row of a query, or None."""
        with translating_errors():
            return await self._executor.fetchrow(self._sql[name], *values)

    async def fetchval(self, name: str, *values: object) -> Any:
        """The first column of the first row of a query, or None."""
        with translating_errors():
            return await self._executor.fetchval(self._sql[name], *values)

    async def execute(self, name: str, *values: object, timeout_s: float | None = None) -> int:
        """Runs a query that returns nothing; returns the number of rows that it inserted, changed, or deleted."""
        with translating_errors():
            status: str = await self._executor.execute(self._sql[name], *values, timeout=timeout_s)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def executemany(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """Runs a query once for each row of values."""
        with translating_errors():
            await self._executor.executemany(self._sql[name], rows)


class Database(QueryRunner):
    """PostgreSQL behind a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[QueryRunner]:
        """One connection for several queries. Its session-level locks are released with it."""
        async with self._acquired() as connection:
            yield QueryRunner(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[QueryRunner]:
        """One connection in a transaction, which an exception rolls back."""
        async with self._acquired() as connection:
            transaction = connection.transaction()
            with translating_errors():
                await transaction.start()
            try:
                yield QueryRunner(connection)
            except BaseException:
                with translating_errors():
                    await transaction.rollback()
                raise
            with translating_errors():
                await transaction.commit()

    async def close(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Closes all connections; those still busy after `timeout_s` are terminated."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        with translating_errors():
            connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            with translating_errors():
                await self._pool.release(connection)


@contextmanager
def translating_errors() -> Iterator[None]:
    """Replaces asyncpg's errors with Airtrace's own; the originals remain as the cause."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"another row has the same key ({_message(error)})") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise RowDeleted(f"a row that the new one refers to was just deleted ({_message(error)})") from error
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise RejectedValue(f"PostgreSQL does not store this value ({_message(error)})") from error
    except UNREACHABLE as error:
        raise DependencyError("PostgreSQL does not answer") from error
    except asyncpg.PostgresError as error:
        raise QueryFailed(f"PostgreSQL could not run a query ({_message(error)})") from error


def _message(error: asyncpg.PostgresError) -> str:
    """Without the detail, which quotes the row."""
    return str(error).partition("\n")[0]


@asynccontextmanager
async def open_database(
    dsn: str,
    max_connections: int,
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    idle_transaction_s: float = IDLE_TRANSACTION_S,
) -> AsyncIterator[Database]:
    """Connects to PostgreSQL and brings the schema up to date.

    Raises:
        DependencyError: PostgreSQL is unreachable (the message never contains the password).
        HomeTooNew: a newer version of Airtrace created this database.
    """
    database = Database(await _pool(dsn, max_connections, connect_timeout_s, idle_transaction_s))
    try:
        async with database._acquired() as connection:
            try:
                await migrate(connection)
            except asyncpg.PostgresError as error:
                raise DependencyError(
                    f"PostgreSQL refuses to create or update the schema ({error}): check the user's privileges"
                ) from error
        yield database
    finally:
        await database.close(connect_timeout_s)


async def _pool(dsn: str, max_connections: int, connect_timeout_s: float, idle_transaction_s: float) -> asyncpg.Pool:
    # It logs a traceback for each connection that it fails to open in advance; whoever needs one logs one line instead.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=max_connections,
            init=_set_codecs,
            command_timeout=COMMAND_TIMEOUT_S,
            timeout=connect_timeout_s,
            server_settings={"idle_in_transaction_session_timeout": f"{round(idle_transaction_s * 1000)}ms"},
        )
    except ValueError:  # its text quotes parts of the DSN, and so may the traceback
        raise DependencyError(
            "PostgreSQL cannot be reached: the DSN is not valid; write postgresql://user:password@host:5432/database, "
            "with %40 for @, %2F for / and the like in the password"
        ) from None
    except (asyncpg.PostgresError, *UNREACHABLE) as error:
        reason = redact_text(str(error), dsn) or type(error).__name__
        raise DependencyError(
            f"PostgreSQL cannot be reached ({reason}): check that it is running, or set AIRTRACE_DATABASE__DSN"
        ) from error


async def migrate(connection: Any, steps: Sequence[tuple[int, str]] | None = None) -> None:
    """Applies the missing migrations, each in its own transaction, under an advisory lock.

    Args:
        connection: an asyncpg connection.
        steps: number and SQL of each migration, in order; those of this version if not given.

    Raises:
        HomeTooNew: a newer version of Airtrace created this database.
    """
    known = migrations() if steps is None else steps
    await connection.execute("select pg_advisory_lock($1)", MIGRATION_LOCK, timeout=LOCK_TIMEOUT_S)
    try:
        await connection.execute("create table if not exists schema_version (version integer primary key)")
        current = await connection.fetchval("select coalesce(max(version), 0) from schema_version")
        newest = known[-1][0]
        if current > newest:
            raise HomeTooNew(
                f"the database was made by a newer Airtrace (schema {current}, this one knows {newest}): upgrade"
            )
        for version, text in known:
            if version > current:
                async with connection.transaction():
                    await connection.execute(text, timeout=LOCK_TIMEOUT_S)
                    await connection.execute("insert into schema_version values ($1)", version)
    finally:
        await connection.execute("select pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _set_codecs(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )
