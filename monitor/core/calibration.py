"""Calibration: how much evidence a play needs, if unknown audio may open one only so often. Pure.

Counted is what a monitor decides by: the evidence with which a play could open, at every segment, had none opened. The
largest of each stretch is a peak. Peaks of Page's cumulative sums have an exponential tail (Siegmund 1985, Sequential
Analysis, chapter 2), so beyond a level u that enough of the peaks pass, by b on average,

    false plays an hour at threshold T = n_above / hours * exp(-(T - u) / b)
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, log, sqrt

import numpy as np

from monitor.core.hough_votes import Proposal
from monitor.core.play import PlayId
from monitor.core.reference import References
from monitor.core.segments import SAMPLE_RATE_HZ, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracker import advance

# Of the evidence that the detector asks for by itself: from how much on peaks are noted, so that there are enough of
# them; what no calibration goes beneath; and what no unknown audio reaches, so that it must be a play of the catalog.
NOTED_SHARE, FLOOR_SHARE, REAL_TIMES = 1 / 3, 1 / 2, 4.0
# The tail: its beginning is not exponential yet, and of fewer peaks the mean excess is known too badly (+-44 %).
TAIL_SHARE, MIN_TAIL = 0.1, 20
MIN_SOUND_S = 3600.0
NORMAL_95 = 1.96
# By how many standard deviations the excesses may spread more than those of an exponential tail do.
HEAVY_DEVIATIONS = 2.0


class InsufficientAudio(ValueError):
    """Nothing can be said of the tail; the message says what to add."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A stretch of a stream clock in which a play of a track could have opened, and the most evidence for it."""

    track: int
    start: int
    end: int
    llr: float


