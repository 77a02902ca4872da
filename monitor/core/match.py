"""The values that matching works on. Instants are stream clock samples, positions are samples into the track."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES

# Neighbours share half of their sound: in most music their cosine is about this (median .54 of the corpus). A drone's
# are all the same, and agree with any other drone's for as long as it lasts: together they are little evidence.
USUAL_STEP = 0.5
LEAST_NOVELTY = 0.1
# What is around a place: from where segments share no sound with it, to as far as music of one kind goes on. Chosen on
# `tune`: to 4, 5, 8 and 16 s less was found at the same rate of false plays.
NEAR_SEGMENTS, FAR_SEGMENTS = 2, 6
# A segment of music is so much like the music around it (median of the corpus); as if so many such were there besides,
# where a track has few.
USUAL_AROUND, USUAL_SEGMENTS = 0.2, 4


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: a reference segment that looks like a query segment. `score` is an inner product."""

    track: int
    position: int
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a stream; `vector` (float32, unit length) is None for silence, which has no hits either.

    foreseen: the cosine that the vector would have with the music's own recording, guessed from how much else seems to
    be heard; NaN if the detector has no guess.
    """

    start: int
    vector: NDArray[np.float32] | None
    hits: tuple[Hit, ...] = ()
    foreseen: float = math.nan


@dataclass(frozen=True, slots=True)
class Reference:
    """A track's own vectors, float32 (k, dimensions), segment i starts at i * HOP_SAMPLES; zero where silent.

    steps: cosine of each vector with the next one, (k,), 0 behind the last; is_sound: 1 for a vector, 0 for silence,
    (k,). Both are what interpolating between vectors needs.
    novelty: how much each segment says that its neighbours do not, LEAST_NOVELTY to 1, (k,).
    around, usual: a query's inner product with `around` (k, dimensions), and `usual` (k,) more, is how much it is like
        what is around each segment.
    """

    vectors: NDArray[np.float32]
    steps: NDArray[np.float32] = field(init=False, repr=False)
    is_sound: NDArray[np.float32] = field(init=False, repr=False)
    novelty: NDArray[np.float32] = field(init=False, repr=False)
    around: NDArray[np.float32] = field(init=False, repr=False)
    usual: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steps = np.zeros(len(self.vectors), np.float32)
        steps[:-1] = np.einsum("ij,ij->i", self.vectors[:-1], self.vectors[1:])
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "is_sound", self.vectors.any(axis=1).astype(np.float32))
        around = (steps + np.concatenate([steps[:1], steps[:-1]])) / 2
        novelty = np.clip((1 - around) / (1 - USUAL_STEP), LEAST_NOVELTY, 1).astype(np.float32)
        object.__setattr__(self, "novelty", novelty)
        sums, counts = _around(self.vectors), _around(self.is_sound[:, np.newaxis])
        object.__setattr__(self, "around", sums / (counts + USUAL_SEGMENTS))
        object.__setattr__(self, "usual", USUAL_AROUND * USUAL_SEGMENTS / (counts[:, 0] + USUAL_SEGMENTS))

    @property
    def nbytes(self) -> int:
        """Memory of what is as long as the vectors are: all but a hundredth."""
        return self.vectors.nbytes + self.around.nbytes


def _around(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over the rows that are around each row."""
    known = len(rows)
    before = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(axis=0, dtype=np.float64)])
    at = np.arange(known)
    sums = np.zeros(rows.shape)
    for first, last in ((-FAR_SEGMENTS, -NEAR_SEGMENTS), (NEAR_SEGMENTS, FAR_SEGMENTS)):
        sums += before[np.clip(at + last + 1, 0, known)] - before[np.clip(at + first, 0, known)]
    return sums.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Line:
    """A way through a track: at stream clock `instant` it is at `position`, and `speed` times as fast as the stream."""

    instant: int
    position: float
    speed: float = 1.0

    def at(self, instant: int) -> float:
        """Position at another instant."""
        return self.position + self.speed * (instant - self.instant)

    def distance(self, other: Line) -> float:
        """How far from another line it is in the track, at this line's instant: samples."""
        return abs(other.at(self.instant) - self.position)


@dataclass(frozen=True, slots=True)
class Play:
    """An interval of a stream aligned with an interval of a track.

    start, end: stream clock of the first and just behind the last matching sample.
    track_start, track_end: positions there; speed: of the line at its end, on which the play would go on.
    score_sum, scored: sum of the exact cosines along the line and how many segments they are from.
    evidence: what the segments say for the play, less what they say against it (monitor/core/evidence.py).
    bridged: samples within the play in which the track was not heard.
    is_ambiguous: another place of the same track would fit as well.
    """

    id: uuid.UUID
    track: int
    start: int
    end: int
    track_start: int
    track_end: int
    speed: float
    score_sum: float
    scored: int
    evidence: float
    bridged: int = 0
    is_ambiguous: bool = False

    @property
    def score(self) -> float:
        """Mean exact cosine along the aligned run."""
        return self.score_sum / self.scored

    @property
    def line(self) -> Line:
        """Where the track would go on."""
        return Line(self.end, self.track_end, self.speed)

    @property
    def mean_speed(self) -> float:
        """How many times as fast as in the catalog the track is played, over the whole play."""
        if self.end - self.start < 2 * HOP_SAMPLES:
            return self.speed
        return (self.track_end - self.track_start) / (self.end - self.start)
