"""Alignment: exact cosines of a stream's segments with a track along lines through it, and the line that fits. Pure.

Hits only propose lines; a line is judged by the track's own vectors (design rule 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.likelihood import LlrCurve, best_suffix, suffix_sums
from monitor.core.play import Alignment
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds

Floats = NDArray[np.floating[Any]]

# A stream's segments lie anywhere between two of the track's: the true place is looked for in eighths of a hop.
FINE = HOP_SAMPLES // 8
# Stations play up to 6 % fast; with a little beyond. 2 % are 0.16 s over the 8 s that are looked at first.
SPEEDS = tuple(1 + percent / 100 for percent in (0, -2, 2, -4, 4, -6, 6, -8, 8))
FIRST_SEGMENTS = 16
# Then over all that is remembered; 0.25 % are 0.07 s at either end of 60 s, seen from its middle.
FINER_SPEEDS = (0.0, -0.0025, 0.0025, -0.005, 0.005, -0.01, 0.01, -0.02, 0.02)
MAX_SPEED = 0.08
COARSE_STEPS = range(-8, 9, 2)
# A line at another speed than 1 must fit better by so much, and by 1 for every 5 %: most stations change nothing.
SPEED_COST, SPEED_COST_EACH = 0.3, 20.0
# From the one cosine on drones are rarely, from the other they are never like one another.
MAX_ALIKE, MIN_SAME = 0.75, 0.9
# Over this many segments to either side, expected cosines are about .1 off (monitor/detect/expected_similarity.py).
# Cosines that fall short of them by more than this are of another recording. Chosen on the `tune` split.
FORESEEN_SEGMENTS, SHORTFALL_USUAL = 10, 0.25
# Only what is better by so much a segment moves a line that is followed: noise would make it wander.
FOLLOW_GAIN = 0.01


def cosines(reference: Reference, segments: Sequence[Segment], lines: Sequence[Alignment]) -> Floats:
    """Cosines (len(lines), len(segments)) with the track; NaN where either is silent or there is no track.

    Between two reference segments the vector is interpolated: the embedding changes smoothly within a hop.
    """
    return _compared(reference, segments, lines)[0]


@dataclass(frozen=True, slots=True)
class AlignmentScores:
    """Segments along a line.

    scores: cosines (n,), NaN where there is none. around: how much each is like what is around its place in the track
    (n,). novelty: how much of each of the track's is new (n,). ages: by how many hops each is older than the newest
    (n,); where nothing was heard there is no segment. shortfall: how much lower the cosines around each are than was to
    be expected of the recording itself (n,).
    """

    line: Alignment
    scores: Floats
    local_context: Floats
    distinctiveness: Floats
    ages: Floats
    similarity_deficit: Floats

    @classmethod
    def of(cls, reference: Reference, segments: Sequence[Segment], line: Alignment) -> AlignmentScores:
        scores, novelty = _compared(reference, segments, [line])
        starts = np.array([segment.start for segment in segments], np.int64)
        around = _around(reference, segments, line)
        shortfall = _shortfall(scores[0], np.array([segment.expected_similarity for segment in segments], np.float32))
        return cls(line, scores[0], around, novelty[0], (starts[-1:] - starts) / HOP_SAMPLES, shortfall)

    def llr(self, curve: LlrCurve) -> Floats:
        """What each segment says for the line or against it."""
        return _weighed(curve, self.scores, self.distinctiveness)

    def opening_llrs(self, thresholds: Thresholds) -> list[Floats]:
        """What each segment says for a play that begins on the line, or against it: each list by another test.

        One is by the cosine, and by how far that stands out from what is around the place: music that resembles the
        track is about as much like other places of it. From MAX_ALIKE on the cosine alone says enough: where a track
        repeats itself nothing stands out. The other is for music far beneath a voice, and is by what stands out.
        """
        by_cosine = self.llr(thresholds.opening)
        if thresholds.standing_out is None or thresholds.faint is None:
            return [by_cosine]
        stands_out = self.scores - self.local_context
        both = (by_cosine + self._weighed_with(thresholds.standing_out, stands_out)) / 2
        plain = np.where(self.scores >= MAX_ALIKE, np.maximum(by_cosine, both), both)
        shortfall = np.where(np.isnan(self.scores), 0, self.similarity_deficit)  # what counts as unheard lost nothing
        lost = thresholds.deficit_cost * shortfall * _share(self.scores, self.distinctiveness)
        return [plain - lost, self._weighed_with(thresholds.faint, stands_out) - lost]

    def best_llr(self, thresholds: Thresholds) -> float:
        """The most evidence of a stretch up to the newest segment, by any of the tests that open a play."""
        drop, hole = thresholds.drop_llr, thresholds.max_gap_segments
        return max(best_suffix(values, self.ages, drop, hole)[1] for values in self.opening_llrs(thresholds))

    def _weighed_with(self, curve: LlrCurve, stands_out: Floats) -> Floats:
        return curve(stands_out) * _share(self.scores, self.distinctiveness)

    def subtract(self, explained: Floats) -> AlignmentScores:
        """Without so much of each cosine, which something else explains."""
        return replace(self, scores=self.scores - explained)

    def without(self, chosen: NDArray[np.bool_]) -> AlignmentScores:
        """As if some of the segments had not been heard."""
        return replace(self, scores=np.where(chosen, np.float32(np.nan), self.scores))

    def ignore_deficit(self, other: NDArray[np.bool_]) -> AlignmentScores:
        """As heard together with other music where `other` is true: there no cosine can be what it might."""
        return replace(self, similarity_deficit=np.where(other, np.float32(0), self.similarity_deficit))

    def stretch(self, curve: LlrCurve, thresholds: Thresholds) -> tuple[int, float]:
        """Where the stretch up to the newest segment begins that has most evidence, and how much it has."""
        return best_suffix(self.llr(curve), self.ages, thresholds.drop_llr, thresholds.max_gap_segments)

    def since(self, first: int) -> AlignmentScores:
        return AlignmentScores(
            self.line,
            self.scores[first:],
            self.local_context[first:],
            self.distinctiveness[first:],
            self.ages[first:],
            self.similarity_deficit[first:],
        )


def _compared(reference: Reference, segments: Sequence[Segment], lines: Sequence[Alignment]) -> tuple[Floats, Floats]:
    scores = np.full((len(lines), len(segments)), np.nan, np.float32)
    novelty = np.zeros((len(lines), len(segments)), np.float32)
    heard, queries = _heard(reference, segments)
    if heard and len(reference.vectors):
        there = segment_positions(lines, [segments[i].start for i in heard])
        scores[:, heard] = _cosines_at(reference, queries, there)
        novelty[:, heard] = reference.distinctiveness[
            _within(np.round(there).astype(np.int64), len(reference.distinctiveness))
        ]
    return scores, novelty


def _shortfall(scores: Floats, foreseen: Floats) -> Floats:
    """By how much the cosines around each segment are lower than foreseen, beyond what is usual; 0 where unknown."""
    known = ~np.isnan(scores) & ~np.isnan(foreseen)
    if not known.any():
        return np.zeros(len(scores), np.float32)
    less = np.concatenate([[0.0], np.where(known, foreseen - scores, 0).cumsum(dtype=np.float64)])
    counts = np.concatenate([[0], known.cumsum()])
    at = np.arange(len(scores))
    first, last = np.maximum(at - FORESEEN_SEGMENTS, 0), np.minimum(at + FORESEEN_SEGMENTS + 1, len(scores))
    mean = (less[last] - less[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(known, np.maximum(mean - SHORTFALL_USUAL, 0), 0).astype(np.float32)


def _around(reference: Reference, segments: Sequence[Segment], line: Alignment) -> Floats:
    """How much each segment is like what is around its place in the track: (len(segments),), 0 where it is silent."""
    like = np.zeros(len(segments), np.float32)
    heard, queries = _heard(reference, segments)
    if heard and len(reference.vectors):
        there = segment_positions([line], [segments[i].start for i in heard])[0]
        nearest = _within(np.round(there).astype(np.int64), len(reference.vectors))
        like[heard] = (
            np.einsum("jd,jd->j", reference.local_context[nearest], queries) + reference.context_prior[nearest]
        )
    return like


def _heard(reference: Reference, segments: Sequence[Segment]) -> tuple[list[int], Floats]:
    """The segments that can be compared with the track, and their vectors."""
    shape = reference.vectors.shape[1:]  # a vector of another model says nothing about this one's
    heard = [i for i, segment in enumerate(segments) if segment.vector is not None and segment.vector.shape == shape]
    return heard, np.stack([segments[i].vector for i in heard]) if heard else np.zeros((0, *shape), np.float32)  # type: ignore[misc]


def segment_positions(lines: Sequence[Alignment], starts: Sequence[int]) -> NDArray[np.float64]:
    """Where the track's segments with the same middles begin, in hops: (len(lines), len(starts))."""
    half = SEGMENT_SAMPLES / 2
    instants = np.array([line.instant for line in lines], np.int64)[:, np.newaxis]
    positions = np.array([line.position for line in lines])[:, np.newaxis]
    speeds = np.array([line.speed for line in lines])[:, np.newaxis]
    # Clock values have no room beside them in a float: differences first.
    elapsed = (np.array(starts, np.int64)[np.newaxis] - instants) + half
    there: NDArray[np.float64] = (positions + speeds * elapsed - half) / HOP_SAMPLES
    return there


