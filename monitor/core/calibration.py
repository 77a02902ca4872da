"""Calibration: the LLR that a play needs so that unknown audio opens one only at a given rate.

It measures what a monitor compares with its threshold: the LLR with which a play could open at each segment, if none
had opened before. Its largest value over consecutive openings is a peak. Peaks of Page's cumulative sums have an
exponential tail (Siegmund 1985, Sequential Analysis, chapter 2). So above a level u, which n_above peaks exceed by b
on average,

    false plays per hour at threshold T = n_above / hours * exp(-(T - u) / b)
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, log, sqrt

import numpy as np

from monitor.core.reference import References
from monitor.core.segments import SAMPLE_RATE_HZ, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import PlayId
from monitor.core.tracking.tracker import advance

# As shares of the detector's own opening LLR: the smallest peak that is recorded, low enough for many of them; the
# lowest threshold that a calibration may set. The last is one that no unknown audio reaches: such a peak must be a
# catalog track.
MIN_PEAK_SHARE, MIN_THRESHOLD_SHARE, CATALOG_PLAY_SHARE = 1 / 3, 1 / 2, 4.0
# The tail: with more of the peaks, it is not exponential yet; with fewer, the mean excess is too inexact (+-44 %).
TAIL_SHARE, MIN_TAIL = 0.1, 20
MIN_SOUND_S = 3600.0
NORMAL_95 = 1.96
# How many standard deviations the spread of the excesses may exceed that of an exponential tail.
MAX_SPREAD_DEVIATIONS = 2.0


class InsufficientAudio(ValueError):
    """There is too little audio to determine the tail; the message says what to add."""


@dataclass(frozen=True, slots=True)
class Peak:
    """An interval of the stream clock in which a play of a track could have opened, and its largest LLR."""

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
    """Every play that could open at the newest segments, at each of them as if none had opened before.

    Takes the same arguments as `advance`.
    """
    found: list[Peak] = []
    for end, proposed in enumerate(proposals, start=len(recent) - len(proposals) + 1):
        update = advance(recent[:end], [proposed], (), (), references, thresholds, play_id)
        found += [Peak(play.track, play.start, play.end, play.llr) for play in update.open]
    return found


def merge_peaks(found: Iterable[Peak], max_gap_samples: int) -> list[Peak]:
    """Merges the openings of a track that would be one play, as they are no more than a gap apart, into one peak.

    Args:
        found: in the order of their ends.

    Returns:
        The peaks in the order of their starts.
    """
    last: dict[int, Peak] = {}
    done: list[Peak] = []
    for peak in found:
        before = last.get(peak.track)
        if before is None or peak.end - before.end > max_gap_samples:
            done += [before] if before else []
            last[peak.track] = peak
        else:
            start, llr = min(before.start, peak.start), max(before.llr, peak.llr)
            last[peak.track] = replace(before, start=start, end=peak.end, llr=llr)
    return sorted([*done, *last.values()], key=lambda peak: (peak.start, peak.track))


@dataclass(frozen=True, slots=True)
class PeakSplit:
    """A recording's peaks, split into plays of catalog tracks and peaks of unknown audio.

    real: peaks that must be plays of catalog tracks.
    unknown: the others, largest first. Of peaks that overlap, only the largest: near-identical tracks share their
        peaks, and a monitor reports only one play. None overlaps a real play.
    sound_s: seconds of sound outside real plays.
    """

    real: tuple[Peak, ...]
    unknown: tuple[Peak, ...]
    sound_s: float

    @classmethod
    def of(cls, peaks: Sequence[Peak], sound_s: float, default_llr: float) -> PeakSplit:
        """Splits peaks; `default_llr` is the detector's own opening LLR, `sound_s` the sound of the recording."""
        real = tuple(peak for peak in peaks if peak.llr > CATALOG_PLAY_SHARE * default_llr)
        taken = _union(real)
        played_s = sum(end - start for start, end in taken) / SAMPLE_RATE_HZ
        unknown = []
        for peak in sorted(peaks, key=lambda peak: -peak.llr):
            if _is_free(peak, taken):
                insort(taken, (peak.start, peak.end))
                unknown.append(peak)
        return cls(real, tuple(unknown), max(0.0, sound_s - played_s))


def _union(peaks: Iterable[Peak]) -> list[tuple[int, int]]:
    """The intervals that any of the peaks covers, ordered and disjoint."""
    union: list[tuple[int, int]] = []
    for start, end in sorted((peak.start, peak.end) for peak in peaks):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return union


