"""Records of a process that has lost its lease change nothing, whenever they arrive and however often they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
from prometheus_client import REGISTRY

from ingest.bus.spool import Spool
from ingest.wire import GapReason, Record
from monitor.matching.matcher import Matcher
from monitor.storage.storage import Storage
from tests.songs import Air, Songs, seconds
from tests.workers import a_stream, publish, quick_worker, work_off

STORED = (
    "select stream_id, track_id, state, starts, ends, track_starts, score_sum, scored from matches order by 1, 4",
    "select stream_id, starts, ends, state, reason from coverage order by 1, 2",
    "select stream_id, position, epoch from progress order by 1",
)


def under(epoch: int, records: Sequence[Record]) -> list[Record]:
    """The records as they are published under a lease."""
    return [replace(record, epoch=epoch) for record in records]


async def stored(dsn: str, stream: int) -> list[list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = [await connection.fetch(query) for query in STORED]
    finally:
        await connection.close()
    return [[tuple(row)[1:] for row in rows if row["stream_id"] == stream] for rows in found]


def fenced(stream: int) -> float:
    """How many records were discarded, in all tests."""
    return REGISTRY.get_sample_value("airtrace_worker_fenced_total", {"stream": str(stream)}) or 0


def takeover(stream: int, songs: Songs) -> tuple[list[Record], list[Record], list[Record]]:
    """Records of one holder, those that it still sends after it has lost the stream, and those of the next holder."""
    air = Air(stream)
    before = under(1, air.play(songs.one[: seconds(12)]))
    # Its clock is ahead: if these records were processed, they would hide the others.
    stale = Air(stream, air.clock + seconds(60), sessions=50)
    late = under(1, [*stale.play(songs.two[: seconds(6)]), *stale.gap(3, GapReason.STALLED)])
    after = under(2, [*air.gap(4, GapReason.STOPPED), *air.play(songs.one[seconds(16) : seconds(28)])])
    after += under(2, air.play(songs.silence[: seconds(14)]))
    return before, late, after


async def test_records_of_an_older_epoch_are_discarded_once_a_newer_one_has_come(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, songs: Songs, one: int
) -> None:
    clean, spoiled = await a_stream(storage, "clean"), await a_stream(storage, "spoiled")
    counted = fenced(clean), fenced(spoiled)
    before, _, after = takeover(clean, songs)
    await publish(spool, [*before, *after])
    before, late, after = takeover(spoiled, songs)
    await publish(spool, [*before, after[0], *late[:2], after[1], *late[2:], *after[2:], *late])
    await work_off(quick_worker(spool, storage, matcher), spool)
    found = await stored(dsn, spoiled)
    assert found == await stored(dsn, clean)
    assert [(row[0], row[1]) for row in found[0]] == [(one, "closed")]
    assert found[2][0][1] == 2
    assert (fenced(clean) - counted[0], fenced(spoiled) - counted[1]) == (0, 2 * len(late))


async def test_a_restarted_worker_still_knows_the_newest_epoch_and_its_last_minute(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, songs: Songs, one: int
) -> None:
    """Replayed records from before the takeover restore its memory; late ones of that holder are discarded."""
    clean, spoiled = await a_stream(storage, "clean"), await a_stream(storage, "spoiled")
    counted = fenced(clean), fenced(spoiled)
    before, _, after = takeover(clean, songs)
    await publish(spool, [*before, *after[:4]])
    others, late, following = takeover(spoiled, songs)
    await publish(spool, [*others, *following[:4]])
    await work_off(quick_worker(spool, storage, matcher), spool)
    await publish(spool, [*after[4:], *late, *following[4:]])
    await work_off(quick_worker(spool, storage, matcher), spool)
    assert await stored(dsn, spoiled) == await stored(dsn, clean)
    assert (fenced(clean) - counted[0], fenced(spoiled) - counted[1]) == (0, len(late))