def _cosines_at(reference: Reference, queries: Floats, there: NDArray[np.float64]) -> Floats:
    """Cosine of query j with the track's vector at place there[i, j], which lies between two: (lines, queries)."""
    known = len(reference.vectors)
    low = np.floor(there).astype(np.int64)
    is_there = (there > -1) & (there < known)  # a segment half before the track is compared with its first
    first = _within(low.min(axis=0), known)  # each query is compared with a few neighbours once for all lines
    width = int((_within(low.max(axis=0), known) - first).max()) + 2
    near = np.minimum(first[:, np.newaxis] + np.arange(width), known - 1)
    products = np.einsum("jwd,jd->jw", reference.vectors[near], queries)
    before, after = _within(low, known), _within(low + 1, known)
    rows = np.arange(len(queries))
    weight = (there - low).astype(np.float32)
    dots = (1 - weight) * products[rows, before - first] + weight * products[rows, after - first]
    squares = _squared_length(reference, before, after, weight)
    is_there &= squares > 0
    found: Floats = np.where(is_there, dots / np.sqrt(np.where(is_there, squares, 1)), np.nan).astype(np.float32)
    return found


def _within(indices: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The nearest of the first n; numpy's own clip costs more than all else on arrays as small as these."""
    return np.minimum(np.maximum(indices, 0), n - 1)


def _squared_length(
    reference: Reference, before: NDArray[np.int64], after: NDArray[np.int64], weight: Floats
) -> Floats:
    """Of the vectors between two neighbours: (1 - w) a + w b, where a and b are of length one, or silent."""
    is_sound = reference.is_sound
    between = np.where(before == after, is_sound[before], reference.steps[before])
    squares: Floats = (1 - weight) ** 2 * is_sound[before] + weight**2 * is_sound[after]
    squares += 2 * weight * (1 - weight) * between
    return squares


def _weighed(curve: LlrCurve, scores: Floats, novelty: Floats) -> Floats:
    """Evidence by how much of each segment of the track is new."""
    weighed: Floats = curve(scores) * _share(scores, novelty)
    return weighed


def _share(scores: Floats, novelty: Floats) -> Floats:
    """How much of a segment's evidence counts: what is new of it; all where no likeness comes so near."""
    # Of a NaN fmax takes the other; and a curve makes nothing of it.
    beyond = np.minimum(np.fmax(scores - MAX_ALIKE, 0) * (1 / (MIN_SAME - MAX_ALIKE)), 1)
    share: Floats = np.maximum(novelty, beyond)
    return share


def track_similarity(a: Reference, line_a: Alignment, b: Reference, line_b: Alignment, starts: Sequence[int]) -> Floats:
    """How alike two tracks are along two lines at the same instants: cosines (len(starts),), 0 where one is not."""
    at_a, at_b = segment_positions([line_a], starts)[0], segment_positions([line_b], starts)[0]
    vectors = _between(a, at_a)
    alike: Floats = np.nan_to_num(_cosines_at(b, vectors, at_b[np.newaxis])[0])
    outside = (at_a <= -1) | (at_a >= len(a.vectors)) | ~vectors.any(axis=1)
    alike[outside] = 0
    return alike


def explained_similarity(theirs: Floats, alike: Floats) -> Floats:
    """How much of a line's cosines another line would give by itself, by its own and the two tracks' likeness."""
    share: Floats = np.maximum(np.nan_to_num(theirs), 0) * np.maximum(alike, 0)
    return share


def _between(reference: Reference, there: NDArray[np.float64]) -> Floats:
    """The track's unit vectors at places in hops: (len(there), dimensions)."""
    known = len(reference.vectors)
    low = np.floor(there).astype(np.int64)
    weight = (there - low).astype(np.float32)[:, np.newaxis]
    before, after = _within(low, known), _within(low + 1, known)
    mixed = (1 - weight) * reference.vectors[before] + weight * reference.vectors[after]
    unit: Floats = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
    return unit


def fit_alignment(
    reference: Reference, past: Sequence[Segment], near: Alignment, curve: LlrCurve, minimum: float
) -> AlignmentScores | None:
    """The line near a proposed one on which the newest segments have most evidence, and what lies along it in `past`.

    None where the newest segments alone have less than `minimum` on the best line.
    """
    around = [
        Alignment(near.instant, near.position + step * FINE, speed) for speed, step in product(SPEEDS, COARSE_STEPS)
    ]
    line, sum_ = _best(reference, past[-FIRST_SEGMENTS:], around, curve)
    if sum_ < minimum:
        return None
    nearer = [
        Alignment(line.instant, line.position + step * FINE / 2, speed)
        for change, step in product(FINER_SPEEDS, range(-2, 3))
        if abs((speed := line.speed + change) - 1) <= MAX_SPEED
    ]
    if line.speed != 1.0:
        nearer += [Alignment(line.instant, line.position + step * FINE / 2, 1.0) for step in range(-2, 3)]
    line, _ = _best(reference, past, nearer, curve)
    return AlignmentScores.of(reference, past, line)


def _best(
    reference: Reference, segments: Sequence[Segment], lines: Sequence[Alignment], curve: LlrCurve
) -> tuple[Alignment, float]:
    scores, novelty = _compared(reference, segments, lines)
    sums = suffix_sums(_weighed(curve, scores, novelty)).max(axis=1)
    away = np.abs(np.array([line.speed for line in lines]) - 1)
    sums -= np.where(away > 0, SPEED_COST + SPEED_COST_EACH * away, 0)
    best = int(sums.argmax())
    return lines[best], float(sums[best])


def refine_alignment(reference: Reference, segments: Sequence[Segment], line: Alignment) -> Alignment:
    """The line with its place and speed corrected a little by what was heard last."""
    lines = [
        Alignment(line.instant, line.position + step * FINE / 2, line.speed + change)
        for change, step in product((0.0, -0.005, 0.005), (0, -1, 1))
        if abs(line.speed + change - 1) <= MAX_SPEED
    ]
    heard = np.nan_to_num(cosines(reference, segments, lines)).sum(axis=1)
    best = int(heard.argmax())
    return lines[best] if heard[best] > heard[0] + FOLLOW_GAIN * len(segments) else line