def opening_peaks(
    recent: Sequence[Segment],
    proposals: Sequence[Sequence[Proposal]],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> list[Peak]:
    """Every play that could open at the newest segments (see `advance`), at each of them as if none had before."""
    found: list[Peak] = []
    for end, proposed in enumerate(proposals, start=len(recent) - len(proposals) + 1):
        step = advance(recent[:end], [proposed], (), (), references, thresholds, play_id)
        found += [Peak(play.track, play.start, play.end, play.llr) for play in step.open]
    return found


def merge_peaks(found: Iterable[Peak], hole_samples: int) -> list[Peak]:
    """One peak for all openings of a track that would be the same play: none is longer than a hole after the last.

    found: in the order of their ends.
    """
    last: dict[int, Peak] = {}
    done: list[Peak] = []
    for one in found:
        before = last.get(one.track)
        if before is None or one.end - before.end > hole_samples:
            done += [before] if before else []
            last[one.track] = one
        else:
            maximum = max(before.llr, one.llr)
            last[one.track] = replace(before, start=min(before.start, one.start), end=one.end, llr=maximum)
    return sorted([*done, *last.values()], key=lambda peak: (peak.start, peak.track))


@dataclass(frozen=True, slots=True)
class PeakSplit:
    """A recording's peaks: those that must be plays of the catalog, and those of unknown audio.

    unknown: only the largest of those that overlap, for near-identical tracks share their peaks, and a monitor reports
    one play of them; nothing that overlaps a real play. sound_s: seconds of sound beside the real plays.
    """

    real: tuple[Peak, ...]
    unknown: tuple[Peak, ...]
    sound_s: float

    @classmethod
    def of(cls, peaks: Sequence[Peak], sound_s: float, default_llr: float) -> PeakSplit:
        real = tuple(peak for peak in peaks if peak.llr > REAL_TIMES * default_llr)
        taken = _union(real)
        played_s = sum(end - start for start, end in taken) / SAMPLE_RATE_HZ
        unknown = []
        for peak in sorted(peaks, key=lambda peak: -peak.llr):
            if _is_free(peak, taken):
                insort(taken, (peak.start, peak.end))
                unknown.append(peak)
        return cls(real, tuple(unknown), max(0.0, sound_s - played_s))


def _union(peaks: Iterable[Peak]) -> list[tuple[int, int]]:
    """Intervals that any of them covers, in order and apart from one another."""
    union: list[tuple[int, int]] = []
    for start, end in sorted((peak.start, peak.end) for peak in peaks):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return union


def _is_free(peak: Peak, taken: Sequence[tuple[int, int]]) -> bool:
    """Whether it overlaps none of some intervals, which are in order and apart."""
    before = bisect_left(taken, (peak.end,))
    return before == 0 or taken[before - 1][1] <= peak.start


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tail:
    """The exponential tail of the peaks.

    level: u, which n_above peaks pass. mean_excess: b, by how much they do. hours: of the sound that they are from.
    spread: standard deviation of the excesses by their mean: 1 if the tail is exponential.
    """

    level: float
    mean_excess: float
    n_above: int
    hours: float
    spread: float

    @classmethod
    def of(cls, llrs: Sequence[float], sound_s: float, minimum: float) -> Tail:
        """Of all peaks with at least so much evidence.

        Raises:
            TooLittleHeard: too few peaks, or too little sound.
        """
        if sound_s < MIN_SOUND_S:
            raise InsufficientAudio(
                f"{int(sound_s / 60)} min of sound without anything of the catalog are too little to calibrate on: "
                f"add recordings until there are {MIN_SOUND_S / 60:.0f} min; 10 h or more are better"
            )
        ranked = np.sort(np.asarray(llrs, np.float64))[::-1]
        if len(ranked) < MIN_TAIL:
            raise InsufficientAudio(_too_few(len(ranked), sound_s, minimum))
        n_above = max(MIN_TAIL, round(TAIL_SHARE * len(ranked)))
        level = float(ranked[n_above]) if n_above < len(ranked) else minimum
        excesses = ranked[:n_above] - level
        mean = float(excesses.mean())
        if mean <= 0:
            raise InsufficientAudio("the largest peaks are all the same: add other recordings, of the kind you monitor")
        return cls(level, mean, n_above, sound_s / 3600, float(excesses.std(ddof=1)) / mean)

    @property
    def is_heavy(self) -> bool:
        """Whether it falls off more slowly than an exponential, so that a threshold by it is too low."""
        return self.spread > 1 + HEAVY_DEVIATIONS / sqrt(self.n_above)

    def threshold(self, rate_per_h: float) -> Estimate:
        """The evidence that unknown audio reaches so often."""
        low, high = _limits(self.n_above)
        depth = log(self.n_above / self.hours / rate_per_h)
        value = self.level + self.mean_excess * depth
        by_slope = [self.level + self.mean_excess / limit * depth for limit in (low, high)]
        by_count = [value + self.mean_excess * log(limit) for limit in (low, high)]
        return _combined(value, by_slope, by_count)

    def rate_per_h(self, threshold: float) -> Estimate:
        """How often unknown audio reaches so much evidence."""
        low, high = _limits(self.n_above)
        beyond = (threshold - self.level) / self.mean_excess
        value = log(self.n_above / self.hours) - beyond
        by_slope = [value + beyond - beyond * limit for limit in (low, high)]
        by_count = [value + log(limit) for limit in (low, high)]
        found = _combined(value, by_slope, by_count)
        return Estimate(exp(found.value), exp(found.low), exp(found.high))


def _too_few(n_peaks: int, sound_s: float, minimum: float) -> str:
    hours = sound_s / 3600
    more = f"some {hours * (MIN_TAIL / n_peaks - 1):.1g} h" if n_peaks else "many hours"
    return (
        f"only {n_peaks} peaks of {minimum:.1f} or more in {hours:.1f} h of sound, and {MIN_TAIL} are needed: "
        f"add {more} of recordings of the kind you monitor; or keep the threshold: they are seldom like the catalog"
    )


def _limits(count: int) -> tuple[float, float]:
    """Between which a mean of so many exponential draws, or a count, by its expectation is in 95 % of all cases.

    By the cube root's nearly normal distribution (Wilson and Hilferty 1931).
    """
    middle, deviation = 1 - 1 / (9 * count), 1 / (3 * sqrt(count))
    return (middle - NORMAL_95 * deviation) ** 3, (middle + NORMAL_95 * deviation) ** 3


def _combined(value: float, one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Of what has two independent sources of error, by the interval that each alone gives (Zou and Donner 2008)."""
    below = hypot(value - min(one), value - min(other))
    above = hypot(max(one) - value, max(other) - value)
    return Estimate(value, value - below, value + above)
