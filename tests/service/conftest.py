"""Real parts for the tests of the matching half: one PostgreSQL a session, Milvus Lite a test, the demo's music."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.local import postgres
from monitor.matching.matcher import Matcher
from monitor.settings import MatchingSettings
from monitor.storage import milvus as index_module
from monitor.storage.database import migrate
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage, open_storage
from tests import songs as sounds

MAX_POOL = 8
NAMED = "AIRTRACE_TEST_POSTGRES"
EMPTY = """
    do $$ begin
        perform pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid();
        execute (
            select 'truncate ' || string_agg(quote_ident(tablename), ', ') || ' restart identity'
            from pg_tables where schemaname = 'public' and tablename <> 'schema_version'
        );
    end $$
"""

# PostgreSQL


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgresql() -> AsyncIterator[str]:
    """DSN of a server's first database: the one that is named, or one of our own."""
    if named := os.environ.get(NAMED):
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="airtrace-test-") as folder:
        async with postgres.embedded(Path(folder)) as dsn:
            yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(postgresql: str) -> AsyncIterator[str]:
    """A database with our schema that the tests have in turn: to make one for each takes longer than most tests."""
    async with _own_database(postgresql) as dsn:
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.close()
        yield dsn


@pytest.fixture
async def dsn(migrated: str) -> str:
    """A database with our schema and nothing in it."""
    await _execute(migrated, EMPTY)
    return migrated


@pytest.fixture
async def empty_dsn(postgresql: str) -> AsyncIterator[str]:
    """A database of this test's own that nobody has migrated."""
    async with _own_database(postgresql) as dsn:
        yield dsn


@asynccontextmanager
async def _own_database(server: str) -> AsyncIterator[str]:
    name = f"airtrace_test_{uuid.uuid4().hex[:12]}"
    await _execute(server, f"create database {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    if os.environ.get(NAMED):  # our own server ends with the tests, and dropping takes longer than making
        await _execute(server, f"drop database {name} (force)")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[Storage]:
    async with open_storage(dsn, MAX_POOL) as opened:
        yield opened


# The catalog


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="session")
def detector() -> LogMelDetector:
    return LogMelDetector()


@pytest.fixture
async def index(tmp_path: Path, detector: LogMelDetector) -> AsyncIterator[Index]:
    """Milvus Lite on a file of this test's own."""
    async with index_module.open_index(str(tmp_path / "milvus.db"), None, detector.info) as opened:
        yield opened


@pytest.fixture
def catalog(storage: Storage, index: Index, detector: LogMelDetector, executor: Executor) -> Catalog:
    return Catalog(storage, index, detector, executor)


@pytest.fixture
def matcher(storage: Storage, index: Index, detector: LogMelDetector, executor: Executor) -> Matcher:
    return Matcher(detector, index, storage, executor, MatchingSettings(), detector.thresholds)


# Music


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def songs() -> sounds.Songs:
    return await sounds.songs()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test opens on its way."""
    async with AsyncExitStack() as exits:
        yield exits
