"""Evidence: how much a segment's cosine along a line speaks for the track being there, or against it. Pure.

A sequential test (Wald 1945, Page's cumulative sums 1954): each cosine counts as the logarithm of how much likelier it
is where the track is heard than where it is not, and a play is a stretch over which these add up to enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class LlrCurve:
    """A detector's evidence by cosine: straight between the knots, and level beyond them.

    cosines: of the knots, rising. evidence: there, in natural logarithms of likelihood ratios.
    """

    cosines: tuple[float, ...]
    llr: tuple[float, ...]

    def __call__(self, cosines: Floats) -> Floats:
        """Evidence of each cosine, of the same shape; 0 for NaN, where there is nothing to compare."""
        known = np.interp(cosines, self.cosines, self.llr)
        known[np.isnan(known)] = 0.0
        return known


def suffix_sums(values: Floats) -> Floats:
    """Sums of each row from every column to the last: the shape of `values`."""
    sums: Floats = values[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return sums


def best_suffix(values: Floats, ages: Floats, drop: float, longest: float) -> tuple[int, float]:
    """Where the stretch up to the last value begins that has the largest sum, and that sum.

    ages: by how many values each would be older than the last one, had none been left out; falling. The stretch is not
    looked for beyond a place where the sum has dropped by `drop` from its largest (Altschul et al. 1997, X-drop), nor
    beyond `longest` values without a larger one, be they low or left out.
    """
    sums, ages = suffix_sums(values)[::-1], ages[::-1]
    largest = np.maximum.accumulate(sums)
    order = np.arange(len(sums))
    risen = np.maximum.accumulate(np.where(np.diff(largest, prepend=-np.inf) > 0, order, 0))
    before = risen[np.maximum(order - 1, 0)]  # where it had risen last before each value
    beyond = np.flatnonzero((largest - sums > drop) | (ages - ages[before] - 1 > longest))
    end = int(beyond[0]) if len(beyond) else len(sums)
    best = int(sums[:end].argmax()) if end else 0
    return len(sums) - 1 - best, float(sums[best])
