"""The worker over a real bus, database, index and music: what it writes is right, written once, and survives it all."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.bus.port import Delivery, StartAt
from ingest.bus.spool import Spool
from ingest.errors import BusError
from ingest.wire import Encoded, Gap, GapReason, Record
from monitor.catalog.catalog import Catalog
from monitor.detect.detector import Embeddings
from monitor.detect.logmel import LogMelDetector
from monitor.errors import DependencyError
from monitor.matching import worker as worker_module
from monitor.matching.backlog import BacklogMonitor
from monitor.matching.matcher import Matcher, step_timer
from monitor.matching.reference_cache import ReferenceCache
from monitor.matching.worker import MAX_REJECTED, Worker
from monitor.settings import BacklogPolicy, MatchingSettings
from monitor.storage.database import open_database
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.songs import ANCHOR, Air, Songs, seconds, written
from tests.waiting import until

SECOND = seconds(1)
DEADLINE_S = 60  # two busy cores
MATCHES = """
    select stream_id, track_id, state, starts, ends, track_starts, track_ends, speed, llr, bridged, ambiguous,
           score_sum, scored
    from matches order by 1, 4, 2
"""
COVERAGE = "select stream_id, starts, ends, state, reason from coverage order by 1, 2"
ALERTS = "select id, match_id, severity, state, track, raised_at from alerts order by 1"


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(tmp_path / "spool", 64) as opened:
        yield opened


@pytest.fixture
async def one(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    """The track on which most of the streams here are."""
    path = written(tmp_path / "one.wav", songs.one)
    return (await catalog.add(path, Metadata("One", str(path)))).track.id


@pytest.fixture
async def stream(storage: Storage) -> int:
    return await a_stream(storage, "radio-one")


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "RETRY_FIRST_S", 0.01)


async def a_stream(storage: Storage, name: str) -> int:
    stream = await storage.streams.add(name, "http://radio.example/a.mp3")
    assert stream is not None
    return stream


class Batches:
    """A bus that gives the records in the batches that a test wants, from the first one on."""

    def __init__(self, records: Sequence[Record], size: int | None = None) -> None:
        deliveries = [Delivery(0, offset, record) for offset, record in enumerate(records)]
        size = size or len(deliveries)
        self.batches = [deliveries[first : first + size] for first in range(0, len(deliveries), size)]
        self.committed = 0
        self.next_offset = len(deliveries)
        self.asked: list[int | None] = []
        self.rejected: list[int] = []

    async def publish(self, record: Record) -> None:
        raise NotImplementedError

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        self.asked.append(await start_at(0))
        for batch in self.batches:
            yield batch
        await asyncio.Event().wait()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self.committed = max(self.committed, offsets[0])

    def holds(self, partition: int) -> bool:
        return True

    async def reject(self, delivery: Delivery, error: str) -> None:
        self.rejected.append(delivery.offset)


class Wrapped:
    """A part of which a test replaces some methods."""

    def __init__(self, part: Any, **methods: Callable[..., Awaitable[Any]]) -> None:
        self._part = part
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._part, name)


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run(), name="worker")
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def work_off(worker: Worker, bus: Spool | Batches) -> None:
    """Until all that the bus has is committed."""
    async with working(worker) as task:
        await until(lambda: bus.committed == bus.next_offset or task.done())
        if task.done():
            await task


async def put(bus: Spool, *records: Sequence[Record]) -> None:
    for some in records:
        for record in some:
            await bus.publish(record)


async def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def stored(dsn: str) -> list[list[tuple[Any, ...]]]:
    return [await rows(dsn, query) for query in (MATCHES, COVERAGE, ALERTS)]


def failures(step: str) -> float:
    return REGISTRY.get_sample_value("airtrace_worker_failures_total", {"step": step}) or 0


# What is found


async def test_a_match_opens_goes_on_and_closes_at_the_right_times(
    storage: Storage, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    worker = Worker(spool, storage, matcher)
    async with working(worker):
        await put(spool, air.play(songs.one[5 * SECOND : 17 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
        [opened] = await storage.matches.list()
        await put(spool, air.play(songs.one[17 * SECOND : 27 * SECOND], first_sample=0))
        await until(lambda: spool.committed == spool.next_offset)
        [extended] = await storage.matches.list()
        await put(spool, air.play(songs.unknown[: 16 * SECOND]), air.play(songs.silence[: 10 * SECOND]))
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


async def test_unknown_music_and_silence_are_no_match(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    bus = Batches([*air.play(songs.unknown), *air.play(songs.silence[: 10 * SECOND]), *air.play(songs.two)])
    await work_off(Worker(bus, storage, matcher), bus)
    assert await storage.matches.list() == []


@pytest.mark.parametrize(("size", "window_s"), [(1, 2.0), (64, 2.0), (3, 0.7), (2, 5.0)])
async def test_any_cutting_and_batching_gives_the_same_rows(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, size: int, window_s: float
) -> None:
    other = await a_stream(storage, "radio-two")
    for listened, batch, length_s in ((stream, 5, 2.0), (other, size, window_s)):
        air = Air(listened)
        records = [
            *air.play(songs.one[3 * SECOND : 15 * SECOND], length_s),
            *air.gap(2.5, GapReason.STALLED),
            *air.play(songs.one[round(17.5 * SECOND) : 25 * SECOND], length_s),
            *air.play(songs.unknown[: 9 * SECOND], length_s),
            *air.gap(1),
        ]
        bus = Batches(records, batch)
        await work_off(Worker(bus, storage, matcher), bus)
    matches, coverage, _ = await stored(dsn)
    by_stream = [[row[1:] for row in matches if row[0] == each] for each in (stream, other)]
    assert len(by_stream[0]) == 1
    assert by_stream[0] == by_stream[1]
    assert [row[1:] for row in coverage if row[0] == stream] == [row[1:] for row in coverage if row[0] == other]


# What is heard twice


async def test_records_that_come_again_to_a_new_worker_change_nothing(
    storage: Storage, dsn: str, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    await put(spool, air.play(songs.one[: 16 * SECOND]), air.gap(1), air.play(songs.unknown[: 4 * SECOND]))
    await work_off(Worker(spool, storage, matcher), spool)
    before = [await stored(dsn), await rows(dsn, "select * from matches"), await rows(dsn, "select * from progress")]
    again = Batches([delivery.record async for delivery in everything(spool)])
    await work_off(Worker(again, storage, matcher), again)
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


@pytest.mark.parametrize("where", ["before the write", "behind the write", "before the commit"])
async def test_a_kill_at_any_step_changes_nothing(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, where: str
) -> None:
    """What an undisturbed worker makes of one stream, a worker killed over and over makes of another."""
    other = await a_stream(storage, "radio-two")
    for listened in (stream, other):
        air = Air(listened)
        records = [*air.play(songs.one[: 20 * SECOND]), *air.play(songs.unknown[: 8 * SECOND])]
        bus = Batches(records, 3)
        if listened == other:
            for batches in (2, 0, 0):
                await killed(bus, storage, matcher, where, batches)
        await work_off(Worker(bus, storage, matcher), bus)
    matches, coverage, alerts = await stored(dsn)
    assert [row[1:] for row in matches if row[0] == stream] == [row[1:] for row in matches if row[0] == other]
    assert [row[1:] for row in coverage if row[0] == stream] == [row[1:] for row in coverage if row[0] == other]
    assert len(alerts) == len(matches) == 2


async def killed(bus: Batches, storage: Storage, matcher: Matcher, where: str, batches: int) -> None:
    """A worker that gets through so many batches that are new, and dies in the next."""
    reached, left = asyncio.Event(), batches

    async def die() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            reached.set()
            await asyncio.Event().wait()

    async def write(*arguments: Any) -> None:
        if where == "before the write":
            await die()
        await storage.batches.write(*arguments)
        if where == "behind the write":
            await die()

    async def commit(offsets: Mapping[int, int]) -> None:
        if where == "before the commit":
            await die()
        await bus.commit(offsets)

    worker = Worker(Wrapped(bus, commit=commit), replace(storage, batches=Wrapped(storage.batches, write=write)), matcher)
    async with working(worker), asyncio.timeout(DEADLINE_S):
        await reached.wait()


@pytest.mark.parametrize("shift_s", [0, 0.2, -0.2])
async def test_audio_that_a_reconnect_repeats_is_no_second_match(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs, shift_s: float
) -> None:
    """The new session begins six seconds back; what was heard is skipped, and the clock may be a little off."""
    air = Air(stream)
    first = air.play(songs.one[: 16 * SECOND])
    again = air.play(songs.one[seconds(16 + shift_s) : 30 * SECOND], first_sample=seconds(6.123))
    bus = Batches([*first, *again, *air.play(songs.unknown[: 8 * SECOND])], 4)
    await work_off(Worker(bus, storage, matcher), bus)
    [match] = await storage.matches.list()
    assert match.starts == pytest.approx(ANCHOR, abs=SECOND)
    assert match.ends == pytest.approx(ANCHOR + 30 * SECOND, abs=SECOND)
    assert len(await storage.alerts.list()) == 1


# Gaps and stops


@pytest.mark.parametrize("how", ["gap", "lost"])
@pytest.mark.parametrize(("length_s", "n_matches"), [(2, 1), (10, 2)])
async def test_a_long_hole_ends_a_match_and_a_short_one_does_not(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs, how: str, length_s: int, n_matches: int
) -> None:
    air = Air(stream)
    before = air.play(songs.one[: 14 * SECOND])
    hole = air.gap(length_s)
    after = air.play(songs.one[(14 + length_s) * SECOND : (26 + length_s) * SECOND])
    bus = Batches([*before, *(hole if how == "gap" else []), *after])
    await work_off(Worker(bus, storage, matcher), bus)
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
    """Also when the play is older than what a worker remembers."""
    settings = MatchingSettings(memory_s=20)
    matcher = Matcher(detector, index, storage, executor, settings, detector.thresholds)
    air = Air(stream)
    before = air.play(songs.one[: 22 * SECOND])
    after = [
        *air.gap(away_s, GapReason.STOPPED),
        *air.play(songs.one[(22 + away_s) * SECOND :]),
        *air.play(songs.unknown[: 12 * SECOND]),
    ]
    first = Batches(before, 4)
    worker = Worker(first, storage, matcher)
    await work_off(worker, first)
    await worker.close_all()
    assert [match.state for match in await storage.matches.list()] == ["closed"]
    second = Batches([*before, *after], 4)
    await work_off(Worker(second, storage, matcher), second)
    matches = sorted(await storage.matches.list(), key=lambda match: match.starts)
    assert [match.state for match in matches] == ["closed"] * n_matches
    assert matches[0].starts == pytest.approx(ANCHOR, abs=SECOND)
    assert matches[-1].ends == pytest.approx(ANCHOR + 40 * SECOND, abs=SECOND)
    if n_matches == 2:
        assert matches[0].ends <= matches[1].starts
    assert len(await storage.alerts.list()) == n_matches


async def test_a_stop_that_postgresql_does_not_hear_leaves_the_matches_open(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = Batches(Air(stream).play(songs.one[: 16 * SECOND]))
    away = False

    async def write(*arguments: Any) -> None:
        if away:
            raise ConnectionResetError
        await storage.batches.write(*arguments)

    worker = Worker(bus, replace(storage, batches=Wrapped(storage.batches, write=write)), matcher)
    await work_off(worker, bus)
    away = True
    await worker.close_all()
    assert [match.state for match in await storage.matches.list()] == ["open"]


async def test_a_deleted_track_ends_its_match_and_begins_no_other(
    storage: Storage, catalog: Catalog, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    air = Air(stream)
    async with working(Worker(spool, storage, matcher)):
        await put(spool, air.play(songs.one[: 14 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
        assert [match.state for match in await storage.matches.list()] == ["open"]
        await catalog.delete(one)
        await put(spool, air.play(songs.one[14 * SECOND : 30 * SECOND]))
        await until(lambda: spool.committed == spool.next_offset)
    [match] = await storage.matches.list()
    assert (match.state, match.track["title"]) == ("closed", "One")
    assert match.ends <= ANCHOR + 15 * SECOND


# What goes wrong


async def test_records_that_cannot_be_read_are_left_out_and_their_neighbours_are_not(
    storage: Storage, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    other = await a_stream(storage, "radio-two")
    air, airs = Air(stream), Air(other)
    await spool.append(Encoded(str(stream).encode(), (("airtrace", b"99"),), b"from the future"))
    await put(spool, air.play(songs.one[: 8 * SECOND]))
    await spool.append(Encoded(b"not a number", (), b""))
    await put(spool, airs.play(songs.one[: 16 * SECOND]), air.play(songs.one[8 * SECOND : 16 * SECOND]))
    await work_off(Worker(spool, storage, matcher), spool)
    assert sorted(match.stream_id for match in await storage.matches.list()) == [stream, other]
    assert [(c.starts, c.ends, c.state) for c in await storage.coverage.list()] == [(ANCHOR, air.clock, "covered")] * 2


async def test_records_that_postgresql_does_not_take_are_left_out_and_their_neighbours_are_not(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    """Should the wire let one through: else its stream, and all others, would wait for it for ever."""
    other = await a_stream(storage, "radio-two")
    air = Air(stream)
    records: list[Record] = [
        Gap(stream, ANCHOR, ANCHOR, GapReason.ENDED),
        *air.play(songs.one[: 8 * SECOND]),
        Gap(stream, 2**70, 2**70 + SECOND, GapReason.ENDED),
        *air.play(songs.one[8 * SECOND : 16 * SECOND]),
        *Air(other).play(songs.one[: 16 * SECOND]),
    ]
    bus = Batches(records)
    with capture_logs() as logs:
        await work_off(Worker(bus, storage, matcher), bus)
    assert [entry["offset"] for entry in logs if entry["event"] == "worker.rejected"] == [0, 5]
    assert sorted(match.stream_id for match in await storage.matches.list()) == [stream, other]
    assert [(c.starts, c.ends, c.state) for c in await storage.coverage.list()] == [(ANCHOR, air.clock, "covered")] * 2


class Choking:
    """A detector that cannot take some sound."""

    def __init__(self, detector: LogMelDetector, on: bytes | None) -> None:
        self._detector = detector
        self._on = on
        self.info = detector.info
        self.thresholds = detector.thresholds

    def embed(self, pcm: np.ndarray) -> Embeddings:
        if self._on is None or self._on in pcm.tobytes():
            raise ValueError("cannot take this")
        return self._detector.embed(pcm)


async def test_audio_that_cannot_be_matched_is_booked_as_lost_and_the_rest_is_matched(
    storage: Storage, index: Index, one: int, stream: int, songs: Songs, detector: LogMelDetector, executor: Executor
) -> None:
    air, other = Air(stream), await a_stream(storage, "radio-two")
    poison = songs.one[9 * SECOND : 9 * SECOND + 500].tobytes()  # in the fifth window
    matcher = Matcher(Choking(detector, poison), index, storage, executor, MatchingSettings(), detector.thresholds)
    bus = Batches([*air.play(songs.one[: 20 * SECOND]), *Air(other).play(songs.one[12 * SECOND : 24 * SECOND])])
    before = failures("embed")
    with capture_logs() as logs:
        await work_off(Worker(bus, storage, matcher), bus)
    [rejected] = [entry for entry in logs if entry["event"] == "worker.rejected"]
    assert (rejected["stream"], rejected["offset"], bus.rejected) == (stream, 4, [4])
    assert failures("embed") > before
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list("radio-one"))]
    assert ledger == [
        (ANCHOR, ANCHOR + 8 * SECOND, None),
        (ANCHOR + 8 * SECOND, ANCHOR + 10 * SECOND, "worker_backlog_lost"),
        (ANCHOR + 10 * SECOND, ANCHOR + 20 * SECOND, None),
    ]
    matches = {match.stream_id: match for match in await storage.matches.list()}
    assert len(matches) == len(await storage.matches.list()) == 2
    assert matches[stream].starts == pytest.approx(ANCHOR, abs=SECOND)
    assert matches[stream].ends == pytest.approx(ANCHOR + 20 * SECOND, abs=SECOND)


async def test_a_worker_that_can_match_nothing_stops_and_commits_nothing(
    storage: Storage, index: Index, stream: int, songs: Songs, detector: LogMelDetector, executor: Executor
) -> None:
    matcher = Matcher(Choking(detector, None), index, storage, executor, MatchingSettings(), detector.thresholds)
    bus = Batches(Air(stream).play(songs.one, 1.0))
    assert bus.next_offset > MAX_REJECTED
    with capture_logs(), pytest.raises(ExceptionGroup) as caught:
        await work_off(Worker(bus, storage, matcher), bus)
    assert caught.group_contains(ValueError, match="cannot take this")
    assert bus.committed == 0


async def test_records_of_an_unknown_stream_are_ignored(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    records = [*Air(stream).play(songs.one[: 12 * SECOND]), *Air(stream + 999).play(songs.one[: 12 * SECOND])]
    bus = Batches(records, 5)
    await work_off(Worker(bus, storage, matcher), bus)
    assert [match.stream_id for match in await storage.matches.list()] == [stream]
    assert await rows(dsn, "select stream_id from progress") == [(stream,)]


@pytest.mark.parametrize("error", [ConnectionResetError(), DependencyError("gone")])
async def test_a_database_that_goes_away_is_tried_again(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, error: Exception
) -> None:
    """The streams that were written before it went are not matched twice, those behind it not forgotten."""
    other, failing = await a_stream(storage, "radio-two"), [other_stream := stream + 1]
    assert other == other_stream
    written_to: list[int] = []

    async def write(batch: Any, info: Any) -> None:
        if batch.stream_id in failing:
            failing.remove(batch.stream_id)
            raise error
        written_to.append(batch.stream_id)
        await storage.batches.write(batch, info)

    records = [r for each in (stream, other) for r in Air(each).play(songs.one[: 12 * SECOND], 0.7)]
    bus = Batches(records)
    before = failures("write")
    await work_off(Worker(bus, replace(storage, batches=Wrapped(storage.batches, write=write)), matcher), bus)
    assert written_to == [stream, other]
    assert failures("write") == before + 1
    matches, coverage, _ = await stored(dsn)
    assert [row[1:] for row in matches if row[0] == stream] == [row[1:] for row in matches if row[0] == other]
    assert [row[1:3] for row in coverage] == [(ANCHOR, ANCHOR + 12 * SECOND)] * 2


async def test_a_partition_that_is_given_while_the_database_is_away_is_begun_when_it_is_back(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    tries = 0

    async def replay_offset(partition: int) -> int | None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError
        return await storage.progress.replay_offset(partition)

    bus = Batches(Air(stream).play(songs.one[: 12 * SECOND]))
    await work_off(Worker(bus, replace(storage, progress=Wrapped(storage.progress, replay_offset=replay_offset)), matcher), bus)
    assert (tries, bus.asked, len(await storage.matches.list())) == (3, [None], 1)


@pytest.mark.parametrize("step", ["recall", "write"])
async def test_what_another_worker_writes_meanwhile_is_neither_lost_nor_undone(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, step: str
) -> None:
    """A worker that lost its partition may still have written when the next one already goes on."""
    records = Air(stream).play(songs.one[: 20 * SECOND])
    first, others, bus = Batches(records[:3]), Batches(records[:6]), Batches(records)
    await work_off(Worker(first, storage, matcher), first)
    meanwhile = [lambda: work_off(Worker(others, storage, matcher), others)]

    async def write(batch: Any, info: Any) -> None:
        while step == "write" and meanwhile:
            await meanwhile.pop()()
        await storage.batches.write(batch, info)

    async def open_plays(*arguments: Any) -> Any:
        plays = await storage.matches.open_plays(*arguments)
        while step == "recall" and meanwhile:
            await meanwhile.pop()()
        return plays

    batches, matches = Wrapped(storage.batches, write=write), Wrapped(storage.matches, open_plays=open_plays)
    await work_off(Worker(bus, replace(storage, batches=batches, matches=matches), matcher), bus)
    [scored] = await rows(dsn, "select scored from matches")
    assert scored == (39,)  # each segment once
    [covered] = await storage.coverage.list()
    assert (covered.starts, covered.ends, covered.state) == (ANCHOR, ANCHOR + 20 * SECOND, "covered")
    [match] = await storage.matches.list()
    assert match.ends == pytest.approx(ANCHOR + 20 * SECOND, abs=SECOND)
    assert len(await storage.alerts.list()) == 1


async def test_a_process_suspended_in_the_middle_of_a_write_does_not_block_the_stream_forever(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    records = Air(stream).play(songs.one[: 16 * SECOND])
    first, bus = Batches(records[:3]), Batches(records)
    await work_off(Worker(first, storage, matcher), first)
    async with open_database(dsn, 2, idle_transaction_s=1) as sleeper:
        at = await storage.progress.get(stream)
        assert at is not None
        values = (at.position, at.position, at.partition, at.offset, at.replay_offset, at.epoch)
        with suppress(DependencyError):
            async with sleeper.transaction() as connection:
                await connection.fetchval("progress_advance", stream, *values)
                await work_off(Worker(bus, storage, matcher), bus)
    [match] = await storage.matches.list()
    assert match.ends == pytest.approx(ANCHOR + 16 * SECOND, abs=SECOND)


async def test_a_bus_that_gives_nothing_for_a_while_is_asked_again(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = Batches(Air(stream).play(songs.one[: 12 * SECOND]), 2)
    batches, failing = bus.deliveries, [1, 2]

    async def deliveries(start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        async for batch in batches(start_at):
            yield batch
            if failing:
                failing.pop()
                raise BusError("the broker is away")

    bus.deliveries = deliveries  # type: ignore[method-assign]
    with capture_logs() as logs:
        await work_off(Worker(bus, storage, matcher), bus)
    assert [entry["event"] for entry in logs].count("worker.bus_unavailable") == 2
    assert len(bus.asked) == 3, "the replay begins anew"
    assert len(await storage.matches.list()) == 1


async def test_a_worker_that_is_to_stop_finishes_what_is_in_hand_and_begins_nothing_else(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = Batches(Air(stream).play(songs.one[: 16 * SECOND]), 2)
    writing, going_on = asyncio.Event(), asyncio.Event()

    async def write(*arguments: Any) -> None:
        writing.set()
        await going_on.wait()
        await storage.batches.write(*arguments)

    worker = Worker(bus, replace(storage, batches=Wrapped(storage.batches, write=write)), matcher)
    async with working(worker):
        await writing.wait()
        drained = asyncio.create_task(worker.drain(), name="drained")
        await asyncio.sleep(0)
        assert not drained.done()
        going_on.set()
        await drained
        assert bus.committed == 2
        progress = await storage.progress.get(stream)
    assert progress is not None
    assert progress.position == ANCHOR + 4 * SECOND


async def test_a_worker_that_is_too_far_behind_skips_to_the_newest_where_that_is_the_policy(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    records = Air(stream).play(songs.one[: 40 * SECOND])
    heard_at_s = ANCHOR / SECOND + 45  # the newest is five seconds old
    bus = Batches(records, 6)
    with capture_logs() as logs:
        await work_off(Worker(bus, storage, matcher, BacklogMonitor(BacklogPolicy.SKIP, 20, now=lambda: heard_at_s)), bus)
    ledger = [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list())]
    assert ledger == [
        (ANCHOR, ANCHOR + 34 * SECOND, "worker_backlog_lost"),
        (ANCHOR + 34 * SECOND, ANCHOR + 40 * SECOND, None),
    ]
    assert [entry["event"] for entry in logs if entry["event"] in ("worker.behind", "worker.caught_up")] == [
        "worker.behind",
        "worker.caught_up",
    ]
    assert REGISTRY.get_sample_value("airtrace_worker_skipped_seconds_total", {"stream": str(stream)}) == 34
    [match] = await storage.matches.list()
    assert match.starts == pytest.approx(ANCHOR + 34 * SECOND, abs=SECOND)
    caught_up = Batches(records, 6)
    await work_off(Worker(caught_up, storage, matcher), caught_up)
    assert [(c.starts, c.ends, c.reason) for c in reversed(await storage.coverage.list())] == ledger, "it stays skipped"


# What is remembered


async def test_nothing_of_a_removed_stream_stays_in_memory(
    storage: Storage, matcher: Matcher, stream: int, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "ORPHANS_EVERY_S", 0.01)
    bus = Batches(Air(stream).play(songs.unknown[: 6 * SECOND]))
    worker = Worker(bus, storage, matcher)
    async with working(worker):
        await until(lambda: bus.committed == bus.next_offset)
        assert list(worker._listeners) == [stream]
        await storage.streams.remove("radio-one")
        await until(lambda: not worker._listeners)
    assert REGISTRY.get_sample_value("airtrace_worker_delay_seconds", {"stream": str(stream)}) is None


async def test_exact_vectors_in_memory_are_bounded_and_what_is_asked_for_is_given(
    storage: Storage, catalog: Catalog, songs: Songs, tmp_path: Path, detector: LogMelDetector
) -> None:
    pieces = [songs.one[i * 6 * SECOND : (i + 1) * 6 * SECOND] for i in range(4)]
    paths = [written(tmp_path / f"{i}.wav", piece) for i, piece in enumerate(pieces)]
    tracks = [(await catalog.add(path, Metadata(path.stem, str(path)))).track.id for path in paths]
    size = (await storage.vectors.references(tracks, detector.info))[tracks[0]].nbytes
    references = ReferenceCache(storage, detector, max_bytes=2 * size)
    assert (await references.get(tracks)).keys() == set(tracks)
    assert len(references._cache) == 2
    assert (await references.get(tracks[:1])).keys() == {tracks[0]}
    assert tracks[0] in references._cache
    await catalog.delete(tracks[0])
    assert await references.get(tracks[:1]) == {}


def test_failures_are_counted_by_step_and_cancellations_are_none() -> None:
    step = f"test-{uuid.uuid4().hex}"
    with pytest.raises(ValueError, match="no"), step_timer(step):
        raise ValueError("no")
    with pytest.raises(asyncio.CancelledError), step_timer(step):
        raise asyncio.CancelledError
    assert failures(step) == 1
    assert REGISTRY.get_sample_value("airtrace_worker_step_seconds_count", {"step": step}) == 2
