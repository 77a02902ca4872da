"""Explains a moment of a recording, or of what the log still has of a stream. Decides nothing, stores nothing."""

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
from monitor.storage.matches import Store
from monitor.storage.records import StreamStatus

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """An interval [begin, end) of a stream clock, and the one track that it is about, if it is about one."""

    begin: int
    end: int
    track: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation with what it was made from.

    heard: stream clock of what was looked at around the interval: a play at either end of it may go on, except where
    the recording itself begins or ends. missing: samples of the interval that there is no audio of. best: vectors of
    the first hypothesis' track.
    """

    explanation: Explanation
    segments: tuple[Segment, ...]
    heard: tuple[float, float]
    missing: int
    best: Reference | None


@dataclass(frozen=True, slots=True)
class _Run:
    """Unbroken audio of one session, whose sample 0 is at stream clock `anchor`."""

    anchor: int
    first_sample: int
    pcm: Pcm

    @property
    def start(self) -> int:
        return self.anchor + self.first_sample

    @property
    def end(self) -> int:
        return self.start + len(self.pcm)

    def within(self, begin: int, end: int) -> int:
        """How many of its samples lie in an interval."""
        return max(0, min(self.end, end) - max(self.start, begin))


class Explainer:
    """Asks the matcher's parts again what they said, or would say, of a moment."""

    def __init__(self, matcher: Matcher, store: Store, executor: Executor) -> None:
        self._matcher = matcher
        self._store = store
        self._executor = executor

    async def of_recording(self, path: Path, asked: ExplainQuery) -> Explained:
        """Explains a moment of a file, whose stream clock starts at its beginning, as `scan` has it.

        Raises:
            AudioError: the file cannot be used, or is over before that moment.
            NotFound: there is no such track.
        """
        begin, end = self._context(asked)
        begin = max(0, begin - begin % HOP_SAMPLES)
        run = _Run(0, begin, await _decoded(path, begin, end))
        if not run.within(asked.begin, asked.end):
            at_s = asked.begin / SAMPLE_RATE_HZ
            raise AudioError("too_short", f"{path.name}: it is over before {at_s:.1f} s: ask for an earlier moment")
        found = await self._explained([run], asked)
        return replace(found, heard=(-inf if begin == 0 else found.heard[0], found.heard[1] if run.end >= end else inf))

    async def of_stream(self, log: WindowHistory, stream: StreamStatus, asked: ExplainQuery) -> Explained:
        """Explains a moment of a stream from what the log has of it.

        Raises:
            NotFound: the log has nothing of that moment, any more or yet; or there is no such track.
            DependencyError: the log cannot be read.
        """
        progress = await self._store.progress(stream.id)
        if progress is None:
            raise NotFound(f"nothing of {stream.name} was heard yet: see `airtrace streams list`")
        try:
            recording = await log.windows(stream.id, progress.partition, *self._context(asked))
        except BusError as error:
            raise DependencyError(str(error)) from error
        runs = list(_runs(recording.windows))
        if not any(run.within(asked.begin, asked.end) for run in runs):
            raise NotFound(_not_in_log(stream.name, asked, recording))
        return await self._explained(runs, asked)

    def _context(self, asked: ExplainQuery) -> tuple[int, int]:
        """What the tracker remembered at the moment, and how long it waits for what follows."""
        thresholds = self._matcher.thresholds
        return asked.begin - thresholds.memory_samples, asked.end + thresholds.max_gap_samples

    async def _explained(self, runs: Sequence[_Run], asked: ExplainQuery) -> Explained:
        segments = [segment async for segment in self._segments(runs)]
        question = (segments, self._matcher.thresholds, asked.begin, asked.end, asked.track)
        loop = asyncio.get_running_loop()
        tracks = await loop.run_in_executor(self._executor, tracks_in_question, *question)
        references = await self._store.references(tracks, self._matcher.detector.info)
        if asked.track is not None and asked.track not in references:
            raise NotFound(f"there is no track {asked.track} with vectors of this model: see `airtrace tracks list`")
        explanation = await loop.run_in_executor(self._executor, explain, segments, references, *question[1:])
        best = references[explanation.hypotheses[0].track] if explanation.hypotheses else None
        missing = asked.end - asked.begin - sum(run.within(asked.begin, asked.end) for run in runs)
        heard = (segments[0].start, segments[-1].start + SEGMENT_SAMPLES) if segments else (asked.begin, asked.end)
        return Explained(explanation, tuple(segments), heard, max(0, missing), best)

    async def _segments(self, runs: Sequence[_Run]) -> AsyncGenerator[Segment, None]:
        """The segments of all runs in order; what a reconnect repeats comes once, as the worker has it."""
        last = None
        for run in runs:
            first, pcm = Segmenter(run.first_sample).feed(run.pcm)
            memory = await self._matcher.replay(Memory(), run.anchor + first, pcm)
            for segment in memory.recent:
                if last is None or segment.start > last:
                    last = segment.start
                    yield segment


async def _decoded(path: Path, begin: int, end: int) -> Pcm:
    """The samples [begin, end) of a file, as far as there are any; read from its start, for no seeking is exact."""
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
    """Windows that follow one another, joined."""
    waiting: list[Window] = []
    for window in windows:
        if waiting and (window.session_id, window.start) != (waiting[-1].session_id, waiting[-1].end):
            yield _joined(waiting)
            waiting = []
        waiting.append(window)
    if waiting:
        yield _joined(waiting)


def _joined(windows: Sequence[Window]) -> _Run:
    pcm = np.frombuffer(b"".join(window.pcm for window in windows), "<i2")
    return _Run(windows[0].anchor, windows[0].first_sample, pcm)


def _not_in_log(name: str, asked: ExplainQuery, recording: HistorySlice) -> str:
    """Why there is nothing, and what to do instead."""
    oldest, newest = recording.oldest, recording.newest
    elsewhere = f"`airtrace matches --stream {name}` says what was found; of a recording, any moment can be explained"
    if oldest is not None and asked.end <= oldest:
        since = f"{to_utc(oldest):%Y-%m-%d %H:%M:%S}"
        return f"the log goes back to {since} UTC for {name}, and no longer to that moment: {elsewhere}"
    if newest is not None and asked.begin >= newest:
        return f"{name} was heard until {to_utc(newest):%Y-%m-%d %H:%M:%S} UTC: ask again once that moment is over"
    return (
        f"the log has nothing of {name} at that moment: nobody listened (see `airtrace coverage --stream {name}`), "
        f"or it is too long ago, or still to come: {elsewhere}"
    )
