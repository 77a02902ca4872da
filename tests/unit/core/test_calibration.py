"""Calibration: from the peaks of unknown audio to a threshold, by their exponential tail."""

from __future__ import annotations

import uuid
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from monitor.core.calibration import (
    CATALOG_PLAY_SHARE,
    MIN_SOUND_S,
    MIN_TAIL,
    InsufficientAudio,
    Peak,
    PeakSplit,
    Tail,
    merge_peaks,
    opening_peaks,
)
from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.tracker import advance, propose
from tests.unit.core.broadcasts import broadcast, heard, track, unknown

MAX_GAP = 16 * HOP_SAMPLES
MIN, DEFAULT = 5.0, 14.0
RATE_PER_H = 0.001


def play_id(*of: object) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, str(of))


def peaks_of(chance: np.random.Generator, hours: float, per_h: float, mean_excess: float) -> np.ndarray:
    """LLRs of the peaks of so many hours: a Poisson number of them, exponential above MIN."""
    return MIN + chance.exponential(mean_excess, chance.poisson(hours * per_h))


# The tail


@pytest.mark.parametrize(("hours", "per_h", "mean_excess"), [(3, 20, 1.5), (30, 40, 1.0), (8, 300, 2.5)])
def test_the_interval_holds_the_true_threshold_in_about_95_of_100_calibrations(
    hours: float, per_h: float, mean_excess: float
) -> None:
    true = MIN + mean_excess * log(per_h / RATE_PER_H)
    chance, held, held_rate, values = np.random.default_rng(1), 0, 0, []
    for _ in range(1000):
        tail = Tail.of(peaks_of(chance, hours, per_h, mean_excess), hours * 3600, MIN)
        found, rate = tail.threshold(RATE_PER_H), tail.rate_per_h(true)
        held += found.low <= true <= found.high
        held_rate += rate.low <= RATE_PER_H <= rate.high
        values.append(found.value)
    assert 0.93 <= held / 1000 <= 0.97
    assert 0.93 <= held_rate / 1000 <= 0.97
    assert np.median(values) == pytest.approx(true, rel=0.03)


def test_only_the_largest_tenth_is_the_tail_and_smaller_peaks_do_not_matter() -> None:
    chance = np.random.default_rng(2)
    large, small = 9 + chance.exponential(1.0, 100), chance.uniform(MIN, 9, 900)
    tail = Tail.of([*small, *large], 10 * 3600, MIN)
    assert (tail.n_above, tail.level) == (100, pytest.approx(small.max()))
    assert tail.mean_excess == pytest.approx(large.mean() - small.max())
    assert Tail.of([*(small - 2), *small.max(keepdims=True), *large], 10 * 3600, MIN).level == tail.level


def test_twenty_peaks_are_enough_and_exceed_the_smallest_llr() -> None:
    tail = Tail.of(MIN + np.arange(1, MIN_TAIL + 1), MIN_SOUND_S, MIN)
    assert (tail.n_above, tail.level, tail.mean_excess, tail.hours) == (MIN_TAIL, MIN, 10.5, 1.0)


def test_the_rate_at_a_threshold_is_the_one_that_was_asked_for() -> None:
    tail = Tail(level=6.0, mean_excess=1.5, n_above=60, hours=4.0, spread=1.0)
    for rate in (0.0001, 0.001, 1.0, 15.0, 40.0):
        found = tail.threshold(rate)
        assert tail.rate_per_h(found.value).value == pytest.approx(rate)
        assert found.low < found.value < found.high
    assert tail.threshold(0.001).value == pytest.approx(6 + 1.5 * log(60 / 4 / 0.001))
    assert tail.rate_per_h(9.0).value == pytest.approx(15 * exp(-2))


def test_more_peaks_make_the_interval_narrower() -> None:
    few = Tail(6.0, 1.5, 20, 1.0, 1.0).threshold(RATE_PER_H)
    many = Tail(6.0, 1.5, 2000, 100.0, 1.0).threshold(RATE_PER_H)
    assert few.value == pytest.approx(many.value)
    assert 5 * (many.high - many.low) < few.high - few.low


def test_a_tail_that_is_heavier_than_exponential_is_marked() -> None:
    chance = np.random.default_rng(3)
    assert not Tail.of(MIN + chance.exponential(1.0, 1000), 36_000, MIN).is_heavy
    assert Tail.of(MIN + chance.pareto(2.0, 1000), 36_000, MIN).is_heavy


# Insufficient audio


def test_less_than_an_hour_of_sound_is_refused_with_what_to_add() -> None:
    with pytest.raises(InsufficientAudio, match=r"^40 min of sound .* until there are 60 min"):
        Tail.of(np.arange(10, 50), 40 * 60, MIN)


@pytest.mark.parametrize(("n_peaks", "more"), [(0, "many hours"), (10, "some 3 h"), (19, "some 0.2 h")])
def test_fewer_than_twenty_peaks_are_refused_with_what_to_add(n_peaks: int, more: str) -> None:
    with pytest.raises(InsufficientAudio, match=rf"^only {n_peaks} peaks of 5.0 or more in 3.0 h .* add {more}"):
        Tail.of(MIN + np.arange(n_peaks), 3 * 3600, MIN)


def test_peaks_that_are_all_equal_are_refused() -> None:
    with pytest.raises(InsufficientAudio, match="all equal"):
        Tail.of([9.0] * 50, 7200, MIN)


