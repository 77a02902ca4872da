"""What a process sends that has lost its stream changes nothing, whenever it comes, and however often it is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from ingest.bus.spool import Spool
from ingest.wire import GapReason, Record
from monitor.catalog.catalog import Catalog
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.songs import Air, Songs, seconds, written

DEADLINE_S = 60
STORED = (
    "select stream_id, track_id, state, starts, ends, track_starts, score_sum, scored from matches order by 1, 4",
    "select stream_id, starts, ends, state, reason from coverage order by 1, 2",
    "select stream_id, position, epoch from progress order by 1",
)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(tmp_path / "spool", 64) as opened:
        yield opened


@pytest.fixture
async def one(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    path = written(tmp_path / "one.wav", songs.one)
    return (await catalog.add(path, Metadata("One", str(path)))).track.id


def under(epoch: int, records: Sequence[Record]) -> list[Record]:
    """The records as they are published under a claim."""
    return [replace(record, epoch=epoch) for record in records]


async def work_off(worker: Worker, bus: Spool) -> None:
    task = asyncio.create_task(worker.run(), name="worker")
    deadline_s = time.monotonic() + DEADLINE_S
    try:
        while bus.committed < bus.next_offset:
            assert time.monotonic() < deadline_s, "it is not worked off"
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def stored(dsn: str, stream: int) -> list[list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = [await connection.fetch(query) for query in STORED]
    finally:
        await connection.close()
    return [[tuple(row)[1:] for row in rows if row["stream_id"] == stream] for rows in found]


def fenced(stream: int) -> float:
    """How many records were left out, in all tests."""
    return REGISTRY.get_sample_value("airtrace_worker_fenced_total", {"stream": str(stream)}) or 0


async def a_stream(storage: Storage, name: str) -> int:
    stream = await storage.streams.add(name, "http://radio.example/a.mp3")
    assert stream is not None
    return stream


def takeover(stream: int, songs: Songs) -> tuple[list[Record], list[Record], list[Record]]:
    """What one holder sends, what it still sends when another has the stream, and what that one sends."""
    air = Air(stream)
    before = under(1, air.play(songs.one[: seconds(12)]))
    stale = Air(stream, air.clock + seconds(60), sessions=50)  # its clock is ahead: taken, it would hide the others
    late = under(1, [*stale.play(songs.two[: seconds(6)]), *stale.gap(3, GapReason.STALLED)])
    after = under(2, [*air.gap(4, GapReason.STOPPED), *air.play(songs.one[seconds(16) : seconds(28)])])
    after += under(2, air.play(songs.silence[: seconds(14)]))
    return before, late, after


async def test_an_older_epoch_s_records_are_left_out_once_a_newer_one_has_come(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, songs: Songs, one: int
) -> None:
    clean, spoiled = await a_stream(storage, "clean"), await a_stream(storage, "spoiled")
    counted = fenced(clean), fenced(spoiled)
    before, _, after = takeover(clean, songs)
    for record in [*before, *after]:
        await spool.publish(record)
    before, late, after = takeover(spoiled, songs)
    for record in [*before, after[0], *late[:2], after[1], *late[2:], *after[2:], *late]:
        await spool.publish(record)
    await work_off(Worker(spool, storage, matcher), spool)
    found = await stored(dsn, spoiled)
    assert found == await stored(dsn, clean)
    assert [(row[0], row[1]) for row in found[0]] == [(one, "closed")]
    assert found[2][0][1] == 2
    assert (fenced(clean) - counted[0], fenced(spoiled) - counted[1]) == (0, 2 * len(late))


async def test_a_worker_that_starts_anew_still_knows_the_newest_epoch_and_its_last_minute(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, songs: Songs, one: int
) -> None:
    """What it reads again from before the takeover is its memory; what comes late of that holder is nothing."""
    clean, spoiled = await a_stream(storage, "clean"), await a_stream(storage, "spoiled")
    counted = fenced(clean), fenced(spoiled)
    before, _, after = takeover(clean, songs)
    for record in [*before, *after[:4]]:
        await spool.publish(record)
    others, late, following = takeover(spoiled, songs)
    for record in [*others, *following[:4]]:
        await spool.publish(record)
    await work_off(Worker(spool, storage, matcher), spool)
    for record in [*after[4:], *late, *following[4:]]:
        await spool.publish(record)
    await work_off(Worker(spool, storage, matcher), spool)
    assert await stored(dsn, spoiled) == await stored(dsn, clean)
    assert (fenced(clean) - counted[0], fenced(spoiled) - counted[1]) == (0, len(late))
