"""From PCM to plays: embed, search, fetch the exact vectors, decide. The worker and `scan` share this."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor import metrics
from monitor.core.calibration import Peak, opening_peaks
from monitor.core.reference import References
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play
from monitor.core.tracking.search_plan import (
    chunks,
    heard_until,
    is_worth_another_look,
    search_plan,
)
from monitor.core.tracking.tracker import TrackerUpdate, advance, propose, tracks_needed
from monitor.detect.detector import Detector, Embeddings
from monitor.matching.call_batcher import CallBatcher
from monitor.matching.reference_cache import ReferenceCache
from monitor.matching.search_batcher import SearchBatcher
from monitor.matching.steps import step_timer
from monitor.settings import MatchingSettings
from monitor.storage.candidate_search import CandidateSearch
from monitor.storage.storage import Storage

# A play's id follows from its content, so that a replay after a crash finds the rows that were written before.
PLAY_NAMESPACE = uuid.UUID("5f2f6a1e-6c0e-4f0e-9a52-0a1f77ab3a11")

# Streams that one thread embeds or aligns at a time: enough for the network to be efficient and to make the change of
# threads cheap, few enough that the other thread gets some, too. And how many such calls run at a time.
MAX_STREAMS_PER_CALL = 16
MAX_CALLS = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one stream: the segments of the last minute, oldest first, and the open and the ended plays.

    is_near: a track may have begun, so that every segment is worth a search (monitor/core/tracking/search_plan.py).
    """

    recent: tuple[Segment, ...] = ()
    open: tuple[Play, ...] = ()
    ended: tuple[Play, ...] = ()
    is_near: bool = True

    def last_start(self) -> int | None:
        """Stream clock of the newest segment."""
        return self.recent[-1].start if self.recent else None

    def count_audible_since(self, start: int | None) -> int:
        """How many segments after this stream clock value (None: all) are not silent."""
        return sum(one.vector is not None for one in self.recent if start is None or one.start > start)


def always_search(_: str, __: int) -> bool:
    """Searches everything that is not silent."""
    return True


