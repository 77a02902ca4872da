"""A reference track: its exact vectors, and how much each of them says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Neighboring segments share half of their sound: in most music their cosine is about this (median 0.54 in the corpus).
# The segments of a drone are all the same, and match any other drone for as long as it lasts: together they say little.
TYPICAL_NEIGHBOR_COSINE = 0.5
MIN_DISTINCTIVENESS = 0.1
# The local context of a segment: from the nearest segments that share no sound with it to as far as music of one kind
# lasts. Chosen on `tune`: contexts up to 4, 5, 8 and 16 s found fewer plays at the same rate of false plays.
MIN_CONTEXT_HOPS, MAX_CONTEXT_HOPS = 2, 6
# The prior: a segment's typical cosine with its local context (median in the corpus), and its weight in segments, which
# counts where the context has few.
PRIOR_COSINE, PRIOR_SEGMENTS = 0.2, 4


@dataclass(frozen=True, slots=True)
class Reference:
    """A track's vectors, and what is derived from them once. Segment i starts at i hops.

    stored: float32 or, to save memory, float16 (k, dimensions), unit length; zero where silent. All results are
        computed in float32.
    steps: cosine of each vector with the next one, float32 (k,); 0 for the last. For interpolation between vectors.
    is_sound: 1 for sound, 0 for silence, float32 (k,). For interpolation as well.
    distinctiveness: how much each segment says that its neighbors do not say, MIN_DISTINCTIVENESS to 1, float32 (k,).
    context_counts: segments in the local context of each, float32 (k,).
    """

    stored: NDArray[np.float32] | NDArray[np.float16]
    steps: NDArray[np.float32] = field(init=False, repr=False)
    is_sound: NDArray[np.float32] = field(init=False, repr=False)
    distinctiveness: NDArray[np.float32] = field(init=False, repr=False)
    context_counts: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = self.vectors
        steps = np.zeros(len(vectors), np.float32)
        steps[:-1] = np.einsum("ij,ij->i", vectors[:-1], vectors[1:])
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "is_sound", vectors.any(axis=1).astype(np.float32))
        neighbors = (steps + np.concatenate([steps[:1], steps[:-1]])) / 2
        distinctiveness = np.clip((1 - neighbors) / (1 - TYPICAL_NEIGHBOR_COSINE), MIN_DISTINCTIVENESS, 1)
        object.__setattr__(self, "distinctiveness", distinctiveness.astype(np.float32))
        counts = _context_sums(self.is_sound[:, np.newaxis], 0, len(self))[:, 0]
        object.__setattr__(self, "context_counts", counts)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, float32 (k, dimensions)."""
        return self.stored.astype(np.float32, copy=False)

    def part(self, first: int, end: int) -> NDArray[np.float32]:
        """The vectors number `first` to `end` - 1, float32 (end - first, dimensions)."""
        found = self.stored[first:end]
        if found.dtype == np.float32:
            return found.astype(np.float32, copy=False)
        # numpy takes twice as long to convert float16 to float32 directly.
        return found.astype(np.float64).astype(np.float32)

    def local_context(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The local context of segments, by their numbers: float32 (n, dimensions).

        A query's inner product with it, plus `context_prior`, is its similarity to that context.
        """
        first, end = int(numbers.min()), int(numbers.max()) + 1
        sums = _context_sums(self.stored, first, end)
        sums /= (self.context_counts[first:end] + PRIOR_SEGMENTS)[:, np.newaxis]
        return sums[numbers - first]

    def context_prior(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a typical local context adds to the similarity, for segments by their numbers: float32 (n,)."""
        prior: NDArray[np.float32] = PRIOR_COSINE * PRIOR_SEGMENTS / (self.context_counts[numbers] + PRIOR_SEGMENTS)
        return prior

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        arrays = (self.stored, self.steps, self.is_sound, self.distinctiveness, self.context_counts)
        return sum(array.nbytes for array in arrays)


References = Mapping[int, Reference]  # by track


def _context_sums(rows: NDArray[np.float32] | NDArray[np.float16], first: int, end: int) -> NDArray[np.float32]:
    """For each of the rows number `first` to `end` - 1, the sum of the rows in its local context.

    Returns:
        float32 (end - first, columns). Sums of float16 are exact in float64, whatever their order.
    """
    begin, n = first - MAX_CONTEXT_HOPS, end - first
    near = np.zeros((n + 2 * MAX_CONTEXT_HOPS, rows.shape[1]))  # zero outside the track
    inside = rows[max(0, begin) : end + MAX_CONTEXT_HOPS]
    near[max(0, -begin) :][: len(inside)] = inside
    sums = np.zeros((n, rows.shape[1]))
    for hops in range(MIN_CONTEXT_HOPS, MAX_CONTEXT_HOPS + 1):
        sums += near[MAX_CONTEXT_HOPS - hops :][:n]
        sums += near[MAX_CONTEXT_HOPS + hops :][:n]
    return sums.astype(np.float32)
