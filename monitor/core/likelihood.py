"""Log-likelihood ratios (LLR): how much a segment's cosine speaks for a track being heard, or against it.

A sequential test (Wald 1945; Page's cumulative sums, 1954). Each cosine counts as the logarithm of how much likelier it
is if the track is heard than if it is not. Where these sum to enough over consecutive segments, there is a play.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Floats


@dataclass(frozen=True, slots=True)
class LlrCurve:
    """A detector's LLR by cosine: linear between its knots, constant beyond them.

    cosines: of the knots, ascending.
    llr: at each knot, in natural logarithms.
    """

    cosines: tuple[float, ...]
    llr: tuple[float, ...]

    def __call__(self, cosines: Floats) -> Floats:
        """LLR of each cosine, float64, of the same shape; 0 for NaN, where there is nothing to compare."""
        known = np.interp(cosines, self.cosines, self.llr)
        known[np.isnan(known)] = 0.0
        return known


def suffix_sums(values: Floats) -> Floats:
    """Sum of each row from every column to the last, of the shape of `values`."""
    sums: Floats = values[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return sums


def best_suffix(values: Floats, ages: Floats, max_drop: float, max_gap: float) -> tuple[int, float]:
    """Finds the suffix with the largest sum, searching backward from the last value.

    Args:
        values: (n,), at least one.
        ages: how many steps before the last value each lies, (n,), descending. Steps without a value leave gaps.
        max_drop: the search ends where the sum is this far below its maximum so far (X-drop; Altschul et al. 1997).
        max_gap: the search ends after this many steps without a larger sum, whether low or without a value.

    Returns:
        The index of its first value, and its sum.
    """
    sums, ages = suffix_sums(values)[::-1], ages[::-1]
    largest = np.maximum.accumulate(sums)
    order = np.arange(len(sums))
    risen = np.zeros(len(sums), np.int64)
    np.maximum.accumulate(np.where(largest[1:] > largest[:-1], order[1:], 0), out=risen[1:])
    before = risen[np.maximum(order - 1, 0)]  # where the maximum had last risen before each value
    beyond = np.flatnonzero((largest - sums > max_drop) | (ages - ages[before] - 1 > max_gap))
    end = int(beyond[0]) if len(beyond) else len(sums)
    best = int(sums[:end].argmax()) if end else 0
    return len(sums) - 1 - best, float(sums[best])