def _is_free(peak: Peak, taken: Sequence[tuple[int, int]]) -> bool:
    """Whether a peak overlaps none of some ordered, disjoint intervals."""
    before = bisect_left(taken, (peak.end,))
    return before == 0 or taken[before - 1][1] <= peak.start


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tail:
    """The exponential tail of the peaks.

    level: u, which n_above peaks exceed.
    mean_excess: b, by how much they do on average.
    hours: of the sound that the peaks come from.
    spread: standard deviation of the excesses divided by their mean; 1 for an exponential tail.
    """

    level: float
    mean_excess: float
    n_above: int
    hours: float
    spread: float

    @classmethod
    def of(cls, llrs: Sequence[float], sound_s: float, min_llr: float) -> Tail:
        """Fits the tail to the LLRs of all peaks that have at least `min_llr`.

        Raises:
            InsufficientAudio: there are too few peaks, there is too little sound, or the largest peaks are all equal.
        """
        if sound_s < MIN_SOUND_S:
            raise InsufficientAudio(
                f"{int(sound_s / 60)} min of sound without catalog tracks is too little to calibrate on: "
                f"add recordings until there are {MIN_SOUND_S / 60:.0f} min; 10 h or more are better"
            )
        ranked = np.sort(np.asarray(llrs, np.float64))[::-1]
        if len(ranked) < MIN_TAIL:
            raise InsufficientAudio(_too_few(len(ranked), sound_s, min_llr))
        n_above = max(MIN_TAIL, round(TAIL_SHARE * len(ranked)))
        level = float(ranked[n_above]) if n_above < len(ranked) else min_llr
        excesses = ranked[:n_above] - level
        mean = float(excesses.mean())
        if mean <= 0:
            raise InsufficientAudio("the largest peaks are all equal: add different recordings, like those you monitor")
        return cls(level, mean, n_above, sound_s / 3600, float(excesses.std(ddof=1)) / mean)

    @property
    def is_heavy(self) -> bool:
        """Whether the tail falls more slowly than an exponential one, so that a threshold from it is too low."""
        return self.spread > 1 + MAX_SPREAD_DEVIATIONS / sqrt(self.n_above)

    def threshold(self, rate_per_h: float) -> Estimate:
        """The LLR that unknown audio exceeds at this rate."""
        low, high = _ratio_limits(self.n_above)
        depth = log(self.n_above / self.hours / rate_per_h)
        value = self.level + self.mean_excess * depth
        by_slope = [self.level + self.mean_excess / limit * depth for limit in (low, high)]
        by_count = [value + self.mean_excess * log(limit) for limit in (low, high)]
        return _combine(value, by_slope, by_count)

    def rate_per_h(self, threshold: float) -> Estimate:
        """The rate at which unknown audio exceeds this LLR."""
        low, high = _ratio_limits(self.n_above)
        beyond = (threshold - self.level) / self.mean_excess
        value = log(self.n_above / self.hours) - beyond
        by_slope = [value + beyond - beyond * limit for limit in (low, high)]
        by_count = [value + log(limit) for limit in (low, high)]
        found = _combine(value, by_slope, by_count)
        return Estimate(exp(found.value), exp(found.low), exp(found.high))


def _too_few(n_peaks: int, sound_s: float, min_llr: float) -> str:
    hours = sound_s / 3600
    more = f"some {hours * (MIN_TAIL / n_peaks - 1):.1g} h" if n_peaks else "many hours"
    return (
        f"only {n_peaks} peaks of {min_llr:.1f} or more in {hours:.1f} h of sound, but {MIN_TAIL} are needed: "
        f"add {more} of recordings like those you monitor; or keep the threshold, as they rarely resemble the catalog"
    )


def _ratio_limits(count: int) -> tuple[float, float]:
    """The 95 % limits of the ratio of a count, or of a mean of that many exponential draws, to its expectation.

    From the nearly normal distribution of the cube root (Wilson and Hilferty 1931).
    """
    middle, deviation = 1 - 1 / (9 * count), 1 / (3 * sqrt(count))
    return (middle - NORMAL_95 * deviation) ** 3, (middle + NORMAL_95 * deviation) ** 3


def _combine(value: float, one: Sequence[float], other: Sequence[float]) -> Estimate:
    """The interval of a value with two independent sources of error, from those of each (Zou and Donner 2008)."""
    below = hypot(value - min(one), value - min(other))
    above = hypot(max(one) - value, max(other) - value)
    return Estimate(value, value - below, value + above)
