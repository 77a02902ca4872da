"""The cross-similarity matrix of a track and a stream: how similar they are everywhere, not only at hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from monitor.core.alignment.fitting import SPEEDS
from monitor.core.arrays import Floats
from monitor.core.likelihood import suffix_sums
from monitor.core.reference import Reference
from monitor.core.segments import Segment

MAX_ALIGNMENTS = 2  # of one track


def cross_similarity(reference: Reference, segments: Sequence[Segment]) -> Floats:
    """Cosine of every segment of a track with every segment of a stream.

    Returns:
        float32 (segments of the track, len(segments)); NaN where either is silent.
    """
    width = reference.stored.shape[1]
    queries = np.stack([np.zeros(width, np.float32) if s.vector is None else s.vector for s in segments])
    products = reference.vectors @ queries.T
    known = reference.is_sound[:, np.newaxis] * queries.any(axis=1)
    found: Floats = np.where(known > 0, products, np.float32(np.nan))
    return found


def best_alignments(llrs: Floats) -> Iterator[int]:
    """Finds the alignments with the largest LLR at any of SPEEDS, best first.

    Args:
        llrs: LLR of every pair of segments, (segments of the track, segments of the stream).

    Yields:
        The position of the stream's newest segment in the track, in hops.
    """
    known, n_segments = llrs.shape
    # The true position lies between two of the track's segments: take the better one.
    near = np.maximum(llrs, np.vstack([llrs[1:], np.zeros((1, n_segments))]))
    sums = np.full(known, -np.inf)
    columns = np.arange(n_segments)
    for speed in SPEEDS:
        rows = np.floor(np.arange(known)[:, np.newaxis] + speed * (columns - columns[-1])).astype(np.int64)
        along = np.where((rows >= 0) & (rows < known), near[np.clip(rows, 0, known - 1), columns], 0)
        sums = np.maximum(sums, suffix_sums(along).max(axis=1))
    for _ in range(MAX_ALIGNMENTS):
        position = int(sums.argmax())
        yield position
        sums[max(0, position - 2) : position + 3] = -np.inf
