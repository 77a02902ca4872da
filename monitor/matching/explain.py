"""Explains a moment of a recording, or of a stream as long as the log has it. Decides and stores nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.bus.history import HistorySlice, WindowHistory
from ingest.errors import BusError
from ingest.timeline import to_utc
from ingest.wire import Window
from monitor.audio import decode
from monitor.core.explanation import Explanation, explain, tracks_in_question
from monitor.core.reference import Reference
from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, Segment
from monitor.errors import AudioError, DependencyError, NotFound
from monitor.matching.matcher import Matcher, Memory
from monitor.storage.records import StreamStatus
from monitor.storage.storage import Storage

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """An interval [begin, end) of a stream clock, and the one track in question, or None for any track."""

    begin: int
    end: int
    track: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation, and the data it is based on.

    examined: the interval of the stream clock that was examined, which is longer than the one in question. A play at
        either end of it may continue; infinite where the recording itself begins or ends.
    missing_samples: samples of the interval in question without audio.
    best: vectors of the first hypothesis' track.
    """

    explanation: Explanation
    segments: tuple[Segment, ...]
    examined: tuple[float, float]
    missing_samples: int
    best: Reference | None


@dataclass(frozen=True, slots=True)
class _Run:
    """Contiguous audio of one session, (n,) int16, whose sample 0 is at stream clock `anchor`."""

    anchor: int
    first_sample: int
    pcm: Pcm

    @property
    def start(self) -> int:
        return self.anchor + self.first_sample

    @property
    def end(self) -> int:
        return self.start + len(self.pcm)

    def samples_in(self, begin: int, end: int) -> int:
        """How many of its samples lie in an interval of the stream clock."""
        return max(0, min(self.end, end) - max(self.start, begin))


class Explainer:
    """Repeats the matching of a moment, and returns the data behind its decisions."""

    def __init__(self, matcher: Matcher, storage: Storage, executor: Executor) -> None:
        self._matcher = matcher
        self._storage = storage
        self._executor = executor

    async def of_recording(self, path: Path, query: ExplainQuery) -> Explained:
        """Explains a moment of a file, on a stream clock that starts with the file, as in `scan`.

        Raises:
            AudioError: the file cannot be used, or ends before that moment.
            NotFound: the track does not exist.
        """
        begin, end = self._context(query)
        begin = max(0, begin - begin % HOP_SAMPLES)
        run = _Run(0, begin, await _decoded(path, begin, end))
        if not run.samples_in(query.begin, query.end):
            at_s = query.begin / SAMPLE_RATE_HZ
            raise AudioError("too_short", f"{path.name} ends before {at_s:.1f} s: ask for an earlier moment")
        found = await self._explained([run], query)
        first, last = found.examined
        return replace(found, examined=(-inf if begin == 0 else first, last if run.end >= end else inf))

    async def of_stream(self, log: WindowHistory, stream: StreamStatus, query: ExplainQuery) -> Explained:
        """Explains a moment of a stream from the windows that the log still has.

        Raises:
            NotFound: the log no longer has that moment, or does not have it yet; or the track does not exist.
            DependencyError: the log, PostgreSQL or Milvus is unreachable.
        """
        progress = await self._storage.progress.get(stream.id)
        if progress is None:
            raise NotFound(f"{stream.name} has no audio yet: see `airtrace streams list`")
        try:
            history = await log.windows(stream.id, progress.partition, *self._context(query))
        except BusError as error:
            raise DependencyError(str(error)) from error
        runs = list(_runs(history.windows))
        if not any(run.samples_in(query.begin, query.end) for run in runs):
            raise NotFound(_not_in_log(stream.name, query, history))
        return await self._explained(runs, query)

    def _context(self, query: ExplainQuery) -> tuple[int, int]:
        """The interval that a decision depends on: the tracker's memory before it, and the longest gap after it."""
        thresholds = self._matcher.thresholds
        return query.begin - thresholds.memory_samples, query.end + thresholds.max_gap_samples

    async def _explained(self, runs: Sequence[_Run], query: ExplainQuery) -> Explained:
        segments = [segment async for segment in self._segments(runs)]
        question = (segments, self._matcher.thresholds, query.begin, query.end, query.track)
        loop = asyncio.get_running_loop()
        tracks = await loop.run_in_executor(self._executor, tracks_in_question, *question)
        references = await self._storage.vectors.references(tracks, self._matcher.detector.info)
        if query.track is not None and query.track not in references:
            raise NotFound(f"there is no track {query.track} with vectors of this model: see `airtrace tracks list`")
        explanation = await loop.run_in_executor(self._executor, explain, segments, references, *question[1:])
        best = references[explanation.hypotheses[0].track] if explanation.hypotheses else None
        missing = query.end - query.begin - sum(run.samples_in(query.begin, query.end) for run in runs)
        examined = (segments[0].start, segments[-1].start + SEGMENT_SAMPLES) if segments else (query.begin, query.end)
        return Explained(explanation, tuple(segments), examined, max(0, missing), best)

    async def _segments(self, runs: Sequence[_Run]) -> AsyncGenerator[Segment, None]:
        """The segments of all runs in order. Audio that a reconnect repeats appears once, as in the worker."""
        last = None
        for run in runs:
            first, pcm = Segmenter(run.first_sample).feed(run.pcm)
            memory = await self._matcher.replay(Memory(), run.anchor + first, pcm)
            for segment in memory.recent:
                if last is None or segment.start > last:
                    last = segment.start
                    yield segment


async def _decoded(path: Path, begin: int, end: int) -> Pcm:
    """The samples [begin, end) of a file, or fewer if it ends before. Reads from its start: no seek is exact."""
    parts: list[Pcm] = []
    n_samples = 0
    async with aclosing(decode.blocks(path)) as blocks:
        async for block in blocks:
            parts.append(block[max(0, begin - n_samples) : max(0, end - n_samples)])
            n_samples += len(block)
            if n_samples >= end:
                break
    return np.concatenate(parts)


def _runs(windows: Sequence[Window]) -> Iterator[_Run]:
    """Joins contiguous windows of a session."""
    waiting: list[Window] = []
    for window in windows:
        if waiting and (window.session_id, window.start) != (waiting[-1].session_id, waiting[-1].end):
            yield _join(waiting)
            waiting = []
        waiting.append(window)
    if waiting:
        yield _join(waiting)


def _join(windows: Sequence[Window]) -> _Run:
    pcm = np.frombuffer(b"".join(window.pcm for window in windows), "<i2")
    return _Run(windows[0].anchor, windows[0].first_sample, pcm)


def _not_in_log(name: str, query: ExplainQuery, history: HistorySlice) -> str:
    """Why the log has nothing, and what to do instead."""
    oldest, newest = history.oldest, history.newest
    instead = f"`airtrace matches --stream {name}` lists what was found; a recording can be explained at any moment"
    if oldest is not None and query.end <= oldest:
        since = f"{to_utc(oldest):%Y-%m-%d %H:%M:%S}"
        return f"the log of {name} starts at {since} UTC, after that moment: {instead}"
    if newest is not None and query.begin >= newest:
        return f"the log of {name} ends at {to_utc(newest):%Y-%m-%d %H:%M:%S} UTC: ask again once that moment is over"
    return (
        f"the log of {name} has no audio of that moment: it was not monitored (see `airtrace coverage "
        f"--stream {name}`), or the moment is too long ago or in the future: {instead}"
    )
