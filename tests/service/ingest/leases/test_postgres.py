"""Leases in a real PostgreSQL: shared fairly, taken over in time, never held twice, given up at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.leases.assignment import Stream
from ingest.leases.lease import LeaseTiming
from ingest.leases.postgres import LeasedStreams

TAKEOVER_S = 6.0  # with less, a busy machine lets leases expire between two turns
TIMING = LeaseTiming.within(TAKEOVER_S, 0.1)
DEADLINE_S = 60


class Process:
    """Does what the supervisor does: takes turns, and runs exactly the readers that it should."""

    def __init__(self, dsn: str, timing: LeaseTiming = TIMING) -> None:
        self.leases = LeasedStreams(dsn, timing)
        self.reading: dict[int, Stream] = {}

    async def turn(self, *, is_leaving: bool = False) -> set[int]:
        wanted = await self.leases.read(self.reading.keys(), is_leaving=is_leaving)
        if wanted is not None:
            self.reading = {} if is_leaving else wanted
        return set(self.reading)

    @property
    def may_publish(self) -> set[int]:
        return {stream for stream, read in self.reading.items() if read.lease.is_valid}


@pytest.fixture
async def processes(dsn: str) -> AsyncIterator[list[Process]]:
    made = [Process(dsn) for _ in range(3)]
    yield made
    for process in made:
        process.leases.close()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def add_streams(dsn: str, count: int) -> list[int]:
    async with connected(dsn) as connection:
        rows = await connection.fetch(
            "insert into streams (name, url) select 'radio ' || n, 'http://radio.example/' || n"
            " from generate_series(1, $1) n returning id",
            count,
        )
    return [row["id"] for row in rows]


async def turns(processes: list[Process], times: int) -> None:
    for _ in range(times):
        for process in processes:
            await process.turn()


async def turns_until(processes: list[Process], truth: Callable[[], bool]) -> None:
    """On a busy machine a turn may fail."""
    async with asyncio.timeout(DEADLINE_S):
        while not truth():
            await turns(processes, 1)
            await asyncio.sleep(TIMING.turn_s)


async def test_one_process_reads_all_streams_and_each_that_joins_takes_its_share(
    dsn: str, processes: list[Process]
) -> None:
    streams = set(await add_streams(dsn, 10))
    one, two, _ = processes
    assert await one.turn() == streams
    await turns([one, two], 3)
    assert (len(one.reading), len(two.reading)) == (5, 5)
    kept = set(one.reading) & set(two.reading)
    assert not kept
    await turns(processes, 4)
    assert sorted(len(process.reading) for process in processes) == [3, 3, 4]
    assert set.union(*(set(process.reading) for process in processes)) == streams
    before = [set(process.reading) for process in processes]
    await turns(processes, 3)
    assert [set(process.reading) for process in processes] == before, "nothing moves without a reason"


async def test_a_process_that_leaves_gives_up_at_once_what_it_has_stopped_reading(
    dsn: str, processes: list[Process]
) -> None:
    streams = set(await add_streams(dsn, 4))
    one, two, _ = processes
    await turns([one, two], 3)
    last = min(two.reading)
    ours = set(two.reading)
    two.reading = {last: two.reading[last]}  # the other reader has ended, this one publishes its rest
    await two.leases.read(two.reading.keys(), is_leaving=True)
    assert two.may_publish == {last}, "it may publish while it drains"
    assert await one.turn() == streams - {last}
    two.reading = {}
    await two.turn(is_leaving=True)
    assert await one.turn() == streams
    assert ours < streams


async def test_the_streams_of_a_dead_process_are_taken_over_in_time_and_not_before(
    dsn: str, processes: list[Process]
) -> None:
    streams = set(await add_streams(dsn, 4))
    one, two, _ = processes
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + TIMING.length_s + 0.2:  # long enough that each knows that the other is alive
        await turns([one, two], 1)
        await asyncio.sleep(TIMING.turn_s)
    assert len(two.reading) == 2
    two.leases.close()
    died_s = time.monotonic()
    while await one.turn() != streams:
        assert time.monotonic() < died_s + TAKEOVER_S + 3  # for a busy machine
        assert not set(one.reading) & two.may_publish
        await asyncio.sleep(TIMING.turn_s)
    assert time.monotonic() >= died_s + TIMING.length_s - 3 * TIMING.turn_s
    assert two.may_publish == set()
    async with connected(dsn) as connection:
        epochs = dict(await connection.fetch("select stream_id, epoch from leases"))
    assert all(epochs[stream] > two.reading[stream].lease.epoch for stream in two.reading)
    assert all(one.reading[stream].lease.epoch == epochs[stream] for stream in streams)


async def test_a_paused_process_may_no_longer_publish_and_loses_its_streams(dsn: str, processes: list[Process]) -> None:
    streams = set(await add_streams(dsn, 2))
    one, two, _ = processes
    await turns([one, two], 3)
    (paused,) = two.reading
    lease = two.reading[paused].lease
    begun_s = time.monotonic()
    while await one.turn() != streams:
        assert time.monotonic() < begun_s + DEADLINE_S
        await asyncio.sleep(TIMING.turn_s)
    assert not lease.is_valid
    with capture_logs() as logs:
        await two.turn()
    assert lease.is_revoked
    assert paused not in two.reading
    assert {"change": "lost", "stream": paused, "epoch": lease.epoch} in [
        {name: entry.get(name) for name in ("change", "stream", "epoch")} for entry in logs
    ]


async def test_a_process_paused_in_the_middle_of_a_turn_blocks_no_takeover(dsn: str, processes: list[Process]) -> None:
    streams = set(await add_streams(dsn, 2))
    one, two, _ = processes
    await turns([one, two], 3)
    connection = one.leases._connection._connection
    assert connection is not None
    await connection.execute("begin")
    await connection.execute("update leases set epoch = epoch where holder = $1", one.leases._id)
    begun_s = time.monotonic()
    while await two.turn() != streams:
        assert time.monotonic() < begun_s + DEADLINE_S
        await asyncio.sleep(TIMING.turn_s)
    assert one.may_publish == set()
    await one.turn()  # the server has ended its connection
    await turns([one, two], 3)
    assert len(one.reading) == 1


async def test_while_the_database_is_away_leases_expire_and_each_process_gets_its_own_back(
    dsn: str, processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_streams(dsn, 6)
    one, two, _ = processes
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + TIMING.length_s + 0.2:
        await turns([one, two], 1)
        await asyncio.sleep(TIMING.turn_s)
    before = [dict(one.reading), dict(two.reading)]

    async def refused(*_: object) -> asyncpg.Connection:
        raise ConnectionRefusedError("away")

    with monkeypatch.context() as away:
        away.setattr("asyncpg.connect", refused)
        for process in (one, two):
            process.leases.close()
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + TIMING.length_s + 0.5:
            await turns([one, two], 1)
            await asyncio.sleep(TIMING.turn_s)
    assert one.may_publish == two.may_publish == set(), "they stop of their own accord"
    await turns_until([one], lambda: bool(one.may_publish))
    assert one.may_publish == set(before[0]), "it takes none of the other's, which could not renew either"
    await turns_until([two], lambda: bool(two.may_publish))
    for process, reading in zip((one, two), before, strict=True):
        assert process.reading == reading, "the same leases: queued records are published"
        async with connected(dsn) as connection:
            epochs = dict(await connection.fetch("select stream_id, epoch from leases"))
        assert {stream: read.lease.epoch for stream, read in reading.items()} == {
            stream: epochs[stream] for stream in reading
        }


async def test_a_stream_that_is_removed_is_released_once_its_reader_has_ended(
    dsn: str, processes: list[Process]
) -> None:
    gone, stays = await add_streams(dsn, 2)
    one = processes[0]
    await one.turn()
    async with connected(dsn) as connection:
        await connection.execute("update streams set enabled = false, removed_at = now() where id = $1", gone)
        assert await one.turn() == {stays}  # its reader ends
        await one.turn()
        assert await connection.fetchval("select holder from leases where stream_id = $1", gone) is None
        assert await connection.fetchval("select holder from leases where stream_id = $1", stays) is not None


async def test_a_lease_whose_answer_was_lost_is_found_by_the_next_turn(dsn: str, processes: list[Process]) -> None:
    (stream,) = await add_streams(dsn, 1)
    one = processes[0]
    await one.turn()
    one.reading = {}
    one.leases._leases.clear()  # as after a turn whose answer was lost
    assert await one.turn() == {stream}
    assert one.may_publish == {stream}


async def test_whatever_happens_no_stream_may_be_published_by_two(dsn: str) -> None:
    """Seeded chaos: concurrent turns, pauses longer than a lease, deaths and births; watched all the time."""
    rng = random.Random(6)
    timing = LeaseTiming.within(1.0, 0.1)
    streams = await add_streams(dsn, 7)
    alive: list[Process] = [Process(dsn, timing) for _ in range(3)]
    everyone, epochs = list(alive), dict.fromkeys(streams, 0)
    over = asyncio.Event()

    def look() -> None:
        for stream in streams:
            holders = [process for process in everyone if stream in process.may_publish]
            assert len(holders) <= 1
            for holder in holders:
                epoch = holder.reading[stream].lease.epoch
                assert epoch >= epochs[stream], "an older epoch after a newer one"
                epochs[stream] = epoch

    async def live(process: Process) -> None:
        while not over.is_set():
            await process.turn()
            look()
            chance = rng.random()
            if chance < 0.05:  # dies; another is born
                process.leases.close()
                born = Process(dsn, timing)
                everyone.append(born)
                group.create_task(live(born), name="born")
                return
            await asyncio.sleep(rng.uniform(1.2, 1.6) if chance < 0.1 else rng.uniform(0, 0.2))
            look()

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for process in alive:
            group.create_task(live(process), name="process")
        await asyncio.sleep(6)  # of chaos; more on a machine that is too busy for it
        while len(everyone) == 3 or min(epochs.values()) < 3:  # noqa: ASYNC110 - many tasks take part in it
            await asyncio.sleep(0.1)
        over.set()
    for process in everyone:
        process.leases.close()


async def test_leases_and_their_changes_are_counted(dsn: str, processes: list[Process]) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    before = value("airtrace_ingest_lease_changes_total", change="claimed")
    await add_streams(dsn, 3)
    await processes[0].turn()
    assert value("airtrace_ingest_leases") == 3
    assert value("airtrace_ingest_lease_changes_total", change="claimed") == before + 3
    processes[0].reading = {}
    await processes[0].turn(is_leaving=True)
    assert value("airtrace_ingest_leases") == 0
