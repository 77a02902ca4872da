"""Records, audio, a database or a bus that fail the worker cost nothing else, and nothing twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from ingest.bus.port import Delivery, StartAt
from ingest.bus.spool import Spool
from ingest.errors import BusError
from ingest.wire import Encoded, Gap, GapReason, Record
from monitor.detect.detector import Embeddings
from monitor.detect.logmel import LogMelDetector
from monitor.errors import DependencyError
from monitor.matching.matcher import Matcher
from monitor.matching.worker import MAX_REJECTED
from monitor.settings import MatchingSettings
from monitor.storage.database import open_database
from monitor.storage.milvus import Index
from monitor.storage.records import Batch
from monitor.storage.storage import Storage
from tests.fakes import MemoryBus, Patched
from tests.songs import ANCHOR, Air, Songs, seconds
from tests.workers import a_stream, failures, publish, quick_worker, rows, stored, work_off

SECOND = seconds(1)


async def test_unreadable_records_are_left_out_and_their_neighbors_are_not(
    storage: Storage, matcher: Matcher, spool: Spool, one: int, stream: int, songs: Songs
) -> None:
    other = await a_stream(storage, "radio-two")
    air, airs = Air(stream), Air(other)
    await spool.append(Encoded(str(stream).encode(), (("airtrace", b"99"),), b"from the future"))
    await publish(spool, air.play(songs.one[: 8 * SECOND]))
    await spool.append(Encoded(b"not a number", (), b""))
    await publish(spool, airs.play(songs.one[: 16 * SECOND]), air.play(songs.one[8 * SECOND : 16 * SECOND]))
    await work_off(quick_worker(spool, storage, matcher), spool)
    assert sorted(match.stream_id for match in await storage.matches.list()) == [stream, other]
    assert [(c.starts, c.ends, c.state) for c in await storage.coverage.list()] == [(ANCHOR, air.clock, "covered")] * 2


async def test_records_that_postgresql_rejects_are_left_out_and_their_neighbors_are_not(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    """If the wire lets one through, its stream and all others would otherwise wait for it forever."""
    other = await a_stream(storage, "radio-two")
    air = Air(stream)
    records: list[Record] = [
        Gap(stream, ANCHOR, ANCHOR, GapReason.ENDED),
        *air.play(songs.one[: 8 * SECOND]),
        Gap(stream, 2**70, 2**70 + SECOND, GapReason.ENDED),
        *air.play(songs.one[8 * SECOND : 16 * SECOND]),
        *Air(other).play(songs.one[: 16 * SECOND]),
    ]
    bus = MemoryBus(records)
    with capture_logs() as logs:
        await work_off(quick_worker(bus, storage, matcher), bus)
    assert [entry["offset"] for entry in logs if entry["event"] == "worker.rejected"] == [0, 5]
    assert sorted(match.stream_id for match in await storage.matches.list()) == [stream, other]
    assert [(c.starts, c.ends, c.state) for c in await storage.coverage.list()] == [(ANCHOR, air.clock, "covered")] * 2


class FailingDetector:
    """A detector that fails on some audio, or on all of it."""

    def __init__(self, detector: LogMelDetector, on: bytes | None) -> None:
        self._detector = detector
        self._on = on
        self.info = detector.info
        self.thresholds = detector.thresholds

    def embed(self, pcm: np.ndarray) -> Embeddings:
        if self._on is None or self._on in pcm.tobytes():
            raise ValueError("cannot embed this")
        return self._detector.embed(pcm)

    def embed_many(self, pcms: Sequence[np.ndarray]) -> list[Embeddings]:
        return [self.embed(pcm) for pcm in pcms]


async def test_audio_that_cannot_be_matched_is_accounted_as_lost_and_the_rest_is_matched(
    storage: Storage, index: Index, one: int, stream: int, songs: Songs, detector: LogMelDetector, executor: Executor
) -> None:
    air, other = Air(stream), await a_stream(storage, "radio-two")
    poison = songs.one[9 * SECOND : 9 * SECOND + 500].tobytes()  # in the fifth window
    matcher = Matcher(
        FailingDetector(detector, poison), index, storage, executor, MatchingSettings(), detector.thresholds
    )
    bus = MemoryBus([*air.play(songs.one[: 20 * SECOND]), *Air(other).play(songs.one[12 * SECOND : 24 * SECOND])])
    before = failures("embed")
    with capture_logs() as logs:
        await work_off(quick_worker(bus, storage, matcher), bus)
    [rejected] = [entry for entry in logs if entry["event"] == "worker.rejected"]
    assert (rejected["stream"], rejected["offset"], list(bus.dead_letters)) == (stream, 4, [4])
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
    matcher = Matcher(
        FailingDetector(detector, None), index, storage, executor, MatchingSettings(), detector.thresholds
    )
    bus = MemoryBus(Air(stream).play(songs.one, 1.0))
    assert bus.next_offset > MAX_REJECTED
    with capture_logs(), pytest.raises(ExceptionGroup) as caught:
        await work_off(quick_worker(bus, storage, matcher), bus)
    assert caught.group_contains(ValueError, match="cannot embed this")
    assert bus.committed == 0


async def test_records_of_an_unknown_stream_are_ignored(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    records = [*Air(stream).play(songs.one[: 12 * SECOND]), *Air(stream + 999).play(songs.one[: 12 * SECOND])]
    bus = MemoryBus(records, 5)
    await work_off(quick_worker(bus, storage, matcher), bus)
    assert [match.stream_id for match in await storage.matches.list()] == [stream]
    assert await rows(dsn, "select stream_id from progress") == [(stream,)]


@pytest.mark.parametrize("error", [ConnectionResetError(), DependencyError("gone")])
async def test_a_write_is_retried_while_the_database_is_away(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, error: Exception
) -> None:
    """Streams that were written before are not matched twice, and those that come after are not forgotten."""
    other = await a_stream(storage, "radio-two")
    failing = {other}
    written_to: list[int] = []

    async def write_all(batches: Sequence[Batch], info: Any) -> list[bool]:
        if failing.intersection(batch.stream_id for batch in batches):
            failing.clear()
            raise error
        written_to.extend(batch.stream_id for batch in batches)
        return await storage.batches.write_all(batches, info)

    records = [r for each in (stream, other) for r in Air(each).play(songs.one[: 12 * SECOND], 0.7)]
    bus = MemoryBus(records)
    before = failures("write")
    await work_off(
        quick_worker(bus, replace(storage, batches=Patched(storage.batches, write_all=write_all)), matcher), bus
    )
    assert written_to == [stream, other]
    assert failures("write") == before + 1
    matches, coverage, _ = await stored(dsn)
    assert [row[1:] for row in matches if row[0] == stream] == [row[1:] for row in matches if row[0] == other]
    assert [row[1:3] for row in coverage] == [(ANCHOR, ANCHOR + 12 * SECOND)] * 2


async def test_a_partition_assigned_while_the_database_is_away_starts_when_it_is_back(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    tries = 0

    async def replay_offset(partition: int) -> int | None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError
        return await storage.progress.replay_offset(partition)

    bus = MemoryBus(Air(stream).play(songs.one[: 12 * SECOND]))
    await work_off(
        quick_worker(bus, replace(storage, progress=Patched(storage.progress, replay_offset=replay_offset)), matcher),
        bus,
    )
    assert (tries, bus.starts, len(await storage.matches.list())) == (3, [None], 1)


@pytest.mark.parametrize("step", ["recall", "write"])
async def test_what_another_worker_writes_meanwhile_is_neither_lost_nor_undone(
    storage: Storage, dsn: str, matcher: Matcher, one: int, stream: int, songs: Songs, step: str
) -> None:
    """A worker that has lost its partition may still write after the next one has started."""
    records = Air(stream).play(songs.one[: 20 * SECOND])
    first, others, bus = MemoryBus(records[:3]), MemoryBus(records[:6]), MemoryBus(records)
    await work_off(quick_worker(first, storage, matcher), first)
    meanwhile = [lambda: work_off(quick_worker(others, storage, matcher), others)]

    async def write_all(batches: Sequence[Batch], info: Any) -> list[bool]:
        while step == "write" and meanwhile:
            await meanwhile.pop()()
        return await storage.batches.write_all(batches, info)

    async def open_plays(*arguments: Any) -> Any:
        plays = await storage.matches.open_plays(*arguments)
        while step == "recall" and meanwhile:
            await meanwhile.pop()()
        return plays

    batches, matches = Patched(storage.batches, write_all=write_all), Patched(storage.matches, open_plays=open_plays)
    await work_off(quick_worker(bus, replace(storage, batches=batches, matches=matches), matcher), bus)
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
    first, bus = MemoryBus(records[:3]), MemoryBus(records)
    await work_off(quick_worker(first, storage, matcher), first)
    async with open_database(dsn, 2, idle_transaction_s=1) as sleeper:
        at = await storage.progress.get(stream)
        assert at is not None
        values = (at.position, at.position, at.partition, at.offset, at.replay_offset, at.epoch)
        with suppress(DependencyError):
            async with sleeper.transaction() as connection:
                await connection.fetchval("progress_advance", [stream], *([value] for value in values))
                await work_off(quick_worker(bus, storage, matcher), bus)
    [match] = await storage.matches.list()
    assert match.ends == pytest.approx(ANCHOR + 16 * SECOND, abs=SECOND)


async def test_an_unavailable_bus_is_retried_and_asked_for_a_replay(
    storage: Storage, matcher: Matcher, one: int, stream: int, songs: Songs
) -> None:
    bus = MemoryBus(Air(stream).play(songs.one[: 12 * SECOND]), 2)
    failing = [1, 2]

    async def deliveries(start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        async for batch in bus.deliveries(start_at):
            yield batch
            if failing:
                failing.pop()
                raise BusError("the broker is away")

    with capture_logs() as logs:
        await work_off(quick_worker(Patched(bus, deliveries=deliveries), storage, matcher), bus)
    assert [entry["event"] for entry in logs].count("worker.bus_unavailable") == 2
    assert len(bus.starts) == 3, "each attempt starts with a replay"
    assert len(await storage.matches.list()) == 1
