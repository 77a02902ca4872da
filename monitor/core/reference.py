"""A reference track's exact vectors, and how much each of them tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Neighbours share half of their sound: in most music their cosine is about this (median .54 of the corpus). A drone's
# are all the same, and agree with any other drone's for as long as it lasts: together they are little evidence.
USUAL_STEP = 0.5
MIN_NOVELTY = 0.1
# What is around a place: from where segments share no sound with it, to as far as music of one kind goes on. Chosen on
# `tune`: to 4, 5, 8 and 16 s less was found at the same rate of false plays.
NEAR_SEGMENTS, FAR_SEGMENTS = 2, 6
# A segment of music is so much like the music around it (median of the corpus); as if so many such were there besides,
# where a track has few.
USUAL_AROUND, USUAL_SEGMENTS = 0.2, 4


@dataclass(frozen=True, slots=True)
class Reference:
    """A track's own vectors, float32 (k, dimensions), segment i starts at i * HOP_SAMPLES; zero where silent.

    steps: cosine of each vector with the next one, (k,), 0 behind the last; is_sound: 1 for a vector, 0 for silence,
    (k,). Both are what interpolating between vectors needs.
    distinctiveness: how much each segment says that its neighbours do not, MIN_NOVELTY to 1, (k,).
    local_context, context_prior: (k, dimensions) and (k,). A query's inner product with the former, plus the latter, is
        its similarity to the surroundings of each segment.
    """

    vectors: NDArray[np.float32]
    steps: NDArray[np.float32] = field(init=False, repr=False)
    is_sound: NDArray[np.float32] = field(init=False, repr=False)
    distinctiveness: NDArray[np.float32] = field(init=False, repr=False)
    local_context: NDArray[np.float32] = field(init=False, repr=False)
    context_prior: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steps = np.zeros(len(self.vectors), np.float32)
        steps[:-1] = np.einsum("ij,ij->i", self.vectors[:-1], self.vectors[1:])
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "is_sound", self.vectors.any(axis=1).astype(np.float32))
        around = (steps + np.concatenate([steps[:1], steps[:-1]])) / 2
        distinctiveness = np.clip((1 - around) / (1 - USUAL_STEP), MIN_NOVELTY, 1).astype(np.float32)
        object.__setattr__(self, "distinctiveness", distinctiveness)
        sums, counts = _around(self.vectors), _around(self.is_sound[:, np.newaxis])
        object.__setattr__(self, "local_context", sums / (counts + USUAL_SEGMENTS))
        object.__setattr__(self, "context_prior", USUAL_AROUND * USUAL_SEGMENTS / (counts[:, 0] + USUAL_SEGMENTS))

    @property
    def nbytes(self) -> int:
        """Memory of what is as long as the vectors are: all but a hundredth."""
        return self.vectors.nbytes + self.local_context.nbytes


def _around(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over the rows that are around each row."""
    known = len(rows)
    before = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(axis=0, dtype=np.float64)])
    at = np.arange(known)
    sums = np.zeros(rows.shape)
    for first, last in ((-FAR_SEGMENTS, -NEAR_SEGMENTS), (NEAR_SEGMENTS, FAR_SEGMENTS)):
        sums += before[np.clip(at + last + 1, 0, known)] - before[np.clip(at + first, 0, known)]
    return sums.astype(np.float32)


Floats = NDArray[np.floating[Any]]
References = Mapping[int, Reference]
