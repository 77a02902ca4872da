"""From PCM to plays: embed, search, fetch the exact vectors, decide. The worker and `scan` share this."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor import metrics
from monitor.core.calibration import Peak, opening_peaks
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, Hit, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play
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
    """The memory of one stream: the segments of the last minute, oldest first, and the open and the ended plays."""

    recent: tuple[Segment, ...] = ()
    open: tuple[Play, ...] = ()
    ended: tuple[Play, ...] = ()

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
        self, memory: Memory, start: int, pcm: NDArray[np.int16], name: str
    ) -> tuple[Memory, TrackerUpdate]:
        """Matches a block of whole segments that starts at stream clock `start`; `name` identifies the stream.

        pcm: (n,) int16 mono at SAMPLE_RATE_HZ.

        Raises:
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        is_searched = bool(memory.open) or self._needs_search(name, start)
        memory, proposals, references = await self._propose(memory, start, pcm, self.thresholds, is_searched)
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
        return replace(memory, open=update.open, ended=update.ended), update

    async def opening_peaks(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], name: str, thresholds: Thresholds
    ) -> tuple[Memory, list[Peak]]:
        """Like `match`, but opens nothing: returns, for each segment, the plays that these thresholds would open."""
        memory, proposals, references = await self._propose(memory, start, pcm, thresholds)
        found: list[Peak] = await self._align_batcher.ask(
            lambda: opening_peaks(
                memory.recent, proposals, references, thresholds, lambda *of: self._play_id(name, *of)
            )
        )
        return memory, found

    async def replay(self, memory: Memory, start: int, pcm: NDArray[np.int16]) -> Memory:
        """Like `match`, for audio that was decided on before: only restores the memory."""
        memory, _ = await self._extend(memory, start, pcm)
        return memory

    async def _propose(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], thresholds: Thresholds, is_searched: bool = True
    ) -> tuple[Memory, list[list[Proposal]], dict[int, Reference]]:
        """Adds the block to memory; returns it with the alignments that are proposed, and the vectors to judge them."""
        memory, n_new = await self._extend(memory, start, pcm, is_searched)
        proposals: list[list[Proposal]] = []
        if any(segment.hits for segment in memory.recent[len(memory.recent) - n_new :]):
            proposals = await self._align_batcher.ask(lambda: propose(memory.recent, n_new, thresholds))
        else:
            proposals = [[] for _ in range(n_new)]
        references = await self._reference_cache.get(tracks_needed(proposals, memory.open))
        return memory, proposals, references

    async def _extend(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], is_searched: bool = True
    ) -> tuple[Memory, int]:
        last = memory.last_start()
        embedded = await self._segments(start, pcm, is_searched)
        segments = [segment for segment in embedded if last is None or segment.start > last]
        if not segments:
            return memory, 0
        horizon = segments[0].start - self.memory_samples
        kept = (segment for segment in memory.recent if segment.start >= horizon)
        return replace(memory, recent=(*kept, *segments)), len(segments)

    async def _segments(self, start: int, pcm: NDArray[np.int16], is_searched: bool) -> list[Segment]:
        embeddings = await self._embed_batcher.ask(pcm)
        metrics.SEGMENTS.labels(self.detector.info.name).inc(len(embeddings.vectors))
        audible = np.flatnonzero(embeddings.audible)
        with step_timer("search"):
            hits = await self._hits(embeddings.vectors[audible], is_searched)
        found = dict(zip(audible.tolist(), hits, strict=True))
        return [
            Segment(
                start + i * HOP_SAMPLES,
                embeddings.vectors[i] if i in found else None,
                found.get(i, ()),
                math.nan if embeddings.expected_similarity is None else float(embeddings.expected_similarity[i]),
            )
            for i in range(len(embeddings.vectors))
        ]

    async def _hits(self, vectors: NDArray[np.float32], is_searched: bool) -> list[tuple[Hit, ...]]:
        if not is_searched:  # the vectors stay, so that a play that is found later can extend back over them
            metrics.GATED.inc(len(vectors))
            return [()] * len(vectors)
        return await self._search_batcher.hits(vectors) if len(vectors) else []

    async def _embed(self, pcms: Sequence[NDArray[np.int16]]) -> list[Embeddings]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.detector.embed_many, pcms)

    async def _align(self, actions: Sequence[Callable[[], Any]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: [action() for action in actions])

    def _play_id(self, name: str, track: int, start: int) -> uuid.UUID:
        info = self.detector.info
        return uuid.uuid5(PLAY_NAMESPACE, f"{name}/{info.name}/{info.version}/{info.checksum}/{track}/{start}")
