"""Finds the alignment that fits what was heard best, near a proposed one, by a grid search over position and speed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from monitor.core.alignment.alignment import MAX_SPEED_DEVIATION, Alignment
from monitor.core.alignment.cosines import cosines, cosines_and_distinctiveness
from monitor.core.alignment.scores import AlignmentScores, weighted_llrs
from monitor.core.likelihood import LlrCurve, suffix_sums
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Segment

# A stream's segments lie anywhere between two of the track's, so positions are tried in eighths of a hop.
POSITION_STEP_SAMPLES = HOP_SAMPLES // 8
# The first search uses the newest 8 s, in which 2 % of speed are 0.16 s.
SPEEDS = tuple(1 + percent / 100 for percent in (0, -2, 2, -4, 4, -6, 6, -8, 8))
FIRST_FIT_SEGMENTS = 16
COARSE_STEPS = range(-8, 9, 2)
# The second search uses all remembered segments. Over 60 s, 0.25 % are 0.07 s at either end, seen from the middle.
SPEED_CHANGES = (0.0, -0.0025, 0.0025, -0.005, 0.005, -0.01, 0.01, -0.02, 0.02)
# LLR by which an alignment at a speed other than 1 must fit better, plus the LLR for each 100 % of speed (1 for 5 %):
# most stations do not change the speed.
SPEED_COST_LLR, SPEED_COST_SLOPE_LLR = 0.3, 20.0
# Mean gain in cosine that moves the alignment of an open play: less is noise, and would make it wander.
MIN_REFINEMENT_GAIN = 0.01


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
    coarse = [
        Alignment(near.instant, near.position + step * POSITION_STEP_SAMPLES, speed)
        for speed, step in product(SPEEDS, COARSE_STEPS)
    ]
    best, llr = _best(reference, past[-FIRST_FIT_SEGMENTS:], coarse, curve)
    if llr < min_llr:
        return None
    fine = [
        Alignment(best.instant, best.position + step * POSITION_STEP_SAMPLES / 2, speed)
        for change, step in product(SPEED_CHANGES, range(-2, 3))
        if abs((speed := best.speed + change) - 1) <= MAX_SPEED_DEVIATION
    ]
    if best.speed != 1.0:
        fine += [
            Alignment(best.instant, best.position + step * POSITION_STEP_SAMPLES / 2, 1.0) for step in range(-2, 3)
        ]
    best, _ = _best(reference, past, fine, curve)
    return AlignmentScores.of(reference, past, best)


def _best(
    reference: Reference, segments: Sequence[Segment], alignments: Sequence[Alignment], curve: LlrCurve
) -> tuple[Alignment, float]:
    """The alignment with the largest LLR of segments up to the newest, less the cost of its speed; and that value."""
    scores, distinctiveness = cosines_and_distinctiveness(reference, segments, alignments)
    llrs = suffix_sums(weighted_llrs(curve, scores, distinctiveness)).max(axis=1)
    deviations = np.abs(np.array([alignment.speed for alignment in alignments]) - 1)
    llrs -= np.where(deviations > 0, SPEED_COST_LLR + SPEED_COST_SLOPE_LLR * deviations, 0)
    best = int(llrs.argmax())
    return alignments[best], float(llrs[best])


def refine_alignment(reference: Reference, segments: Sequence[Segment], alignment: Alignment) -> Alignment:
    """Corrects an alignment's position and speed by the newest segments; returns it unchanged if that gains little."""
    alignments = [
        Alignment(alignment.instant, alignment.position + step * POSITION_STEP_SAMPLES / 2, alignment.speed + change)
        for change, step in product((0.0, -0.005, 0.005), (0, -1, 1))
        if abs(alignment.speed + change - 1) <= MAX_SPEED_DEVIATION
    ]
    sums = np.nan_to_num(cosines(reference, segments, alignments)).sum(axis=1)
    best = int(sums.argmax())
    return alignments[best] if sums[best] > sums[0] + MIN_REFINEMENT_GAIN * len(segments) else alignment
