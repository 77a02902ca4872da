"""When a stream resembles a track for so long that somebody should listen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import PASSAGE_SAMPLES

Floats = NDArray[np.float32]

# A passage in between that does not resemble it, or that was lost, ends nothing.
HOLE_SAMPLES = PASSAGE_SAMPLES
MAX_TRACKS = 3  # that one passage may resemble: more would say that it resembles none in particular


@dataclass(frozen=True, slots=True)
class SimilarTrack:
    """A track, and the cosine of a passage with that of the track's passages that is most like it."""

    track: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a stream, in stream clock samples, and the tracks that it resembles enough, the best first."""

    start: int
    end: int
    similar: tuple[SimilarTrack, ...]

    def score_of(self, track: int) -> float | None:
        """Its cosine with a track, if it is enough."""
        return next((each.score for each in self.similar if each.track == track), None)


@dataclass(frozen=True, slots=True)
class Run:
    """Passages in a row that resemble one track; score_sum and scored: of their cosines."""

    track: int
    start: int
    end: int
    score_sum: float
    scored: int


def similar_tracks(vector: Floats, references: Mapping[int, Floats], minimum: float) -> tuple[SimilarTrack, ...]:
    """Tracks whose passages, shape (k, dimensions), have a cosine of `least` or more with a passage, the best first."""
    found = [
        SimilarTrack(track, round(float((passages @ vector).max()), 4))
        for track, passages in references.items()
        if len(passages)
    ]
    enough = sorted((each for each in found if each.score >= minimum), key=lambda each: (-each.score, each.track))
    return tuple(enough[:MAX_TRACKS])


def extend_runs(passage: Passage, last: Passage | None, runs: Sequence[Run]) -> list[Run]:
    """The runs that a passage prolongs or, together with the one before it, begins; as they are with it.

    Two passages are needed for a run: what sounds similar for ten seconds is a chord or a voice.
    """
    return [run for each in passage.similar if (run := _prolonged(each, passage, last, runs)) is not None]


def _prolonged(each: SimilarTrack, passage: Passage, last: Passage | None, runs: Sequence[Run]) -> Run | None:
    for run in runs:
        if run.track == each.track and run.end <= passage.start <= run.end + HOLE_SAMPLES:
            return replace(run, end=passage.end, score_sum=run.score_sum + each.score, scored=run.scored + 1)
    if last is None or not last.end <= passage.start <= last.end + HOLE_SAMPLES:
        return None
    before = last.score_of(each.track)
    return None if before is None else Run(each.track, last.start, passage.end, before + each.score, 2)
