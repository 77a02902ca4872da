"""Real parts for the tests of the matching half: one PostgreSQL per run, one Milvus Lite per test, the demo's music."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.local import servers
from monitor.matching.matcher import Matcher
from monitor.settings import MatchingSettings
from monitor.storage import milvus as index_module
from monitor.storage.database import migrate
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage, open_storage
from tests import shared
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


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> str:
    """DSN of the server that AIRTRACE_TEST_POSTGRES names, or of one that all workers of the run share."""
    if named := os.environ.get(NAMED):
        return named
    dsn: str = shared.server(shared.run_folder(tmp_path_factory), "postgresql", _postgresql)["dsn"]
    return dsn


@contextmanager
def _postgresql(folder: Path) -> Iterator[dict[str, Any]]:
    server, dsn = servers.postgresql(folder)
    # Connections of all workers; and nothing here has to survive a power cut, so nothing waits for the disk.
    server.command = [*server.command, "-c", "max_connections=300", "-c", "fsync=off"]
    with server:
        yield {"dsn": dsn}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(postgresql: str) -> AsyncIterator[str]:
    """A database with our schema that a worker's tests use in turn: creating one takes longer than most tests."""
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
    """A database of this test's own, without our schema."""
    async with _own_database(postgresql) as dsn:
        yield dsn


@asynccontextmanager
async def _own_database(server: str) -> AsyncIterator[str]:
    name = f"airtrace_test_{uuid.uuid4().hex[:12]}"
    await _execute(server, f"create database {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    if os.environ.get(NAMED):  # our own server is thrown away, and dropping takes longer than creating
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
