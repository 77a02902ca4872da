"""A worker that dies between two steps, or is suspended and resumes beside its successor, changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.bus.port import Delivery, StartAt
from ingest.errors import BusError
from ingest.wire import GapReason, Record
from monitor.catalog.catalog import Catalog
from monitor.core.segments import Hit
from monitor.detect.detector import Embeddings
from monitor.detect.logmel import LogMelDetector
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.settings import MatchingSettings
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.fakes import Patched
from tests.songs import Air, Songs, seconds, written
from tests.workers import a_stream, quick_worker

SECOND = seconds(1)
DEADLINE_S = 60  # two busy cores
EXAMPLES = int(os.environ.get("AIRTRACE_TEST_EXAMPLES", "20"))  # half a second each
pytestmark = pytest.mark.timeout(600 + 100 * EXAMPLES)
# The worker's steps, in order: a mishap happens before or after one.
STEPS = ("start", "recall", "plays", "embed", "search", "write", "commit")
FOUND = """
    select t.title, m.state, m.starts, m.ends, m.track_starts, m.track_ends, m.speed, m.llr, m.score_sum, m.scored
    from matches m join tracks t on t.id = m.track_id where m.stream_id = $1 order by m.starts, m.track_starts
"""
COVERED = "select starts, ends, state, reason from coverage where stream_id = $1 order by starts"
ALERTED = """
    select count(*), count(distinct a.match_id) from alerts a join matches m on m.id = a.match_id where m.stream_id = $1
