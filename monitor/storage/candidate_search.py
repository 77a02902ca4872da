"""The port for candidates: which positions of which tracks may match a vector. Milvus implements it, and memory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import HOP_SAMPLES, Hit

# A row's key is track << 24 | segment: 2^24 segments of 0.5 s are 97 days, which leaves 2^39 tracks.
SEGMENT_BITS = 24


class CandidateSearch(Protocol):
    """Proposes positions in the catalog. Exact vectors decide on them afterwards, so it may be approximate."""

    async def search(
        self, vectors: NDArray[np.float32], top_k: int, but: Collection[int] = ()
    ) -> list[tuple[Hit, ...]]:
        """The `top_k` best hits of every query vector, best first.

        Args:
            vectors: the queries, float32 (n, dimensions).
            top_k: hits for each query.
            but: tracks to leave out.

        Raises:
            DependencyError: a server that it needs is unreachable.
        """


def row_id(track: int, segment: int) -> int:
    """The key of one vector of a track."""
    return track << SEGMENT_BITS | segment


def hit_of(row: int, score: float) -> Hit:
    """The hit with the key `row`."""
    return Hit(track=row >> SEGMENT_BITS, position=(row & ((1 << SEGMENT_BITS) - 1)) * HOP_SAMPLES, score=score)
