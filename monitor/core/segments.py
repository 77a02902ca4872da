"""Segments: the short frames that one embedding describes, and their search hits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 32_000
SEGMENT_SAMPLES = 32_000  # 1 s: NAFP (Chang et al., ICASSP 2021, section 2) found it short enough for broadcast edits
HOP_SAMPLES = 16_000  # 0.5 s


def count_segments(n_samples: int) -> int:
    """Number of whole segments in n_samples."""
    return 0 if n_samples < SEGMENT_SAMPLES else 1 + (n_samples - SEGMENT_SAMPLES) // HOP_SAMPLES


def frames(pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    """A read-only view of the whole segments in PCM, int16 (n,): int16 (k, SEGMENT_SAMPLES)."""
    if count_segments(len(pcm)) == 0:
        return np.empty((0, SEGMENT_SAMPLES), np.int16)
    return np.lib.stride_tricks.sliding_window_view(pcm, SEGMENT_SAMPLES)[::HOP_SAMPLES]


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: a reference segment that is similar to a query segment.

    position: where the segment starts in the track, in samples.
    score: inner product of the two vectors.
    """

    track: int
    position: int
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a stream, or of a track that is compared with others.

    start: stream clock of its first sample.
    vector: float32 (dimensions,), unit length; None for silence, which is never searched and has no hits.
    expected_similarity: the cosine that the vector should have with the music's own recording. The detector estimates
        it from how much other sound is heard; NaN if it has no estimate.
    """

    start: int
    vector: NDArray[np.float32] | None
    hits: tuple[Hit, ...] = ()
    expected_similarity: float = math.nan


@dataclass(frozen=True, slots=True)
class Grid:
    """Which samples a detector's vectors describe: the i-th starts at i * hop_samples and spans length_samples."""

    hop_samples: int
    length_samples: int


# PANNs was trained on ten seconds, and its vectors change slowly: they need not overlap.
PASSAGE_SAMPLES = 10 * SAMPLE_RATE_HZ
GRIDS = {
    "fingerprint": Grid(HOP_SAMPLES, SEGMENT_SAMPLES),
    "panns": Grid(PASSAGE_SAMPLES, PASSAGE_SAMPLES),
}


def grid(detector: str) -> Grid:
    """The grid of a detector by its name; the fingerprint's for a name that is not known."""
    return GRIDS.get(detector, GRIDS["fingerprint"])