"""


@dataclass(frozen=True)
class Mishap:
    """What happens the nth time that a worker comes to a step: it dies, or it is suspended for some batches.

    successors_batches: how many batches its successor takes in the meantime; None: the worker dies.
    is_between: it resumes when its successor has matched a batch and is about to write it.
    """

    step: str
    is_after: bool
    nth: int
    successors_batches: int | None = None
    is_between: bool = False


MISHAPS = st.builds(
    Mishap,
    step=st.sampled_from(STEPS),
    is_after=st.booleans(),
    nth=st.integers(1, 25),
    successors_batches=st.none() | st.integers(0, 6),
    is_between=st.booleans(),
)


@dataclass
class Log:
    """What Kafka keeps: the records, and the committed offset. It has one reader at a time.

    breaks: after how many batches a reader has to start again, with its state still in memory.
    """

    records: Sequence[Record]
    sizes: Sequence[int]
    breaks: set[int] = field(default_factory=set)
    committed: int = 0
    reader: Reader | None = None


@dataclass(eq=False)
class Reader:
    """A bus over the log. `idle`: none of its batches is being processed; `taken`: how many were processed."""

    log: Log
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    taken: int = 0

    async def publish(self, record: Record) -> None:
        raise NotImplementedError

    async def reject(self, delivery: Delivery, error: str) -> None:
        raise AssertionError(error)

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        self.log.reader = self
        asked = await start_at(0)
        place = self.log.committed if asked is None else min(asked, self.log.committed)
        while place < len(self.log.records) and self.holds(0):
            size = self.log.sizes[self.taken % len(self.log.sizes)]
            batch = [Delivery(0, place + i, record) for i, record in enumerate(self.log.records[place : place + size])]
            self.idle.clear()
            yield batch
            self.idle.set()
            self.taken += 1
            place += len(batch)
            if self.taken in self.log.breaks:
                self.log.breaks.discard(self.taken)
                raise BusError("the broker is away")
        self.idle.set()
        await asyncio.Event().wait()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        if self.holds(0):
            self.log.committed = max(self.log.committed, offsets[0])

    def holds(self, partition: int) -> bool:
        return self.log.reader is self


class Trap:
    """Makes a mishap happen to a worker."""

    def __init__(self, mishap: Mishap | None) -> None:
        self._mishap = mishap
        self._times = 0
        self.sprung, self.released = asyncio.Event(), asyncio.Event()

    def around(self, part: Any, **methods: str) -> Any:
        """A part whose methods are steps."""
        return Patched(part, **{method: self._guarded(getattr(part, method), step) for method, step in methods.items()})

    def _guarded(self, call: Callable[..., Awaitable[Any]], step: str) -> Callable[..., Awaitable[Any]]:
        async def guarded(*arguments: Any, **options: Any) -> Any:
            is_it = self._is_it(step)
            if is_it and self._mishap and not self._mishap.is_after:
                await self._spring()
            result = await call(*arguments, **options)
            if is_it and self._mishap and self._mishap.is_after:
                await self._spring()
            return result

        return guarded

    def _is_it(self, step: str) -> bool:
        if self._mishap is None or self._mishap.step != step:
            return False
        self._times += 1
        return self._times == self._mishap.nth

    async def _spring(self) -> None:
        self.sprung.set()
        await self.released.wait()


class Cached:
    """A detector and an index that cache their answers, so that a hundred runs take seconds."""

    def __init__(self, detector: LogMelDetector, index: Index) -> None:
        self._detector, self._index = detector, index
        self.info, self.thresholds = detector.info, detector.thresholds
        self._vectors: dict[bytes, Embeddings] = {}
        self._hits: dict[bytes, tuple[Hit, ...]] = {}

    def embed(self, pcm: np.ndarray) -> Embeddings:
        key = hashlib.sha256(pcm.tobytes()).digest()
        if key not in self._vectors:
            self._vectors[key] = self._detector.embed(pcm)
        return self._vectors[key]

    def embed_many(self, pcms: Sequence[np.ndarray]) -> list[Embeddings]:
        return [self.embed(pcm) for pcm in pcms]

    async def search(self, vectors: np.ndarray, top_k: int) -> list[tuple[Hit, ...]]:
        """Searches vector by vector, because the batches differ from run to run."""
        new = [vector for vector in vectors if vector.tobytes() not in self._hits]
        if new:
            for vector, hits in zip(new, await self._index.search(np.array(new), top_k), strict=True):
                self._hits[vector.tobytes()] = hits
        return [self._hits[vector.tobytes()] for vector in vectors]


@dataclass
class Studio:
    """The parts of a run."""

    dsn: str
    storage: Storage
    cached: Cached
    executor: Executor
    songs: Songs

    def records(self, stream: int) -> list[Record]:
        """Plays: one across a short gap, one that a reconnect repeats in part, and one that a long gap ends."""
        one, two, air = self.songs.one, self.songs.two, Air(stream)
        return [
            *air.play(one[2 * SECOND : 14 * SECOND]),
            *air.gap(2.5, GapReason.STALLED),
            *air.play(one[round(16.5 * SECOND) : 24 * SECOND]),
            *air.play(self.songs.unknown[: 9 * SECOND], 1.5),
            *air.play(two[: 12 * SECOND], 0.6),  # in windows too short to open the play
            *air.play(two[12 * SECOND : 20 * SECOND], first_sample=seconds(4.123)),
            *air.gap(10, GapReason.ENDED),
            *air.play(one[: 10 * SECOND]),
            *air.play(self.songs.silence[: 9 * SECOND], 3.0),
        ]

    async def stream(self) -> int:
        return await a_stream(self.storage, f"radio-{uuid.uuid4().hex}")

    def worker(self, reader: Reader, trap: Trap) -> Worker:
        storage = replace(
            self.storage,
            progress=trap.around(self.storage.progress, replay_offset="start", get="recall"),
            matches=trap.around(self.storage.matches, open_plays="plays"),
            batches=trap.around(self.storage.batches, write_all="write"),
        )
        index = trap.around(self.cached, search="search")
        matcher = Matcher(self.cached, index, storage, self.executor, MatchingSettings(), self.cached.thresholds)
        listen = trap.around(matcher, match="embed", replay="embed")
        return quick_worker(trap.around(reader, commit="commit"), storage, listen)

    async def found(self, stream: int) -> list[list[tuple[Any, ...]]]:
        connection = await asyncpg.connect(self.dsn)
        try:
            queries = (FOUND, COVERED, ALERTED)
            return [[tuple(row) for row in await connection.fetch(query, stream)] for query in queries]
        finally:
            await connection.close()


@pytest.fixture
async def studio(
    dsn: str,
    storage: Storage,
    index: Index,
    catalog: Catalog,
    detector: LogMelDetector,
    executor: Executor,
    songs: Songs,
    tmp_path: Path,
) -> Studio:
    for name in ("one", "two"):
        path = written(tmp_path / f"{name}.wav", getattr(songs, name))
        await catalog.add(path, Metadata(name, str(path)))
    return Studio(dsn, storage, Cached(detector, index), executor, songs)


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(10 * EXAMPLES, marks=pytest.mark.deep)])
async def test_crashes_and_suspensions_change_nothing(studio: Studio, examples: int) -> None:
    stream = await studio.stream()
    await run(studio, Log(studio.records(stream), [5]), [])
    expected = await studio.found(stream)
    plays, _, _ = expected
    assert [(play[0], play[1]) for play in plays] == [("one", "closed"), ("two", "closed"), ("one", "closed")]

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(MISHAPS, min_size=1, max_size=4),
        st.lists(st.integers(1, 12), min_size=1, max_size=4),
        st.sets(st.integers(1, 25), max_size=3),
    )
    @example([Mishap("write", True, 2), Mishap("commit", False, 1)], [3], set())
    @example([Mishap("write", False, 3, 4)], [2], set())
    @example([Mishap("write", False, 20, 30, is_between=True)], [1], set())
    @example([Mishap("write", True, 3, 4), Mishap("plays", True, 1, 2)], [4], set())
    @example([Mishap("commit", False, 3, 2)], [2], {2, 4, 7})
    def nothing_changes(mishaps: list[Mishap], sizes: list[int], breaks: set[int]) -> None:
        asyncio.run_coroutine_threadsafe(same(mishaps, sizes, breaks), loop).result(DEADLINE_S)

    async def same(mishaps: list[Mishap], sizes: list[int], breaks: set[int]) -> None:
        other = await studio.stream()
        await run(studio, Log(studio.records(other), sizes, set(breaks)), mishaps)
        assert await studio.found(other) == expected

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(nothing_changes)  # hypothesis calls it many times, outside of any event loop


async def run(studio: Studio, log: Log, mishaps: Sequence[Mishap]) -> None:
    """Processes the log with a worker for each mishap and one more."""
    for mishap in mishaps:
        trap = Trap(mishap)
        async with Working(studio, log, trap) as working:
            if await working.until(trap.sprung.is_set) and mishap.successors_batches is not None:
                between = Trap(Mishap("write", False, 1) if mishap.is_between else None)
                async with Working(studio, log, between) as successor:
                    await successor.until_taken(mishap.successors_batches, between.sprung)
                    trap.released.set()
                    await working.finished()
                    between.released.set()
                    await successor.until_taken(successor.reader.taken + 1 + mishap.successors_batches)
    async with Working(studio, log, Trap(None)) as last:
        assert not await last.until(lambda: False)


class Working:
    """A worker that is killed when the context ends."""

    def __init__(self, studio: Studio, log: Log, trap: Trap) -> None:
        self.reader = Reader(log)
        self._worker = studio.worker(self.reader, trap)

    async def __aenter__(self) -> Working:
        self._task = asyncio.create_task(self._worker.run(), name="worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Whether the condition holds before the whole log is committed."""
        log = self.reader.log
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                if self._task.done():
                    await self._task
                if log.committed == len(log.records):
                    return False
                await asyncio.sleep(0.001)
        return True

    async def until_taken(self, batches: int, sprung: asyncio.Event | None = None) -> None:
        """Waits until it has taken this many batches, unless it comes to a trap before."""
        await self.until(lambda: self.reader.taken >= batches or (sprung is not None and sprung.is_set()))

    async def finished(self) -> None:
        """Waits until its current batch is done, if it has one."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.reader.idle.is_set():
                if self._task.done():
                    await self._task
                await asyncio.sleep(0.001)
