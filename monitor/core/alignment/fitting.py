"""Finds the alignment that fits what was heard best, near a proposed one, by a grid search over position and speed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from monitor.core.alignment.alignment import MAX_SPEED_DEVIATION, Alignment, AlignmentGrid
from monitor.core.alignment.cosines import cosines, cosines_and_distinctiveness
from monitor.core.alignment.scores import AlignmentScores, weighted_llrs
from monitor.core.arrays import Floats
from monitor.core.likelihood import LlrCurve, suffix_sums
from monitor.core.reference import Reference
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import HOP_SAMPLES, Segment

# A stream's segments lie anywhere between two of the track's, so positions are tried in eighths of a hop.
POSITION_STEP_SAMPLES = HOP_SAMPLES // 8
# The first search uses the newest 8 s, in which 2 % of speed are 0.16 s.
SPEEDS = tuple(1 + percent / 100 for percent in (0, -2, 2, -4, 4, -6, 6, -8, 8))
FIRST_FIT_SEGMENTS = 16
COARSE_STEPS = range(-8, 9, 2)
# The second search uses all remembered segments. Over 60 s, 0.25 % are 0.07 s at either end, seen from the middle.
SPEED_CHANGES = (0.0, -0.0025, 0.0025, -0.005, 0.005, -0.01, 0.01, -0.02, 0.02)
FINE_STEPS = range(-2, 3)
# LLR by which an alignment at a speed other than 1 must fit better, plus the LLR for each 100 % of speed (1 for 5 %):
# most stations do not change the speed.
SPEED_COST_LLR, SPEED_COST_SLOPE_LLR = 0.3, 20.0
# Mean gain in cosine that moves the alignment of an open play: less is noise, and would make it wander.
MIN_REFINEMENT_GAIN = 0.01


def _combinations(speeds: Iterable[float], shifts_samples: Iterable[float]) -> tuple[Floats, Floats]:
    """Each speed with each shift: two float64 arrays, the speeds and the shifts."""
    pairs = np.array(list(product(speeds, shifts_samples)), np.float64)
    return pairs[:, 0], pairs[:, 1]


COARSE_SPEEDS, COARSE_SHIFTS_SAMPLES = _combinations(SPEEDS, [step * POSITION_STEP_SAMPLES for step in COARSE_STEPS])
FINE_STEPS_SAMPLES = np.array([step * POSITION_STEP_SAMPLES / 2 for step in FINE_STEPS])
REFINED_SPEED_CHANGES, REFINED_SHIFTS_SAMPLES = _combinations(
    (0.0, -0.005, 0.005), [step * POSITION_STEP_SAMPLES / 2 for step in (0, -1, 1)]
)
FINE_SPEED_CHANGES, FINE_SHIFTS_SAMPLES = _combinations(SPEED_CHANGES, FINE_STEPS_SAMPLES.tolist())


def fit_alignment(
    reference: Reference, past: Sequence[Segment], near: Alignment, curve: LlrCurve, min_llr: float
) -> AlignmentScores | None:
    """Finds the alignment near a proposed one along which the newest segments have the largest LLR.

    Args:
        past: the remembered segments, oldest first.
        near: the proposed alignment.
        curve: LLR of a segment by its cosine.
        min_llr: what the newest segments alone must reach.

    Returns:
        The scores of `past` along the best alignment; None if the newest segments have less than `min_llr`.
    """
    arrays = SegmentArrays.of(past)
    coarse = AlignmentGrid.at(near.instant, near.position + COARSE_SHIFTS_SAMPLES, COARSE_SPEEDS)
    best, llr = _best(reference, arrays[-FIRST_FIT_SEGMENTS:], coarse, curve)
    if llr < min_llr:
        return None
    speeds = best.speed + FINE_SPEED_CHANGES
    is_possible = np.abs(speeds - 1) <= MAX_SPEED_DEVIATION
    shifts, speeds = FINE_SHIFTS_SAMPLES[is_possible], speeds[is_possible]
    if best.speed != 1.0:
        shifts, speeds = np.append(shifts, FINE_STEPS_SAMPLES), np.append(speeds, np.ones(len(FINE_STEPS_SAMPLES)))
    fine = AlignmentGrid.at(best.instant, best.position + shifts, speeds)
    best, _ = _best(reference, arrays, fine, curve)
    return AlignmentScores.of(reference, arrays, best)


def _best(
    reference: Reference, segments: Sequence[Segment], alignments: AlignmentGrid, curve: LlrCurve
) -> tuple[Alignment, float]:
    """The alignment with the largest LLR of segments up to the newest, less the cost of its speed; and that value."""
    scores, distinctiveness = cosines_and_distinctiveness(reference, segments, alignments)
    llrs = suffix_sums(weighted_llrs(curve, scores, distinctiveness)).max(axis=1)
    deviations = np.abs(alignments.speeds[:, 0] - 1)
    llrs -= np.where(deviations > 0, SPEED_COST_LLR + SPEED_COST_SLOPE_LLR * deviations, 0)
    best = int(llrs.argmax())
    return alignments[best], float(llrs[best])


def refine_alignment(reference: Reference, segments: Sequence[Segment], alignment: Alignment) -> Alignment:
    """Corrects an alignment's position and speed by the newest segments; returns it unchanged if that gains little."""
    speeds = alignment.speed + REFINED_SPEED_CHANGES
    is_possible = np.abs(speeds - 1) <= MAX_SPEED_DEVIATION
    positions = alignment.position + REFINED_SHIFTS_SAMPLES[is_possible]
    alignments = AlignmentGrid.at(alignment.instant, positions, speeds[is_possible])
    sums = np.nan_to_num(cosines(reference, segments, alignments)).sum(axis=1)
    best = int(sums.argmax())
    return alignments[best] if sums[best] > sums[0] + MIN_REFINEMENT_GAIN * len(segments) else alignment
