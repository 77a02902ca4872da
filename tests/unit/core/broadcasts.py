"""Broadcasts of made-up tracks: vectors without audio, with the hits of an exact search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Hit, Segment

DIMENSIONS = 32
TOP_K = 5


def track(seed: int, n_segments: int) -> Reference:
    """A track of random vectors, each mixed with the one before: neighbors are similar, others are not."""
    draws = np.random.default_rng(seed).normal(size=(n_segments, DIMENSIONS)).astype(np.float32)
    smooth = draws[1:] + draws[:-1]
    return Reference(np.vstack([_unit(draws[:1]), _unit(smooth)]))


def heard(reference: Reference, places: Sequence[float], noise: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    """The vectors of a stream that plays a track at positions in hops; the noise is relative to a vector's length."""
    chance = np.random.default_rng(seed)
    vectors = []
    for place in places:
        low, share = int(place), place - int(place)
        high = min(low + 1, len(reference.vectors) - 1)
        clean = _unit((1 - share) * reference.vectors[low] + share * reference.vectors[high])
        vectors.append(_unit(clean + noise * _unit(chance.normal(size=DIMENSIONS))).astype(np.float32))
    return vectors


def unknown(n_segments: int, seed: int) -> list[np.ndarray]:
    """Vectors of music that is not in the catalog."""
    return list(track(seed, n_segments).vectors)


def silence(n_segments: int) -> list[None]:
    """Segments without vectors."""
    return [None] * n_segments


def broadcast(
    vectors: Sequence[np.ndarray | None], references: Mapping[int, Reference], first: int = 1_000_000
) -> list[Segment]:
    """The segments of a stream, starting at a clock value, with their hits."""
    owners = [(number, place) for number, one in references.items() for place in range(len(one.vectors))]
    known = np.concatenate([one.vectors for one in references.values()])
    segments = []
    for i, vector in enumerate(vectors):
        start = first + i * HOP_SAMPLES
        if vector is None:
            segments.append(Segment(start, None))
            continue
        scores = known @ vector
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        hits = tuple(Hit(owners[k][0], owners[k][1] * HOP_SAMPLES, float(scores[k])) for k in best)
        segments.append(Segment(start, vector, hits))
    return segments


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
