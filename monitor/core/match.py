"""The values that matching works on. Instants are stream clock samples, positions are samples into the track."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: a reference segment that looks like a query segment. `score` is an inner product."""

    track: int
    position: int
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a stream; `vector` (float32, unit length) is None for silence, which has no hits either."""

    start: int
    vector: NDArray[np.float32] | None
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A track's own vectors, float32 (k, dimensions), segment i starts at i * HOP_SAMPLES; zero where silent."""

    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Play:
    """An interval of a stream aligned with an interval of a track.

    start, end: stream clock of the first and just behind the last matching sample.
    offset: position in the track minus stream clock, so position = instant + offset.
    score_sum, scored: sum of the exact cosines along the line and how many segments they are from.
    """

    id: uuid.UUID
    track: int
    start: int
    end: int
    offset: int
    score_sum: float
    scored: int

    @property
    def score(self) -> float:
        """Mean exact cosine along the aligned run."""
        return self.score_sum / self.scored

    @property
    def track_start(self) -> int:
        """Position in the track where the play begins, in samples."""
        return max(0, self.start + self.offset)

    @property
    def track_end(self) -> int:
        """Position in the track where the play ends, in samples."""
        return self.end + self.offset
