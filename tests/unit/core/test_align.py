"""Cosines along lines, between segments too; and the line that fits what was heard, its speed included."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.alignment import AlignmentScores, cosines, fit_alignment, refine_alignment, track_similarity
from monitor.core.play import Alignment
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, track, unknown

T = NeuralDetector.thresholds
CURVE = T.curve
FIRST = 1_000_000


def _line(place: float, speed: float = 1.0) -> Alignment:
    """The line on which the broadcast's first segment lies at a place counted in hops."""
    return Alignment(FIRST, place * HOP_SAMPLES, speed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_the_true_line_scores_one_also_between_two_segments(share: float) -> None:
    reference = track(2, 30)
    segments = broadcast(heard(reference, [4 + share + i for i in range(6)]), {7: reference})
    scores = cosines(reference, segments, [_line(4 + share), _line(9 + share)])
    assert scores[0] == pytest.approx(np.ones(6), abs=1e-3)
    assert (scores[1] < 0.9).all()


def test_silence_on_either_side_and_places_outside_the_track_have_no_score() -> None:
    reference = Reference(np.vstack([track(3, 4).vectors, np.zeros((4, 32), np.float32)]))
    segments = broadcast([*heard(reference, [0, 1]), None, *heard(reference, [1, 1, 1, 1, 1, 1, 1])], {7: reference})
    scores = cosines(reference, segments, [_line(-1)])[0]
    assert np.isnan(scores).tolist() == [True, False, True, False, False, True, True, True, True, True]
    assert np.isnan(cosines(reference, [Segment(0, None)], [Alignment(0, 0)])).all()


def test_a_line_holds_at_clock_values_of_today_and_at_other_speeds() -> None:
    now = 32_000 * 1_800_000_000
    line = Alignment(now, 80_000.0, 1.02)
    assert line.at(now + 3_600 * 32_000) == 80_000 + 1.02 * 3_600 * 32_000
    assert line.distance(Alignment(now - 32_000, 80_000.0 - 1.02 * 32_000, 1.02)) == 0


@pytest.mark.parametrize("speed", [0.94, 0.98, 1.0, 1.01, 1.04])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_line_that_fits_has_the_place_and_the_speed_of_the_broadcast(speed: float, share: float) -> None:
    reference = track(4, 120)
    # Middles of segments lie on the line.
    places = [20 + share + speed * i for i in range(60)]
    segments = broadcast(heard(reference, places, noise=0.5), {7: reference})
    near = Alignment(segments[-1].start, round(places[-1]) * HOP_SAMPLES)
    fit = fit_alignment(reference, segments, near, CURVE, 2.0)
    assert fit is not None
    middle = segments[30].start + SEGMENT_SAMPLES // 2
    assert fit.line.at(middle) == pytest.approx(places[30] * HOP_SAMPLES + SEGMENT_SAMPLES // 2, abs=HOP_SAMPLES / 8)
    assert fit.line.speed == pytest.approx(speed, abs=0.004)
    assert np.nanmean(fit.scores) > 0.8


def test_no_line_fits_what_the_track_is_not_in() -> None:
    reference = track(5, 120)
    segments = broadcast(unknown(40, 6), {7: reference})
    assert fit_alignment(reference, segments, Alignment(segments[-1].start, 60 * HOP_SAMPLES), CURVE, 6.0) is None


def test_a_line_follows_a_small_drift_and_stays_where_nothing_is_better() -> None:
    reference = track(8, 60)
    segments = broadcast(heard(reference, [10 + i for i in range(16)]), {7: reference})
    now = segments[-1].start
    off = Alignment(now, 25 * HOP_SAMPLES + HOP_SAMPLES / 4)
    assert abs(refine_alignment(reference, segments, off).position - 25 * HOP_SAMPLES) < HOP_SAMPLES / 4
    right = Alignment(now, 25 * HOP_SAMPLES)
    assert refine_alignment(reference, segments, right) == right


def test_versions_of_one_recording_are_alike_along_their_lines_and_others_are_not() -> None:
    one = track(9, 80)
    version = Reference(np.stack(heard(one, range(10, 70), noise=0.3)))
    starts = [FIRST + i * HOP_SAMPLES for i in range(20)]
    assert (track_similarity(one, _line(30), version, _line(20), starts) > 0.9).all()
    assert np.abs(track_similarity(one, _line(30), track(10, 80), _line(20), starts)).mean() < 0.3
    assert (track_similarity(one, _line(-30), version, _line(20), starts) == 0).all()


def test_what_is_around_a_place_leaves_out_the_place_silence_and_what_shares_sound_with_it() -> None:
    vectors = np.eye(20, dtype=np.float32)
    vectors[13] = 0  # silence
    reference = Reference(vectors)
    of_ten = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0]
    assert (reference.local_context[10] > 0).tolist() == [bool(one) for one in of_ten]
    assert reference.local_context[10].max() == pytest.approx(1 / (9 + 4))
    assert reference.context_prior[10] == pytest.approx(0.2 * 4 / (9 + 4))
    lone = Reference(vectors[:1])
    assert not lone.local_context.any()
    assert lone.context_prior == pytest.approx([0.2])


def _along(scores: list[float], around: list[float]) -> AlignmentScores:
    n = len(scores)
    ages, zero = np.arange(n, dtype=np.float32)[::-1], np.zeros(n, np.float32)
    new = np.ones(n, np.float32)
    return AlignmentScores(Alignment(0, 0), np.array(scores, np.float32), np.array(around, np.float32), new, ages, zero)


def test_a_likeness_that_the_whole_passage_shares_opens_nothing_and_one_that_stands_out_does() -> None:
    resembling, true = _along([0.5] * 60, [0.45] * 60), _along([0.5] * 60, [0.15] * 60)
    assert resembling.best_llr(T) <= 0
    assert true.best_llr(T) > T.open_llr
    by_cosine = replace(T, standing_out=None, faint=None)
    assert resembling.best_llr(by_cosine) == true.best_llr(by_cosine) > 0


def test_music_far_beneath_a_voice_is_proved_by_its_length() -> None:
    faint = _along([0.3] * 80, [0.1] * 80)
    assert faint.llr(T.opening).sum() < 0
    assert faint.best_llr(T) > T.open_llr > faint.since(60).best_llr(T)


def test_a_track_that_repeats_itself_is_as_much_like_other_places_and_is_found_in_the_clear() -> None:
    looped = _along([0.9] * 12, [0.85] * 12)
    assert looped.best_llr(T) == pytest.approx(looped.llr(T.opening).sum())
    assert looped.best_llr(T) > T.open_llr


def test_silence_says_nothing_by_any_test() -> None:
    heard_, silent = [0.6] * 10, [float("nan")] * 10
    known, with_silence = _along(heard_, [0.2] * 10), _along([*heard_, *silent], [0.2] * 20)
    for one, other in zip(known.opening_llrs(T), with_silence.opening_llrs(T), strict=True):
        assert other[:10] == pytest.approx(one)
        assert not other[10:].any()


def _along_of(scores: list[float], foreseen: list[float]) -> AlignmentScores:
    """Along a line through a track with these cosines, in a stream whose detector foresees others."""
    reference = track(11, len(scores))
    exact = np.stack(heard(reference, range(len(scores))))
    across = np.roll(exact, 16, axis=1)
    across -= np.einsum("ij,ij->i", across, exact)[:, np.newaxis] * exact
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    share = np.array(scores, np.float32)[:, np.newaxis]
    vectors = share * exact + np.sqrt(1 - share**2) * across
    segments = [
        Segment(FIRST + i * HOP_SAMPLES, v, (), f) for i, (v, f) in enumerate(zip(vectors, foreseen, strict=True))
    ]
    return AlignmentScores.of(reference, segments, _line(0))


def test_what_is_heard_in_the_clear_and_only_resembles_the_track_is_another_recording() -> None:
    clear, covered = _along_of([0.5] * 40, [0.9] * 40), _along_of([0.5] * 40, [0.5] * 40)
    assert clear.similarity_deficit == pytest.approx(np.full(40, 0.9 - 0.5 - 0.25), abs=1e-3)
    assert not covered.similarity_deficit.any()
    assert covered.best_llr(T) - clear.best_llr(T) >= 0.9 * 40 * T.deficit_cost * 0.15
    assert clear.ignore_deficit(np.ones(40, np.bool_)).best_llr(T) == covered.best_llr(T)  # other music is heard with it


def test_what_counts_as_unheard_says_nothing_against_a_line() -> None:
    clear = _along_of([0.5] * 40, [0.9] * 40)
    assert all(not values.any() for values in clear.without(np.ones(40, np.bool_)).opening_llrs(T))


def test_single_segments_that_fall_short_and_unknown_foresight_cost_nothing() -> None:
    scores = [0.9] * 20 + [0.3] + [0.9] * 20
    assert not _along_of(scores, [0.9] * 41).similarity_deficit.any()
    assert not _along_of([0.3] * 20, [float("nan")] * 20).similarity_deficit.any()
