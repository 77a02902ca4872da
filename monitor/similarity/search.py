"""Searches the catalog for tracks that sound like a clip. The index proposes tracks, exact vectors rank them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ
from monitor.detect.audioset import SoundSummary, summarize_passages
from monitor.errors import AudioError
from monitor.similarity.panns_service import PannsService
from monitor.similarity.passages import Pcm, passages_of
from monitor.similarity.pcm_blocks import pcm_blocks
from monitor.storage.records import Track
from monitor.storage.storage import Storage

Floats = NDArray[np.float32]

CANDIDATES = 40  # hits per passage of the clip: a long track may have many of the best hits
MAX_QUERY_PASSAGES = 60  # of a clip: all of ten minutes, and 38 MB
REFERENCES_AT_ONCE = 64  # tracks whose exact vectors are in memory at once: 6 MB for songs of four minutes


@dataclass(frozen=True, slots=True)
class SimilarRecording:
    """A track that sounds like a clip.

    score: mean over the clip's passages of each one's largest cosine with a passage of the track.
    best: the largest of these cosines.
    at_s, track_at_s: where `best` is in the clip and in the track, in seconds.
    """

    track: Track
    score: float
    best: float
    at_s: float
    track_at_s: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a clip sounds like, and the tracks that sound like it, best first."""

    duration_s: float
    summary: SoundSummary
    similar: tuple[SimilarRecording, ...]


class SimilaritySearch:
    """Finds tracks by their PANNs vectors."""

    def __init__(self, panns: PannsService, storage: Storage) -> None:
        self._panns = panns
        self._storage = storage

    async def search(self, path: Path, limit: int) -> SearchResult:
        """The tracks that sound most like a clip of any length, at most `limit`.

        Raises:
            AudioError: the file cannot be used, or is silent.
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        clip, n_samples = await _read_clip(path)
        numbers = list(clip)
        output = await self._panns.listen(list(clip.values()))
        audible = [i for i in range(len(numbers)) if output.vectors[i].any()]
        if not audible:
            raise AudioError("silent", f"{path.name}: nothing but silence")
        starts_s = [numbers[i] * PASSAGE_SAMPLES / SAMPLE_RATE_HZ for i in audible]
        similar = await self._ranked(output.vectors[audible], starts_s, limit)
        summary = summarize_passages(list(output.probabilities[audible]))
        return SearchResult(n_samples / SAMPLE_RATE_HZ, summary, similar)

    async def _ranked(self, vectors: Floats, starts_s: Sequence[float], limit: int) -> tuple[SimilarRecording, ...]:
        candidates = await self.candidates(vectors, max(CANDIDATES, limit))
        ranked: list[tuple[float, float, float, float, int]] = []
        for first in range(0, len(candidates), REFERENCES_AT_ONCE):
            exact = await self.references(candidates[first : first + REFERENCES_AT_ONCE])
            for track, passages in exact.items():
                cosines = vectors @ passages.T
                at, track_at = np.unravel_index(int(cosines.argmax()), cosines.shape)
                score, best = float(cosines.max(axis=1).mean()), float(cosines[at, track_at])
                ranked.append((score, best, starts_s[int(at)], int(track_at) * PASSAGE_SAMPLES / SAMPLE_RATE_HZ, track))
        ranked.sort(key=lambda each: (-each[0], each[4]))
        found: list[SimilarRecording] = []
        for score, best, at_s, track_at_s, track in ranked:
            if len(found) < limit and (known := await self._storage.tracks.get(track)) is not None:
                found.append(SimilarRecording(known, score, best, at_s, track_at_s))
        return tuple(found)

    async def candidates(self, vectors: Floats, top_k: int) -> list[int]:
        """The tracks that the index proposes, those with the best hits first.

        Args:
            vectors: float32, shape (n, dimensions).
            top_k: hits per vector.

        Raises:
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        hits = await (await self._panns.loaded()).index.search(vectors, top_k)
        flat = sorted((hit for each in hits for hit in each), key=lambda hit: -hit.score)
        return list(dict.fromkeys(hit.track for hit in flat))

    async def references(self, tracks: Sequence[int]) -> dict[int, Floats]:
        """The exact vectors of tracks, float32 (k, dimensions), zero for silence; without tracks that have none.

        Raises:
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        info = (await self._panns.loaded()).info
        return {
            track: reference.vectors
            for track, reference in (await self._storage.vectors.references(tracks, info)).items()
            if reference.vectors.any()
        }


async def _read_clip(path: Path) -> tuple[dict[int, Pcm], int]:
    """A clip's passages by number, and its length in samples. It may be shorter than a second.

    Of a long clip only every second, fourth, ... passage is kept: at most MAX_QUERY_PASSAGES, evenly spread.
    """
    clip: dict[int, Pcm] = {}
    n_samples, n_passages, step = 0, 0, 1
    try:
        async with aclosing(pcm_blocks(path)) as blocks:
            async for pcm in blocks:
                n_samples += len(pcm)
                for passage in passages_of(pcm):
                    if n_passages % step == 0:
                        clip[n_passages] = passage
                    n_passages += 1
                    if len(clip) > MAX_QUERY_PASSAGES:
                        step *= 2
                        clip = {number: kept for number, kept in clip.items() if number % step == 0}
    except AudioError as error:
        if error.reason != "too_short" or not n_samples:
            raise
    return clip, n_samples
