"""Exact cosines along alignments: of a stream's segments with a track, and of two tracks with each other.

Hits of the index only propose alignments. These cosines with the track's own vectors decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment.alignment import Alignment, segment_positions
from monitor.core.arrays import Floats, Ints
from monitor.core.reference import Reference
from monitor.core.segments import Segment


def cosines(reference: Reference, segments: Sequence[Segment], alignments: Sequence[Alignment]) -> Floats:
    """Cosines of a stream's segments with a track along each alignment.

    The track's vector between two of its segments is interpolated: the embedding changes smoothly within a hop.

    Returns:
        float32 (len(alignments), len(segments)); NaN where either side is silent, and outside the track.
    """
    return cosines_and_distinctiveness(reference, segments, alignments)[0]


def cosines_and_distinctiveness(
    reference: Reference, segments: Sequence[Segment], alignments: Sequence[Alignment]
) -> tuple[Floats, Floats]:
    """Cosines as in `cosines`, and the distinctiveness of the track's segments that they compare with.

    Returns:
        Two float32 arrays (len(alignments), len(segments)). The distinctiveness is 0 for silent segments.
    """
    found = np.full((len(alignments), len(segments)), np.nan, np.float32)
    distinctiveness = np.zeros((len(alignments), len(segments)), np.float32)
    heard, queries = _audible(reference, segments)
    if heard and len(reference.vectors):
        positions = segment_positions(alignments, [segments[i].start for i in heard])
        found[:, heard] = _cosines_at(reference, queries, positions)
        distinctiveness[:, heard] = reference.distinctiveness[_nearest(positions, len(reference.distinctiveness))]
    return found, distinctiveness


def local_context_similarity(reference: Reference, segments: Sequence[Segment], alignment: Alignment) -> Floats:
    """Similarity of each segment to the surroundings of its position in the track: float32 (n,), 0 where silent."""
    similarity = np.zeros(len(segments), np.float32)
    heard, queries = _audible(reference, segments)
    if heard and len(reference.vectors):
        positions = segment_positions([alignment], [segments[i].start for i in heard])[0]
        nearest = _nearest(positions, len(reference.vectors))
        similarity[heard] = (
            np.einsum("jd,jd->j", reference.local_context[nearest], queries) + reference.context_prior[nearest]
        )
    return similarity


def track_similarity(
    a: Reference, alignment_a: Alignment, b: Reference, alignment_b: Alignment, starts: Sequence[int]
) -> Floats:
    """Cosines of two tracks with each other, each along its own alignment with the same stream.

    Args:
        starts: stream clock of the stream's segments, in samples.

    Returns:
        float32 (len(starts),); 0 where one of the tracks is silent or has ended.
    """
    at_a, at_b = segment_positions([alignment_a], starts)[0], segment_positions([alignment_b], starts)[0]
    vectors = _interpolated(a, at_a)
    similarity: Floats = np.nan_to_num(_cosines_at(b, vectors, at_b[np.newaxis])[0])
    outside = (at_a <= -1) | (at_a >= len(a.vectors)) | ~vectors.any(axis=1)
    similarity[outside] = 0
    return similarity


def explained_similarity(theirs: Floats, similarity: Floats) -> Floats:
    """The part of one track's cosines that another track, heard at the same time, accounts for.

    Args:
        theirs: cosines of the stream with the other track, (n,); NaN counts as 0.
        similarity: cosines of the two tracks with each other, (n,).
    """
    explained: Floats = np.maximum(np.nan_to_num(theirs), 0) * np.maximum(similarity, 0)
    return explained


def _audible(reference: Reference, segments: Sequence[Segment]) -> tuple[list[int], Floats]:
    """Indices of the segments that can be compared with the track, and their vectors, float32 (n, dimensions)."""
    shape = reference.vectors.shape[1:]  # vectors of another model cannot be compared with these
    heard = [i for i, segment in enumerate(segments) if segment.vector is not None and segment.vector.shape == shape]
    return heard, np.stack([segments[i].vector for i in heard]) if heard else np.zeros((0, *shape), np.float32)  # type: ignore[misc]


def _cosines_at(reference: Reference, queries: Floats, positions: NDArray[np.float64]) -> Floats:
    """Cosine of query j with the track's vector at positions[i, j], in hops: float32, the shape of `positions`."""
    known = len(reference.vectors)
    low = np.floor(positions).astype(np.int64)
    is_inside = (positions > -1) & (positions < known)  # a segment half before the track is compared with its first
    first = _clip(low.min(axis=0), known)  # each query is compared once with a few neighbors, for all alignments
    width = int((_clip(low.max(axis=0), known) - first).max()) + 2
    near = np.minimum(first[:, np.newaxis] + np.arange(width), known - 1)
    products = np.einsum("jwd,jd->jw", reference.vectors[near], queries)
    before, after = _clip(low, known), _clip(low + 1, known)
    rows = np.arange(len(queries))
    weight = (positions - low).astype(np.float32)
    dots = (1 - weight) * products[rows, before - first] + weight * products[rows, after - first]
    squares = _squared_norms(reference, before, after, weight)
    is_inside &= squares > 0
    found: Floats = np.where(is_inside, dots / np.sqrt(np.where(is_inside, squares, 1)), np.nan).astype(np.float32)
    return found


def _squared_norms(reference: Reference, before: Ints, after: Ints, weight: Floats) -> Floats:
    """Squared norms of (1 - w) a + w b, for neighbors a and b that have unit length or are silent."""
    is_sound = reference.is_sound
    between = np.where(before == after, is_sound[before], reference.steps[before])
    squares: Floats = (1 - weight) ** 2 * is_sound[before] + weight**2 * is_sound[after]
    squares += 2 * weight * (1 - weight) * between
    return squares


def _interpolated(reference: Reference, positions: NDArray[np.float64]) -> Floats:
    """The track's unit vectors at positions in hops: float32 (len(positions), dimensions)."""
    known = len(reference.vectors)
    low = np.floor(positions).astype(np.int64)
    weight = (positions - low).astype(np.float32)[:, np.newaxis]
    before, after = _clip(low, known), _clip(low + 1, known)
    mixed = (1 - weight) * reference.vectors[before] + weight * reference.vectors[after]
    unit: Floats = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
    return unit


def _nearest(positions: NDArray[np.float64], n: int) -> Ints:
    """Indices of the nearest of n segments, by their positions in hops."""
    return _clip(np.round(positions).astype(np.int64), n)


def _clip(indices: Ints, n: int) -> Ints:
    """Indices limited to 0 .. n - 1. On arrays this small, numpy's own clip costs more than everything else."""
    return np.minimum(np.maximum(indices, 0), n - 1)
