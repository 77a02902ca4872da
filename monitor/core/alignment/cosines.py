"""Exact cosines along alignments: of a stream's segments with a track, and of two tracks with each other.

Hits of the index only propose alignments. These cosines with the track's own vectors decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment.alignment import Alignment, AlignmentGrid, segment_positions
from monitor.core.arrays import Floats, Ints
from monitor.core.reference import Reference
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import Segment

ALL = slice(None)


def cosines(
    reference: Reference, segments: Sequence[Segment], alignments: AlignmentGrid | Sequence[Alignment]
) -> Floats:
    """Cosines of a stream's segments with a track along each alignment.

    The track's vector between two of its segments is interpolated: the embedding changes smoothly within a hop.

    Returns:
        float32 (len(alignments), len(segments)); NaN where either side is silent, and outside the track.
    """
    grid = alignments if isinstance(alignments, AlignmentGrid) else AlignmentGrid.of(alignments)
    return cosines_and_distinctiveness(reference, segments, grid)[0]


def cosines_and_distinctiveness(
    reference: Reference, segments: Sequence[Segment], alignments: AlignmentGrid
) -> tuple[Floats, Floats]:
    """Cosines as in `cosines`, and the distinctiveness of the track's segments that they compare with.

    Returns:
        Two float32 arrays (len(alignments), len(segments)). The distinctiveness is 0 for silent segments.
    """
    arrays = SegmentArrays.of(segments)
    heard = _comparable(reference, arrays)
    if heard is ALL:
        positions = segment_positions(alignments, arrays.starts)
        nearest = _nearest(positions, len(reference))
        return _cosines_at(reference, arrays.vectors, positions), reference.distinctiveness.take(nearest)
    found = np.full((len(alignments), len(arrays)), np.nan, np.float32)
    distinctiveness = np.zeros((len(alignments), len(arrays)), np.float32)
    if heard is not None:
        positions = segment_positions(alignments, arrays.starts[heard])
        found[:, heard] = _cosines_at(reference, arrays.vectors[heard], positions)
        distinctiveness[:, heard] = reference.distinctiveness[_nearest(positions, len(reference.distinctiveness))]
    return found, distinctiveness


def compare(reference: Reference, segments: Sequence[Segment], alignment: Alignment) -> tuple[Floats, Floats, Floats]:
    """Compares segments with a track along one alignment.

    Returns:
        Three float32 arrays (n,): cosines and distinctiveness as in `cosines_and_distinctiveness`, and the similarity
        of each segment to the surroundings of its position in the track. The last two are 0 for silent segments.
    """
    arrays = SegmentArrays.of(segments)
    cosine = np.full(len(arrays), np.nan, np.float32)
    distinctiveness = np.zeros(len(arrays), np.float32)
    similarity = np.zeros(len(arrays), np.float32)
    heard = _comparable(reference, arrays)
    if heard is not None:
        positions = segment_positions(AlignmentGrid.of([alignment]), arrays.starts[heard])
        queries, nearest = arrays.vectors[heard], _nearest(positions[0], len(reference))
        cosine[heard] = _cosines_at(reference, queries, positions)[0]
        distinctiveness[heard] = reference.distinctiveness.take(nearest)
        products = np.einsum("jd,jd->j", reference.local_context(nearest), queries)
        similarity[heard] = products + reference.context_prior(nearest)
    return cosine, distinctiveness, similarity


def track_similarity(
    a: Reference, alignment_a: Alignment, b: Reference, alignment_b: Alignment, starts: Sequence[int] | Ints
) -> Floats:
    """Cosines of two tracks with each other, each along its own alignment with the same stream.

    Args:
        starts: stream clock of the stream's segments, in samples, (n,).

    Returns:
        float32 (len(starts),); 0 where one of the tracks is silent or has ended.
    """
    instants = np.asarray(starts, np.int64)
    at_a, at_b = (segment_positions(AlignmentGrid.of([each]), instants)[0] for each in (alignment_a, alignment_b))
    vectors = _interpolated(a, at_a)
    similarity: Floats = np.nan_to_num(_cosines_at(b, vectors, at_b[np.newaxis])[0])
    outside = (at_a <= -1) | (at_a >= len(a)) | ~vectors.any(axis=1)
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


def _comparable(reference: Reference, arrays: SegmentArrays) -> slice | Ints | None:
    """Which segments can be compared with the track: ALL, their indices, or None for none.

    Vectors of another model, with other dimensions, cannot be compared.
    """
    if len(reference) == 0 or len(arrays) == 0 or arrays.vectors.shape[1:] != reference.stored.shape[1:]:
        return None
    if arrays.is_all_audible:
        return ALL
    heard: Ints = np.flatnonzero(arrays.is_audible)
    return heard if len(heard) else None


def _cosines_at(reference: Reference, queries: Floats, positions: NDArray[np.float64]) -> Floats:
    """Cosine of query j with the track's vector at positions[i, j], in hops: float32, the shape of `positions`."""
    known = len(reference)
    floors = np.floor(positions)
    low = floors.astype(np.int64)
    weight = np.subtract(positions, floors, out=floors).astype(np.float32)
    lowest, highest = low.min(axis=0), low.max(axis=0)
    start, end = int(lowest.min()), int(highest.max()) + 1
    if start >= 0 and end < known and reference.is_sound[start : end + 1].all():
        first, width = lowest, int((highest - lowest).max()) + 2
        products = _products(reference, queries, first, width)
        found = _interpolated_cosines(products, low - first, weight, reference.steps.take(low))
        if found is not None:
            return found
    is_inside = (positions > -1) & (positions < known)  # a segment half before the track is compared with its first
    first = _clip(lowest, known)  # each query is compared once with a few neighbors, for all alignments
    products = _products(reference, queries, first, int((_clip(highest, known) - first).max()) + 2)
    before, after = _clip(low, known), _clip(low + 1, known)
    rows = np.arange(len(queries))
    dots = (1 - weight) * products[rows, before - first] + weight * products[rows, after - first]
    squares = _squared_norms(reference, before, after, weight)
    is_inside &= squares > 0
    cosine: Floats = np.where(is_inside, dots / np.sqrt(np.where(is_inside, squares, 1)), np.nan).astype(np.float32)
    return cosine


