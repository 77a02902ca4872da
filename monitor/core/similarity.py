"""How alike a stream and a track are everywhere, not only where hits point to. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment import SPEEDS
from monitor.core.likelihood import suffix_sums
from monitor.core.reference import Reference
from monitor.core.segments import Segment

Floats = NDArray[np.floating[Any]]

MAX_PLACES = 2  # worth a closer look, of all that a track has


def similarity(reference: Reference, segments: Sequence[Segment]) -> Floats:
    """Cosine of every segment of a track with every one of a stream: (k, len(segments)), NaN where either is silent."""
    width = reference.vectors.shape[1]
    queries = np.stack([np.zeros(width, np.float32) if s.vector is None else s.vector for s in segments])
    alike = reference.vectors @ queries.T
    known = reference.is_sound[:, np.newaxis] * queries.any(axis=1)
    found: Floats = np.where(known > 0, alike, np.float32(np.nan))
    return found


def best_alignments(llr: NDArray[np.floating]) -> Iterator[int]:
    """The newest segment's places, in hops, on the lines with most evidence: out of (k, segments)."""
    known, n_segments = llr.shape
    # The true place lies between two of the track's segments.
    near = np.maximum(llr, np.vstack([llr[1:], np.zeros((1, n_segments))]))
    sums = np.full(known, -np.inf)
    columns = np.arange(n_segments)
    for speed in SPEEDS:
        places = np.floor(np.arange(known)[:, np.newaxis] + speed * (columns - columns[-1])).astype(np.int64)
        on_line = np.where((places >= 0) & (places < known), near[np.clip(places, 0, known - 1), columns], 0)
        sums = np.maximum(sums, suffix_sums(on_line).max(axis=1))
    for _ in range(MAX_PLACES):
        place = int(sums.argmax())
        yield place
        sums[max(0, place - 2) : place + 3] = -np.inf
