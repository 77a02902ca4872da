"""The worker over a real bus, database, index and music: what it writes is right, and is written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ingest.bus.port import Delivery
from ingest.bus.spool import Spool
from ingest.wire import GapReason
from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.matching.load.backlog import BacklogMonitor
from monitor.matching.matcher import Matcher
from monitor.settings import BacklogPolicy, MatchingSettings
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage
from tests.fakes import MemoryBus, Patched
from tests.songs import ANCHOR, Air, Songs, seconds
from tests.waiting import PATIENCE_S, until
from tests.workers import a_stream, publish, quick_worker, rows, stored, work_off, working

SECOND = seconds(1)


# What is found


async def test_a_match_opens_extends_and_closes_at_the_right_times(
    storage: Storage, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    worker = quick_worker(spool, storage, matcher)
    async with working(worker):
        await publish(spool, air.play(songs.one[5 * SECOND : 17 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
        [opened] = await storage.matches.list()
        await publish(spool, air.play(songs.one[17 * SECOND : 27 * SECOND], first_sample=0))
        await until(lambda: spool.committed == spool.next_offset)
        [extended] = await storage.matches.list()
        await publish(spool, air.play(songs.unknown[: 16 * SECOND]), air.play(songs.silence[: 10 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
        [closed] = await storage.matches.list()
    assert (opened.state, extended.state, closed.state) == ("open", "open", "closed")
    assert opened.id == extended.id == closed.id
    assert opened.ends < extended.ends
    assert closed.track["id"] == one
    assert closed.track_start_s == pytest.approx(5, abs=1)
    assert closed.track_end_s == pytest.approx(27, abs=1)
    assert closed.starts == pytest.approx(ANCHOR, abs=SECOND)
    assert closed.ends == pytest.approx(ANCHOR + 22 * SECOND, abs=SECOND)
    assert closed.score > 0.9
    [alert] = await storage.alerts.list()
    assert (alert.match_id, alert.track) == (closed.id, closed.track)
    [covered] = await storage.coverage.list()
    assert (covered.starts, covered.ends, covered.state) == (ANCHOR, air.clock, "covered")


async def test_unknown_music_and_silence_match_nothing(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    bus = MemoryBus([*air.play(songs.unknown), *air.play(songs.silence[: 10 * SECOND]), *air.play(songs.two)])
    await work_off(quick_worker(bus, storage, matcher), bus)
    assert await storage.matches.list() == []


@pytest.mark.parametrize(("size", "window_s"), [(1, 2.0), (64, 2.0), (3, 0.7), (2, 5.0)])
async def test_the_rows_depend_neither_on_window_lengths_nor_on_batches(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, size: int, window_s: float
) -> None:
    other = await a_stream(storage, "radio-two")
    for stream_id, batch, length_s in ((stream, 5, 2.0), (other, size, window_s)):
        air = Air(stream_id)
        records = [
            *air.play(songs.one[3 * SECOND : 15 * SECOND], length_s),
            *air.gap(2.5, GapReason.STALLED),
            *air.play(songs.one[round(17.5 * SECOND) : 25 * SECOND], length_s),
            *air.play(songs.unknown[: 9 * SECOND], length_s),
            *air.gap(1),
        ]
        bus = MemoryBus(records, batch)
        await work_off(quick_worker(bus, storage, matcher), bus)
    matches, coverage, _ = await stored(dsn)
    by_stream = [[row[1:] for row in matches if row[0] == each] for each in (stream, other)]
    assert len(by_stream[0]) == 1
    assert by_stream[0] == by_stream[1]
    assert [row[1:] for row in coverage if row[0] == stream] == [row[1:] for row in coverage if row[0] == other]


# Audio that comes twice


async def test_records_that_a_new_worker_reads_again_change_nothing(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    await publish(spool, air.play(songs.one[: 16 * SECOND]), air.gap(1), air.play(songs.unknown[: 4 * SECOND]))
    await work_off(quick_worker(spool, storage, matcher), spool)
    before = [await stored(dsn), await rows(dsn, "select * from matches"), await rows(dsn, "select * from progress")]
    again = MemoryBus([delivery.record async for delivery in everything(spool)])
    await work_off(quick_worker(again, storage, matcher), again)
    after = [await stored(dsn), await rows(dsn, "select * from matches"), await rows(dsn, "select * from progress")]
    assert after == before
    assert len(before[1]) == 1


async def everything(spool: Spool) -> AsyncIterator[Delivery]:
    async def from_the_start(partition: int) -> int:
        return 0

    async for batch in spool.deliveries(from_the_start):
        for delivery in batch:
            yield delivery
        if batch[-1].offset + 1 == spool.next_offset:
            return


@pytest.mark.parametrize("where", ["before the write", "after the write", "before the commit"])
async def test_a_kill_at_any_step_changes_nothing(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, where: str
) -> None:
    """A worker that is killed again and again stores the same for one stream as an undisturbed one for another."""
    other = await a_stream(storage, "radio-two")
    for stream_id in (stream, other):
        air = Air(stream_id)
        records = [*air.play(songs.one[: 20 * SECOND]), *air.play(songs.unknown[: 8 * SECOND])]
        bus = MemoryBus(records, 3)
        if stream_id == other:
            for batches in (2, 0, 0):
                await killed(bus, storage, matcher, where, batches)
        await work_off(quick_worker(bus, storage, matcher), bus)
    matches, coverage, alerts = await stored(dsn)
    assert [row[1:] for row in matches if row[0] == stream] == [row[1:] for row in matches if row[0] == other]
    assert [row[1:] for row in coverage if row[0] == stream] == [row[1:] for row in coverage if row[0] == other]
    assert len(alerts) == len(matches) == 2


async def killed(bus: MemoryBus, storage: Storage, matcher: Matcher, where: str, batches: int) -> None:
    """Runs a worker that processes this many new batches, and dies in the next one."""
    reached, left = asyncio.Event(), batches

    async def die() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            reached.set()
            await asyncio.Event().wait()

    async def write_all(*arguments: Any) -> list[bool]:
        if where == "before the write":
            await die()
        written = await storage.batches.write_all(*arguments)
        if where == "after the write":
            await die()
        return written

    async def commit(offsets: Mapping[int, int]) -> None:
        if where == "before the commit":
            await die()
        await bus.commit(offsets)

    worker = quick_worker(
        Patched(bus, commit=commit), replace(storage, batches=Patched(storage.batches, write_all=write_all)), matcher
    )
    async with working(worker), asyncio.timeout(PATIENCE_S):
        await reached.wait()


@pytest.mark.parametrize("shift_s", [0, 0.2, -0.2])
async def test_audio_that_a_reconnect_repeats_makes_no_second_match(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs, shift_s: float
) -> None:
    """The new session begins six seconds back: the repeated audio is skipped, even if the clock is a little off."""
    air = Air(stream)
    first = air.play(songs.one[: 16 * SECOND])
    again = air.play(songs.one[seconds(16 + shift_s) : 30 * SECOND], first_sample=seconds(6.123))
    bus = MemoryBus([*first, *again, *air.play(songs.unknown[: 8 * SECOND])], 4)
    await work_off(quick_worker(bus, storage, matcher), bus)
    [match] = await storage.matches.list()
    assert match.starts == pytest.approx(ANCHOR, abs=SECOND)
    assert match.ends == pytest.approx(ANCHOR + 30 * SECOND, abs=SECOND)
    assert len(await storage.alerts.list()) == 1


# Gaps and stops


@pytest.mark.parametrize("how", ["gap", "lost"])
@pytest.mark.parametrize(("length_s", "n_matches"), [(2, 1), (10, 2)])
async def test_a_long_gap_ends_a_match_and_a_short_one_does_not(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs, how: str, length_s: int, n_matches: int
) -> None:
    air = Air(stream)
    before = air.play(songs.one[: 14 * SECOND])
    gap = air.gap(length_s)
    after = air.play(songs.one[(14 + length_s) * SECOND : (26 + length_s) * SECOND])
    bus = MemoryBus([*before, *(gap if how == "gap" else []), *after])
    await work_off(quick_worker(bus, storage, matcher), bus)
    reasons = [(c.ends - c.starts, c.reason) for c in await storage.coverage.list() if c.state == "gap"]
    assert reasons == [(length_s * SECOND, "connecting" if how == "gap" else "worker_backlog_lost")]
    matches = await storage.matches.list()
    assert len(matches) == n_matches
    assert matches[0].ends == pytest.approx(air.clock, abs=SECOND)
    assert matches[-1].starts == pytest.approx(ANCHOR, abs=SECOND)


@pytest.mark.parametrize(("away_s", "n_matches"), [(2, 1), (10, 2)])
async def test_a_restart_during_a_play_gives_no_overlapping_matches(
    storage: Storage,
    index: Index,
    one: int,
    stream: int,
    songs: Songs,
    detector: LogMelDetector,
    executor: Executor,
    away_s: int,
    n_matches: int,
) -> None:
    """Even if the play is older than the memory of a worker."""
    settings = MatchingSettings(memory_s=20)
    matcher = Matcher(detector, index, storage, executor, settings, detector.thresholds)
    air = Air(stream)
    before = air.play(songs.one[: 22 * SECOND])
    after = [
        *air.gap(away_s, GapReason.STOPPED),
        *air.play(songs.one[(22 + away_s) * SECOND :]),
        *air.play(songs.unknown[: 12 * SECOND]),
    ]
    first = MemoryBus(before, 4)
    worker = quick_worker(first, storage, matcher)
    await work_off(worker, first)
    await worker.close_all()
    assert [match.state for match in await storage.matches.list()] == ["closed"]
    second = MemoryBus([*before, *after], 4)
    await work_off(quick_worker(second, storage, matcher), second)
    matches = sorted(await storage.matches.list(), key=lambda match: match.starts)
    assert [match.state for match in matches] == ["closed"] * n_matches
    assert matches[0].starts == pytest.approx(ANCHOR, abs=SECOND)
    assert matches[-1].ends == pytest.approx(ANCHOR + 40 * SECOND, abs=SECOND)
    if n_matches == 2:
        assert matches[0].ends <= matches[1].starts
    assert len(await storage.alerts.list()) == n_matches


async def test_matches_stay_open_if_postgresql_is_unreachable_at_the_stop(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = MemoryBus(Air(stream).play(songs.one[: 16 * SECOND]))
    away = False

    async def write_all(*arguments: Any) -> list[bool]:
        if away:
            raise ConnectionResetError
        return await storage.batches.write_all(*arguments)

    worker = quick_worker(bus, replace(storage, batches=Patched(storage.batches, write_all=write_all)), matcher)
    await work_off(worker, bus)
    away = True
    await worker.close_all()
    assert [match.state for match in await storage.matches.list()] == ["open"]


async def test_a_deleted_track_closes_its_match_and_opens_no_other(
    storage: Storage, catalog: Catalog, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    async with working(quick_worker(spool, storage, matcher)):
        await publish(spool, air.play(songs.one[: 14 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
        assert [match.state for match in await storage.matches.list()] == ["open"]
        await catalog.delete(one)
        await publish(spool, air.play(songs.one[14 * SECOND : 30 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
    [match] = await storage.matches.list()
    assert (match.state, match.track["title"]) == ("closed", "One")
    assert match.ends <= ANCHOR + 15 * SECOND


async def test_a_stopping_worker_finishes_its_batch_and_starts_no_other(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = MemoryBus(Air(stream).play(songs.one[: 16 * SECOND]), 2)
    writing, resumed = asyncio.Event(), asyncio.Event()

    async def write_all(*arguments: Any) -> list[bool]:
        writing.set()
        await resumed.wait()
        return await storage.batches.write_all(*arguments)

    worker = quick_worker(bus, replace(storage, batches=Patched(storage.batches, write_all=write_all)), matcher)
    async with working(worker):
        await writing.wait()
        drained = asyncio.create_task(worker.drain(), name="drained")
        await asyncio.sleep(0)
        assert not drained.done()
        resumed.set()
        await drained
        assert bus.committed == 2
        progress = await storage.progress.get(stream)
    assert progress is not None
    assert progress.position == ANCHOR + 4 * SECOND


async def test_a_worker_that_is_too_far_behind_skips_to_the_newest_window_if_that_is_its_policy(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    records = Air(stream).play(songs.one[: 40 * SECOND])
    now_s = ANCHOR / SECOND + 41  # the newest is a second old
    bus = MemoryBus(records, 6)
    await work_off(quick_worker(bus, storage, matcher, BacklogMonitor(BacklogPolicy.SKIP, 20, now=lambda: now_s)), bus)
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list())]
    assert ledger == [
        (ANCHOR, ANCHOR + 34 * SECOND, "worker_backlog_lost"),
        (ANCHOR + 34 * SECOND, ANCHOR + 40 * SECOND, None),
    ]
    assert REGISTRY.get_sample_value("airtrace_worker_skipped_seconds_total", {"stream": str(stream)}) == 34
    [match] = await storage.matches.list()
    assert match.starts == pytest.approx(ANCHOR + 34 * SECOND, abs=SECOND)
    caught_up = MemoryBus(records, 6)
    await work_off(quick_worker(caught_up, storage, matcher), caught_up)
    assert [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list())] == ledger, "it stays skipped"


# Memory


async def test_nothing_of_a_removed_stream_stays_in_memory(
    storage: Storage, matcher: Matcher, stream: int, songs: Songs
) -> None:
    bus = MemoryBus(Air(stream).play(songs.unknown[: 6 * SECOND]))
    worker = quick_worker(bus, storage, matcher, orphans_every_s=0.01)
    async with working(worker):
        await until(lambda: bus.committed == bus.next_offset)
        assert list(worker._states) == [stream]
        await storage.streams.remove("radio-one")
        await until(lambda: not worker._states)
    assert REGISTRY.get_sample_value("airtrace_worker_delay_seconds", {"stream": str(stream)}) is None