# Plays of the catalog


def peak(number: int, start_s: float, end_s: float, llr: float) -> Peak:
    return Peak(number, round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ), llr)


def test_plays_of_catalog_tracks_are_left_out_with_the_peaks_that_overlap_them() -> None:
    small, beside, beyond = peak(3, 0, 5, 8.0), peak(2, 95, 104, 9.0), peak(2, 160, 165, CATALOG_PLAY_SHARE * DEFAULT)
    real = [peak(1, 100, 130, 90.0), peak(4, 120, 150, 60.0)]
    found = PeakSplit.of([small, beside, *real, beyond], 200.0, DEFAULT)
    assert found.real == tuple(real)
    assert found.unknown == (beyond, small)
    assert found.sound_s == 150.0, "sound that two plays cover is left out once"


def test_without_plays_all_sound_counts() -> None:
    peaks = (peak(2, 3, 9, 12.0), peak(1, 10, 15, 8.0))
    assert PeakSplit.of(peaks[::-1], 100.0, DEFAULT) == PeakSplit((), peaks, 100.0)


def test_of_peaks_that_overlap_only_the_largest_counts() -> None:
    first, best, last = peak(1, 0, 10, 8.0), peak(2, 8, 20, 12.0), peak(3, 19.5, 30, 9.0)
    assert PeakSplit.of([first, best, last], 100.0, DEFAULT).unknown == (best,)
    apart = peak(3, 20, 30, 9.0)
    assert PeakSplit.of([first, best, apart, peak(4, 25, 40, 6.0)], 100.0, DEFAULT).unknown == (best, apart)


def test_overlapping_peaks_are_found_as_by_comparing_each_with_all() -> None:
    chance = np.random.default_rng(5)
    starts, lengths = chance.uniform(0, 1000, 200), chance.uniform(1, 20, 200)
    llrs = chance.exponential(10.0, 200) + MIN
    peaks = [peak(i, *each) for i, each in enumerate(zip(starts, starts + lengths, llrs, strict=True))]
    real = [one for one in peaks if one.llr > CATALOG_PLAY_SHARE * DEFAULT]
    assert real
    kept: list[Peak] = []
    for one in sorted(peaks, key=lambda one: -one.llr):
        if one not in real and not any(one.start < other.end and other.start < one.end for other in [*real, *kept]):
            kept.append(one)
    assert PeakSplit.of(peaks, 1000.0, DEFAULT).unknown == tuple(kept)


# Peaks


def test_openings_of_a_track_are_one_peak_unless_they_are_more_than_a_gap_apart() -> None:
    found = [peak(1, 0, 5, 6.0), peak(2, 2, 6, 5.5), peak(1, 1, 7, 9.0), peak(1, 3, 15, 7.0), peak(1, 18, 23.5, 6.5)]
    assert merge_peaks(found, MAX_GAP) == [peak(1, 0, 15, 9.0), peak(2, 2, 6, 5.5), peak(1, 18, 23.5, 6.5)]


@pytest.fixture
def thresholds() -> Thresholds:
    """Loose ones, for made-up tracks with cosines of up to .6 with one another, so that peaks occur by chance."""
    curve = LlrCurve((0.0, 0.3, 0.6, 1.0), (-1.0, 0.0, 1.5, 4.0))
    return Thresholds(curve, curve, open_llr=DEFAULT, vote_llr=1.0, resume_llr=0.5)


def opened(segments: list[Segment], references: dict[int, object], thresholds: Thresholds, at_once: int) -> list[Peak]:
    """The plays that could open if the segments come in batches of this size."""
    found: list[Peak] = []
    for end in range(0, len(segments), at_once):
        recent = segments[: end + at_once]
        proposals = propose(recent, len(segments[end : end + at_once]), thresholds)
        found += opening_peaks(recent, proposals, references, thresholds, play_id)  # type: ignore[arg-type]
    return found


def test_the_first_opening_is_the_play_that_the_tracker_opens_however_the_segments_come(
    thresholds: Thresholds,
) -> None:
    references = {1: track(1, 200), 2: track(2, 200)}
    vectors = [*unknown(30, seed=9), *heard(references[1], range(20, 60), noise=0.7), *unknown(60, seed=10)]
    segments = broadcast(vectors, references)
    found = opened(segments, references, thresholds, 10)
    assert found == opened(segments, references, thresholds, 1)
    update = advance(segments, propose(segments, len(segments), thresholds), (), (), references, thresholds, play_id)
    (play,), at = update.opened, min(update.opened_at.values())
    assert {peak.track for peak in found} == {1}
    assert (found[0].start, found[0].end) == (pytest.approx(play.start, abs=SEGMENT_SAMPLES), at)
    assert all(peak.llr >= thresholds.open_llr for peak in found)
    (maximum,) = merge_peaks(found, thresholds.max_gap_samples)
    assert maximum.llr == max(peak.llr for peak in found)


def test_unknown_audio_has_peaks_below_the_threshold_at_which_plays_open(thresholds: Thresholds) -> None:
    references = {number: track(number, 400) for number in range(1, 6)}
    segments = broadcast(unknown(400, seed=99), references)
    low = replace(thresholds, open_llr=thresholds.open_llr / 10)
    found = merge_peaks(opened(segments, references, low, 20), thresholds.max_gap_samples)
    assert found
    assert max(peak.llr for peak in found) < thresholds.open_llr