class Matcher:
    """Combines the detector, the index and the exact vectors. Holds no state of any stream.

    needs_search: whether a stream, by its name, is worth a search starting at a stream clock value
    (`StreamTagger.needs_search`).
    """

    def __init__(
        self,
        detector: Detector,
        index: CandidateSearch,
        storage: Storage,
        executor: Executor,
        settings: MatchingSettings,
        thresholds: Thresholds,
        needs_search: Callable[[str, int], bool] = always_search,
    ) -> None:
        self.detector = detector
        self._search_batcher = SearchBatcher(index, settings.top_k)
        self._reference_cache = ReferenceCache(storage, detector)
        self._executor = executor
        self._embed_batcher = CallBatcher("embed", self._embed, max_items=MAX_STREAMS_PER_CALL, max_calls=MAX_CALLS)
        self._align_batcher: CallBatcher[Callable[[], Any], Any] = CallBatcher(
            "align", self._align, max_items=MAX_STREAMS_PER_CALL, max_calls=MAX_CALLS
        )
        self._needs_search = needs_search
        self.memory_samples = round(settings.memory_s * SAMPLE_RATE_HZ)
        self._thresholds = replace(thresholds, memory_samples=self.memory_samples)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that `match` uses."""
        return self._thresholds

    def set_open_threshold(self, open_llr: float) -> None:
        """Sets the LLR at which plays open, starting with the next batch."""
        self._thresholds = self.thresholds_at(open_llr)

    def thresholds_at(self, open_llr: float) -> Thresholds:
        """The detector's thresholds with another opening LLR. A lower one also considers lines with fewer votes."""
        default = self.detector.thresholds
        votes = default.vote_llr * min(1.0, open_llr / default.open_llr)
        memory = self.memory_samples
        return replace(default, open_llr=open_llr, vote_llr=votes, memory_samples=memory)

    async def match(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], name: str, origin: int = 0
    ) -> tuple[Memory, TrackerUpdate]:
        """Matches a block of whole segments that starts at stream clock `start`; `name` identifies the stream.

        origin: stream clock at which the session began; windows of the usual length end where its chunks do.

        pcm: (n,) int16 mono at SAMPLE_RATE_HZ.

        Raises:
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        is_searched = bool(memory.open) or self._needs_search(name, start)
        update = TrackerUpdate(memory.open, memory.ended, (), (), {})
        for chunk in chunks(_new(memory, await self._embedded(start, pcm)), origin):
            memory, decided = await self._match_chunk(memory, chunk, name, is_searched)
            update = update.followed_by(decided)
        return memory, update

    async def _match_chunk(
        self, memory: Memory, segments: Sequence[Segment], name: str, is_searched: bool
    ) -> tuple[Memory, TrackerUpdate]:
        """Searches what is worth it, and decides on the new segments."""
        playing = await self._reference_cache.get({play.track for play in memory.open})
        memory, proposals, is_near = await self._propose(memory, segments, playing, is_searched)
        needed = tracks_needed(proposals, memory.open) - playing.keys()
        references = playing | await self._reference_cache.get(needed)
        update: TrackerUpdate = await self._align_batcher.ask(
            lambda: advance(
                memory.recent,
                proposals,
                memory.open,
                memory.ended,
                references,
                self.thresholds,
                lambda *of: self._play_id(name, *of),
            )
        )
        return replace(memory, open=update.open, ended=update.ended, is_near=is_near), update

    async def _propose(
        self, memory: Memory, segments: Sequence[Segment], playing: References, is_searched: bool
    ) -> tuple[Memory, list[list[Proposal]], bool]:
        """Searches the new segments that are worth it (`search_plan`); returns whether a track may have begun."""
        if not is_searched:  # the vectors stay, so that a play that is found later can extend back over them
            metrics.GATED.inc(_count_audible(segments))
            return self._remembering(memory, segments), [[] for _ in segments], memory.is_near
        is_near, until = memory.is_near, heard_until(memory.recent)
        plan = search_plan(segments, memory.open, playing, heard_until=until)
        worth = plan.now | (is_near & plan.later)
        found = self._remembering(memory, await self._searched(segments, worth))
        proposals = await self._proposals(found, len(segments), self.thresholds)
        again = plan.later & ~worth & is_worth_another_look(found.recent[-len(segments) :], proposals, memory.open)
        if again.any():
            worth |= again
            found = self._remembering(memory, await self._searched(found.recent[-len(segments) :], again))
            proposals = await self._proposals(found, len(segments), self.thresholds)
        metrics.UNSEARCHED.inc(_count_audible(segments) - _count_audible(compress(segments, worth)))
        newest = found.recent[-len(segments) :]
        is_near = bool(is_worth_another_look(newest, proposals, memory.open, is_near=is_near)[-1])
        return found, proposals, is_near

    async def opening_peaks(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], name: str, thresholds: Thresholds
    ) -> tuple[Memory, list[Peak]]:
        """Like `match`, but opens nothing: returns, for each segment, the plays that these thresholds would open."""
        segments = _new(memory, await self._embedded(start, pcm))
        memory = self._remembering(memory, await self._searched(segments))
        proposals = await self._proposals(memory, len(segments), thresholds)
        references = await self._reference_cache.get(tracks_needed(proposals, ()))
        found: list[Peak] = await self._align_batcher.ask(
            lambda: opening_peaks(
                memory.recent, proposals, references, thresholds, lambda *of: self._play_id(name, *of)
            )
        )
        return memory, found

    async def replay(self, memory: Memory, start: int, pcm: NDArray[np.int16]) -> Memory:
        """Like `match`, for audio that was decided on before: only restores the memory."""
        segments = _new(memory, await self._embedded(start, pcm))
        return replace(self._remembering(memory, await self._searched(segments)), is_near=True)

    def _remembering(self, memory: Memory, segments: Sequence[Segment]) -> Memory:
        """The memory with new segments, and without those that are too old."""
        if not segments:
            return memory
        horizon = segments[0].start - self.memory_samples
        kept = (segment for segment in memory.recent if segment.start >= horizon)
        return replace(memory, recent=(*kept, *segments))

    async def _proposals(self, memory: Memory, n_new: int, thresholds: Thresholds) -> list[list[Proposal]]:
        """The alignments that each of the newest segments proposes."""
        if not any(segment.hits for segment in memory.recent[len(memory.recent) - n_new :]):
            return [[] for _ in range(n_new)]
        proposals: list[list[Proposal]] = await self._align_batcher.ask(
            lambda: propose(memory.recent, n_new, thresholds)
        )
        return proposals

    async def _embedded(self, start: int, pcm: NDArray[np.int16]) -> list[Segment]:
        """The segments of the block, without hits."""
        embeddings = await self._embed_batcher.ask(pcm)
        metrics.SEGMENTS.labels(self.detector.info.name).inc(len(embeddings.vectors))
        return [
            Segment(
                start + i * HOP_SAMPLES,
                embeddings.vectors[i] if embeddings.audible[i] else None,
                (),
                math.nan if embeddings.expected_similarity is None else float(embeddings.expected_similarity[i]),
            )
            for i in range(len(embeddings.vectors))
        ]

    async def _searched(self, segments: Sequence[Segment], worth: NDArray[np.bool_] | None = None) -> list[Segment]:
        """The segments with their hits. Of those that are not silent, only the ones that are worth it are searched."""
        vectors = {
            i: segment.vector
            for i, segment in enumerate(segments)
            if segment.vector is not None and (worth is None or worth[i])
        }
        found = list(segments)
        if vectors:
            with step_timer("search"):
                hits = await self._search_batcher.hits(np.stack(list(vectors.values())))
            for i, own in zip(vectors, hits, strict=True):
                found[i] = replace(segments[i], hits=own)
        return found

    async def _embed(self, pcms: Sequence[NDArray[np.int16]]) -> list[Embeddings]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.detector.embed_many, pcms)

    async def _align(self, actions: Sequence[Callable[[], Any]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: [action() for action in actions])

    def _play_id(self, name: str, track: int, start: int) -> uuid.UUID:
        info = self.detector.info
        return uuid.uuid5(PLAY_NAMESPACE, f"{name}/{info.name}/{info.version}/{info.checksum}/{track}/{start}")


def _count_audible(segments: Iterable[Segment]) -> int:
    return sum(segment.vector is not None for segment in segments)


def _new(memory: Memory, segments: Sequence[Segment]) -> list[Segment]:
    """The segments that are not in memory yet."""
    last = memory.last_start()
    return [segment for segment in segments if last is None or segment.start > last]
