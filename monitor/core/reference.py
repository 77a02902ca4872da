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
    """A track's vectors, and what is derived from them once. All arrays are float32; segment i starts at i hops.

    vectors: (k, dimensions), unit length; zero where silent.
    steps: cosine of each vector with the next one, (k,); 0 for the last. For interpolation between vectors.
    is_sound: 1 for sound, 0 for silence, (k,). For interpolation as well.
    distinctiveness: how much each segment says that its neighbors do not say, MIN_DISTINCTIVENESS to 1, (k,).
    local_context, context_prior: (k, dimensions) and (k,). A query's inner product with the former, plus the latter, is
        its similarity to the local context of each segment.
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
        neighbors = (steps + np.concatenate([steps[:1], steps[:-1]])) / 2
        distinctiveness = np.clip((1 - neighbors) / (1 - TYPICAL_NEIGHBOR_COSINE), MIN_DISTINCTIVENESS, 1)
        object.__setattr__(self, "distinctiveness", distinctiveness.astype(np.float32))
        sums, counts = _context_sums(self.vectors), _context_sums(self.is_sound[:, np.newaxis])
        object.__setattr__(self, "local_context", sums / (counts + PRIOR_SEGMENTS))
        object.__setattr__(self, "context_prior", PRIOR_COSINE * PRIOR_SEGMENTS / (counts[:, 0] + PRIOR_SEGMENTS))

    @property
    def nbytes(self) -> int:
        """Memory of the two-dimensional arrays in bytes, which is 99 % of it."""
        return self.vectors.nbytes + self.local_context.nbytes


References = Mapping[int, Reference]  # by track


def _context_sums(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each row, the sum of the rows in its local context: the shape of `rows`."""
    known = len(rows)
    before = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(axis=0, dtype=np.float64)])
    at = np.arange(known)
    sums = np.zeros(rows.shape)
    for first, last in ((-MAX_CONTEXT_HOPS, -MIN_CONTEXT_HOPS), (MIN_CONTEXT_HOPS, MAX_CONTEXT_HOPS)):
        sums += before[np.clip(at + last + 1, 0, known)] - before[np.clip(at + first, 0, known)]
    return sums.astype(np.float32)
