"""Scores of a stream's segments along one alignment, and what they say for or against a play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.cosines import compare
from monitor.core.arrays import Bools, Floats
from monitor.core.likelihood import LlrCurve, best_suffix
from monitor.core.reference import Reference
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import HOP_SAMPLES, Segment
from monitor.core.thresholds import Thresholds

# Two different drones rarely have a cosine above the first value, and never above the second.
MAX_SIMILAR_COSINE, MIN_SAME_COSINE = 0.75, 0.9
# Averaged over this many segments to either side, expected cosines are off by about 0.1
# (monitor/detect/expected_similarity.py). A deficit above the tolerated one means another recording. Chosen on `tune`.
DEFICIT_REACH_SEGMENTS, TOLERATED_DEFICIT = 10, 0.25


@dataclass(frozen=True, slots=True)
class AlignmentScores:
    """A stream's segments compared with a track along an alignment. All arrays are (n,), oldest segment first.

    cosines: float32, exact cosines; NaN where there is nothing to compare.
    local_context: float32, similarity to the surroundings of each segment's position in the track.
    distinctiveness: float32, of the track's segments (`Reference.distinctiveness`).
    ages: float64, hops before the newest segment. Lost audio leaves no segments, so ages may skip values.
    similarity_deficit: float32, how far the cosines around each segment stay below those that the detector expects for
        the recording itself, beyond TOLERATED_DEFICIT.
    """

    alignment: Alignment
    cosines: Floats
    local_context: Floats
    distinctiveness: Floats
    ages: Floats
    similarity_deficit: Floats

    @classmethod
    def of(cls, reference: Reference, segments: Sequence[Segment], alignment: Alignment) -> AlignmentScores:
        """Compares the segments with the track."""
        arrays = SegmentArrays.of(segments)
        cosines, distinctiveness, local_context = compare(reference, arrays, alignment)
        deficit = _similarity_deficit(cosines, arrays.expected_similarity)
        ages = (arrays.starts[-1:] - arrays.starts) / HOP_SAMPLES
        return cls(alignment, cosines, local_context, distinctiveness, ages, deficit)

    def llrs(self, curve: LlrCurve) -> Floats:
        """Log-likelihood ratio of each segment by its cosine, (n,); 0 where there is nothing to compare."""
        return weighted_llrs(curve, self.cosines, self.distinctiveness)

    def opening_llrs(self, thresholds: Thresholds) -> list[Floats]:
        """Log-likelihood ratios of each segment for a new play, (n,), by each of the tests that can open one.

        The first test uses the cosine and its contrast: how far it exceeds the similarity to the local context. Music
        that only resembles the track is about as similar to other places in it. At MAX_SIMILAR_COSINE and above, the
        cosine alone may decide: where a track repeats itself, nothing stands out.
        The second test is for music far below a voice and uses the contrast alone.
        """
        weights = _weights(self.cosines, self.distinctiveness)
        by_cosine = thresholds.opening_curve(self.cosines) * weights
        if thresholds.contrast_curve is None or thresholds.faint_curve is None:
            return [by_cosine]
        contrast = self.cosines - self.local_context
        both = (by_cosine + thresholds.contrast_curve(contrast) * weights) / 2
        in_clear = np.where(self.cosines >= MAX_SIMILAR_COSINE, np.maximum(by_cosine, both), both)
        deficit = np.where(np.isnan(self.cosines), 0, self.similarity_deficit)  # masked segments have none
        cost = thresholds.deficit_cost * deficit * weights
        return [in_clear - cost, thresholds.faint_curve(contrast) * weights - cost]

    def best_llr(self, thresholds: Thresholds) -> float:
        """Largest sum of `opening_llrs` over segments up to the newest, by any of the tests."""
        drop, gap = thresholds.drop_llr, thresholds.max_gap_segments
        return max(best_suffix(values, self.ages, drop, gap)[1] for values in self.opening_llrs(thresholds))

    def best_suffix(self, curve: LlrCurve, thresholds: Thresholds) -> tuple[int, float]:
        """First segment and sum of the segments up to the newest that have the largest sum of `llrs`."""
        return best_suffix(self.llrs(curve), self.ages, thresholds.drop_llr, thresholds.max_gap_segments)

    def subtract(self, explained: Floats) -> AlignmentScores:
        """Subtracts from each cosine the part that something else explains, (n,)."""
        return replace(self, cosines=self.cosines - explained)

    def mask(self, is_masked: Bools) -> AlignmentScores:
        """Treats some of the segments, bool (n,), as if they had not been heard."""
        return replace(self, cosines=np.where(is_masked, np.float32(np.nan), self.cosines))

    def ignore_deficit(self, is_ignored: Bools) -> AlignmentScores:
        """Ignores the similarity deficit of some segments, bool (n,): overlapping music lowers every cosine."""
        return replace(self, similarity_deficit=np.where(is_ignored, np.float32(0), self.similarity_deficit))

    def from_segment(self, first: int) -> AlignmentScores:
        """The scores of the segments starting at index `first`."""
        return AlignmentScores(
            self.alignment,
            self.cosines[first:],
            self.local_context[first:],
            self.distinctiveness[first:],
            self.ages[first:],
            self.similarity_deficit[first:],
        )


def weighted_llrs(curve: LlrCurve, cosines: Floats, distinctiveness: Floats) -> Floats:
    """Log-likelihood ratios of cosines, weighted by the distinctiveness of the track's segments; all of one shape."""
    weighted: Floats = curve(cosines) * _weights(cosines, distinctiveness)
    return weighted


def _weights(cosines: Floats, distinctiveness: Floats) -> Floats:
    """How much each segment counts: its distinctiveness, rising to 1 at cosines that only the same recording has."""
    # fmax ignores NaN, for which a curve gives 0 anyway.
    beyond = np.minimum(np.fmax(cosines - MAX_SIMILAR_COSINE, 0) * (1 / (MIN_SAME_COSINE - MAX_SIMILAR_COSINE)), 1)
    weights: Floats = np.maximum(distinctiveness, beyond)
    return weights


def _similarity_deficit(cosines: Floats, expected: Floats) -> Floats:
    """How far the cosines around each segment stay below the expected ones, float32 (n,); 0 where unknown."""
    known = ~np.isnan(cosines) & ~np.isnan(expected)
    if not known.any():
        return np.zeros(len(cosines), np.float32)
    deficits = np.concatenate([[0.0], np.where(known, expected - cosines, 0).cumsum(dtype=np.float64)])
    counts = np.concatenate([[0], known.cumsum()])
    at = np.arange(len(cosines))
    first = np.maximum(at - DEFICIT_REACH_SEGMENTS, 0)
    last = np.minimum(at + DEFICIT_REACH_SEGMENTS + 1, len(cosines))
    mean = (deficits[last] - deficits[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(known, np.maximum(mean - TOLERATED_DEFICIT, 0), 0).astype(np.float32)
