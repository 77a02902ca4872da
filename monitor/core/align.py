"""Alignment: votes of hits for lines through a track, and exact scores of segments along a line. Pure.

A line is (track, offset): the segment at stream clock t lies at position t + offset of the track. Hits only propose
lines; a line is judged by the track's own vectors (design rule 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.match import Reference, Segment
from monitor.core.segments import HOP_SAMPLES

# A query's segments lie anywhere between two of the reference's: the true offset is looked for in eighths of a hop.
FINE_STEPS = 8


def votes(segments: Iterable[Segment], least: int) -> dict[int, list[int]]:
    """Lines that at least `least` segments vote for: per track, offsets that start a bin of one hop, most votes first.

    A segment between two reference segments may find either, so each line counts two neighbouring bins.
    """
    voters: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for segment in segments:
        for hit in segment.hits:
            place = (hit.position - segment.start) // HOP_SAMPLES
            voters[hit.track, place].add(segment.start)
            voters[hit.track, place - 1].add(segment.start)
    lines: defaultdict[int, list[int]] = defaultdict(list)
    for (track, place), starts in sorted(voters.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(starts) >= least:
            lines[track].append(place * HOP_SAMPLES)
    return dict(lines)


def fine_offsets(offset: int) -> list[int]:
    """Where within the two hops behind a voted offset the true one may lie."""
    return [offset + step * HOP_SAMPLES // FINE_STEPS for step in range(2 * FINE_STEPS)]


def exact(reference: Reference, segments: Sequence[Segment], offsets: Sequence[int]) -> NDArray[np.float32]:
    """Cosines (len(offsets), len(segments)) with the track; NaN where either is silent or there is no track.

    Between two reference segments the vector is interpolated: the embedding changes smoothly within a hop.
    """
    scores = np.full((len(offsets), len(segments)), np.nan, np.float32)
    heard = [i for i, segment in enumerate(segments) if segment.vector is not None]
    if heard:
        starts = np.array([segments[i].start for i in heard])
        vectors = _at(reference, (starts + np.array(offsets)[:, np.newaxis]) / HOP_SAMPLES)
        queries = np.stack([segments[i].vector for i in heard])  # type: ignore[misc]
        scores[:, heard] = np.einsum("ojd,jd->oj", vectors, queries)
    return scores


def _at(reference: Reference, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit vectors of the track at places counted in hops, NaN where it has none: (*places.shape, dimensions)."""
    known = reference.vectors
    before = np.floor(places).astype(np.int64)
    there = (places > -1) & (places < len(known))  # a segment half before the track is compared with its first
    low, high = np.clip(before, 0, len(known) - 1), np.clip(before + 1, 0, len(known) - 1)
    weight = (places - before).astype(np.float32)[..., np.newaxis]
    mixed = known[low] * (1 - weight) + known[high] * weight
    norms = np.linalg.norm(mixed, axis=-1)
    there &= norms > 0
    norms[~there] = np.nan
    unit: NDArray[np.float32] = mixed / norms[..., np.newaxis]
    return unit