def _products(reference: Reference, queries: Floats, first: Ints, width: int) -> Floats:
    """Inner products of query j with `width` of the track's vectors, starting with number first[j]: (n, width)."""
    near = np.minimum(first[:, np.newaxis] + np.arange(width), len(reference) - 1)
    start = int(first.min())
    near -= start
    vectors = reference.part(start, int(first.max()) + width)
    products: Floats = np.einsum("jwd,jd->jw", vectors[near], queries)
    return products


def _interpolated_cosines(products: Floats, index: Ints, weight: Floats, steps: Floats) -> Floats | None:
    """The cosines of `_cosines_at` within a track and away from silence, where less has to be looked at.

    Args:
        products: of query j with the track's vectors near it, (n, width).
        index: of these, the one before each position, (m, n); the next one is after it.
        weight: of the one after the position, (m, n).
        steps: cosine of the two, (m, n).

    Returns:
        float32 (m, n); None if two neighbors are opposite, so that there is no vector between them.
    """
    index += np.arange(0, products.size, products.shape[1])
    rest = 1 - weight
    dots = products.take(index)
    dots *= rest
    index += 1
    after = products.take(index)
    after *= weight
    dots += after
    squares = rest**2
    squares += np.square(weight, out=after)
    cross = np.multiply(weight, 2, out=weight)
    cross *= rest
    cross *= steps
    squares += cross
    if not squares.min() > 0:
        return None
    dots /= np.sqrt(squares, out=squares)
    return dots


def _squared_norms(reference: Reference, before: Ints, after: Ints, weight: Floats) -> Floats:
    """Squared norms of (1 - w) a + w b, for neighbors a and b that have unit length or are silent."""
    is_sound = reference.is_sound
    between = np.where(before == after, is_sound[before], reference.steps[before])
    squares: Floats = (1 - weight) ** 2 * is_sound[before] + weight**2 * is_sound[after]
    squares += 2 * weight * (1 - weight) * between
    return squares


def _interpolated(reference: Reference, positions: NDArray[np.float64]) -> Floats:
    """The track's unit vectors at positions in hops: float32 (len(positions), dimensions)."""
    known = len(reference)
    low = np.floor(positions).astype(np.int64)
    weight = (positions - low).astype(np.float32)[:, np.newaxis]
    before, after = _clip(low, known), _clip(low + 1, known)
    start = int(before.min())
    vectors = reference.part(start, int(after.max()) + 1)
    mixed = (1 - weight) * vectors[before - start] + weight * vectors[after - start]
    unit: Floats = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
    return unit


def _nearest(positions: NDArray[np.float64], n: int) -> Ints:
    """Indices of the nearest of n segments, by their positions in hops."""
    return _clip(np.round(positions).astype(np.int64), n)


def _clip(indices: Ints, n: int) -> Ints:
    """Indices limited to 0 .. n - 1. On arrays this small, numpy's own clip costs more than everything else."""
    return np.minimum(np.maximum(indices, 0), n - 1)
