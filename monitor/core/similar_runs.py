"""Runs of passages that resemble a track for long enough that somebody should listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import PASSAGE_SAMPLES

Vectors = NDArray[np.float32]

MAX_GAP_SAMPLES = PASSAGE_SAMPLES  # a single passage that is lost, or does not resemble the track, does not end a run
MAX_TRACKS = 3  # that one passage may resemble: more would mean that it resembles none in particular


@dataclass(frozen=True, slots=True)
class SimilarTrack:
    """A track that a passage resembles. score: the largest cosine of the passage with the track's passages."""

    track: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """An interval [start, end) of the stream clock, and the tracks that it resembles enough, most similar first."""

    start: int
    end: int
    similar: tuple[SimilarTrack, ...]

    def score_of(self, track: int) -> float | None:
        """Its score with a track; None if it does not resemble it."""
        return next((each.score for each in self.similar if each.track == track), None)


@dataclass(frozen=True, slots=True)
class SimilarRun:
    """Consecutive passages that resemble one track. score_sum, scored: the sum and the number of their scores."""

    track: int
    start: int
    end: int
    score_sum: float
    scored: int


def similar_tracks(vector: Vectors, references: Mapping[int, Vectors], min_score: float) -> tuple[SimilarTrack, ...]:
    """The tracks that a passage resembles, most similar first, at most MAX_TRACKS.

    Args:
        vector: of the passage, float32 (dimensions,), unit length.
        references: by track, the vectors of its passages, float32 (k, dimensions).
        min_score: a track needs a passage whose cosine is at least this.
    """
    found = [
        SimilarTrack(track, round(float((passages @ vector).max()), 4))
        for track, passages in references.items()
        if len(passages)
    ]
    enough = sorted((each for each in found if each.score >= min_score), key=lambda each: (-each.score, each.track))
    return tuple(enough[:MAX_TRACKS])


def extend_runs(passage: Passage, previous: Passage | None, runs: Sequence[SimilarRun]) -> list[SimilarRun]:
    """The runs that a passage extends or, together with the previous one, begins. Runs it does not touch are left out.

    A run needs two passages: ten seconds that sound similar are a chord or a voice.
    """
    extended = (_extended(similar, passage, previous, runs) for similar in passage.similar)
    return [run for run in extended if run is not None]


def _extended(
    similar: SimilarTrack, passage: Passage, previous: Passage | None, runs: Sequence[SimilarRun]
) -> SimilarRun | None:
    for run in runs:
        if run.track == similar.track and run.end <= passage.start <= run.end + MAX_GAP_SAMPLES:
            return replace(run, end=passage.end, score_sum=run.score_sum + similar.score, scored=run.scored + 1)
    if previous is None or not previous.end <= passage.start <= previous.end + MAX_GAP_SAMPLES:
        return None
    before = previous.score_of(similar.track)
    return None if before is None else SimilarRun(similar.track, previous.start, passage.end, before + similar.score, 2)
