"""The database: migrations, connection errors, and the translation of asyncpg's errors."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from monitor.errors import Conflict, DependencyError, HomeTooNew, QueryFailed, RejectedValue, RowDeleted, with_cause
from monitor.storage.database import Database, migrate, open_database
from monitor.storage.sql import migrations
from monitor.storage.storage import open_storage
from tests.service.storage.samples import SECOND, START, rows


async def test_migrating_twice_changes_nothing(empty_dsn: str) -> None:
    for _ in range(2):
        connection = await asyncpg.connect(empty_dsn)
        await migrate(connection)
        await connection.close()
    assert await rows(empty_dsn, "select version from schema_version order by 1") == [(n,) for n, _ in migrations()]


async def test_several_processes_may_migrate_at_the_same_time(empty_dsn: str) -> None:
    connections = [await asyncpg.connect(empty_dsn) for _ in range(4)]
    await asyncio.gather(*(migrate(connection) for connection in connections))
    assert await rows(empty_dsn, "select version from schema_version order by 1") == [(n,) for n, _ in migrations()]
    for connection in connections:
        await connection.close()


async def test_stored_rows_survive_the_newer_migrations(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await migrate(connection, migrations()[:1])
    await connection.execute("insert into streams (name, url) values ('radio-one', 'http://radio.example/')")
    await migrate(connection)
    await connection.close()
    async with open_storage(empty_dsn, 2) as storage:
        assert [stream.name for stream in await storage.streams.list()] == ["radio-one"]


async def test_a_database_of_a_newer_version_is_refused(empty_dsn: str) -> None:
    await rows(empty_dsn, "create table schema_version (version integer primary key)")
    await rows(empty_dsn, "insert into schema_version values (9999)")
    with pytest.raises(HomeTooNew, match="schema 9999"):
        async with open_storage(empty_dsn, 2):
            pass


async def test_a_user_without_the_privilege_to_create_tables_gets_a_clear_error(empty_dsn: str) -> None:
    await rows(empty_dsn, "revoke create on schema public from public")
    role = f"reader_{uuid.uuid4().hex[:12]}"
    await rows(empty_dsn, f"create role {role} login password 'pw'")
    try:
        host = empty_dsn.rpartition("@")[2]
        with pytest.raises(DependencyError, match="permission denied"):
            async with open_storage(f"postgresql://{role}:pw@{host}", 2):
                pass
    finally:
        await rows(empty_dsn, f"drop role {role}")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://someone:hunter2@127.0.0.1:1/db",  # nothing listens there
        "postgresql://someone:hun/ter2@127.0.0.1:1/db",  # what follows the colon is taken for a port
        "postgresql://someone:hunter2@127.0.0.1:hunter2/db",
        "mysql://someone:hunter2@127.0.0.1/db",
        "hunter2",
    ],
)
async def test_the_password_of_a_dsn_is_never_in_the_error(dsn: str) -> None:
    with pytest.raises(DependencyError, match="PostgreSQL cannot be reached") as caught:
        async with open_storage(dsn, 2):
            pass
    for secret in ("hunter2", "hun", "ter2"):
        assert secret not in str(caught.value)


async def test_a_wrong_password_is_reported_but_not_shown(postgresql: str) -> None:
    user, _, rest = postgresql.partition("//")[2].partition(":")
    wrong = f"postgresql://{user}:hunter2@{rest.rpartition('@')[2]}"
    with pytest.raises(DependencyError, match="password authentication failed") as caught:
        async with open_storage(wrong, 2):
            pass
    assert "hunter2" not in str(caught.value)


# Errors

UNANSWERED = re.escape("PostgreSQL does not answer")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with open_database(dsn, 2) as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("stream_insert", ("a\x00b", "http://radio.example/")),
        ("stream_insert", ("\ud800", "http://radio.example/")),
        ("stream_insert", ("", "http://radio.example/")),  # the schema wants one character
        ("stream_exists", (2**63,)),
        ("stream_exists", ("one",)),
    ],
)
async def test_a_value_that_postgresql_does_not_store_is_rejected(
    database: Database, query: str, values: tuple[object, ...]
) -> None:
    with pytest.raises(RejectedValue, match="does not store this value"):
        await database.fetchval(query, *values)


async def test_a_rejected_row_is_not_quoted(database: Database) -> None:
    with pytest.raises(RejectedValue) as caught:
        await database.execute("stream_insert", "", "http://radio.example/hunter2")
    assert "hunter2" not in str(caught.value)


async def test_a_second_row_with_the_same_key_is_a_conflict(database: Database) -> None:
    await database.execute("stream_insert", "radio-one", "http://radio.example/")
    values = (1, "covered", START, START + SECOND, None)
    await database.execute("coverage_insert", *values)
    with pytest.raises(Conflict) as caught:
        await database.execute("coverage_insert", *values)
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)


async def test_a_row_that_refers_to_a_missing_one_is_an_error_of_its_own(database: Database) -> None:
    with pytest.raises(RowDeleted):
        await database.execute("coverage_insert", 999, "covered", START, START + SECOND, None)


async def test_a_query_that_postgresql_cannot_run_is_a_failed_query(database: Database, dsn: str) -> None:
    await rows(dsn, "alter table streams rename to streams_gone")
    try:
        with pytest.raises(QueryFailed, match="streams") as caught:
            await database.fetch("streams")
    finally:
        await rows(dsn, "alter table streams_gone rename to streams")
    assert (caught.value.status, DependencyError("").status) == (500, 503)


async def test_a_closed_database_does_not_answer(database: Database) -> None:
    await database.close()
    with pytest.raises(DependencyError, match=UNANSWERED) as caught:
        await database.fetch("streams")
    assert with_cause(caught.value) == "PostgreSQL does not answer: pool is closed"


async def test_a_lost_connection_ends_the_transaction_as_an_unreachable_database(database: Database, dsn: str) -> None:
    idle = "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'"

    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute("stream_insert", "radio-one", "http://radio.example/")
            await rows(dsn, idle)
            await connection.fetch("streams")

    with pytest.raises(DependencyError, match=UNANSWERED):
        await write()
    assert await database.fetch("streams") == []


async def test_an_error_of_the_caller_passes_through_a_transaction_unchanged(database: Database) -> None:
    error = ConnectionResetError("a bus, not the database")

    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute("stream_insert", "radio-one", "http://radio.example/")
            raise error

    with pytest.raises(ConnectionResetError) as caught:
        await write()
    assert caught.value is error
    assert await database.fetch("streams") == []


async def test_execute_counts_the_rows(database: Database) -> None:
    assert await database.execute("stream_insert", "radio-one", "http://radio.example/") == 1
    assert await database.execute("stream_insert", "radio-one", "http://radio.example/") == 0
    assert await database.execute("track_delete", 999) == 0
