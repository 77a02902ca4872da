"""Scores answers: at the right place, near it, or in the right track; shares with their 95 % intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.training import evaluate

EXACT_S = 0.25  # half a hop
NEAR_S = 0.5


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n`, with Wilson's 95 % confidence interval."""

    hits: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        if not self.n:
            return "-"
        return f"{100 * self.hits / self.n:.0f} ({100 * self.low:.0f}-{100 * self.high:.0f})"


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a query's best answer."""

    track: bool
    near: bool
    exact: bool


MISSED = Score(track=False, near=False, exact=False)


def share(flags: Sequence[bool]) -> Share:
    low, high = wilson(sum(flags), len(flags))
    return Share(sum(flags), len(flags), low, high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share (Wilson 1927), which is accurate at 0 and 100 %, too."""
    if n == 0:
        return 0.0, 1.0
    found = evaluate.wilson(hits, n)
    return found.low, found.high


def score(same_track: bool, answered_s: float, start_s: float, rate: float, length_s: float) -> Score:
    """Compares the answered and the true position of the query's middle, in the reference.

    At another speed, the middle is where a good answer is right.

    answered_s: the answered position of the query's first sample.
    start_s, rate: its true position, and seconds of the reference per second of the query.
    """
    off_s = abs(answered_s + length_s / 2 - (start_s + rate * length_s / 2)) if same_track else math.inf
    # Segments are on a grid: a query halfway between two has two right answers.
    return Score(same_track, off_s <= NEAR_S, off_s <= EXACT_S + 0.01)
