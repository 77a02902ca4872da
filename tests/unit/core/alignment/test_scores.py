"""What segments along an alignment say for a play: by their cosines, by their contrast, and by what was expected."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.scores import AlignmentScores
from monitor.core.segments import HOP_SAMPLES, Segment
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import heard, track

T = NeuralDetector.thresholds
FIRST = 1_000_000


def _scores(cosines: list[float], local_context: list[float]) -> AlignmentScores:
    n = len(cosines)
    ages, zero = np.arange(n, dtype=np.float32)[::-1], np.zeros(n, np.float32)
    distinctiveness = np.ones(n, np.float32)
    arrays = np.array(cosines, np.float32), np.array(local_context, np.float32)
    return AlignmentScores(Alignment(0, 0), *arrays, distinctiveness, ages, zero)


def test_similarity_that_the_local_context_shares_opens_nothing_and_one_that_stands_out_does() -> None:
    resembling, true = _scores([0.5] * 60, [0.45] * 60), _scores([0.5] * 60, [0.15] * 60)
    assert resembling.best_llr(T) <= 0
    assert true.best_llr(T) > T.open_llr
    by_cosine = replace(T, contrast_curve=None, faint_curve=None)
    assert resembling.best_llr(by_cosine) == true.best_llr(by_cosine) > 0


def test_music_far_below_a_voice_is_proven_by_its_length() -> None:
    faint = _scores([0.3] * 80, [0.1] * 80)
    assert faint.llrs(T.opening_curve).sum() < 0
    assert faint.best_llr(T) > T.open_llr > faint.from_segment(60).best_llr(T)


def test_a_track_that_repeats_itself_is_found_in_the_clear() -> None:
    looped = _scores([0.9] * 12, [0.85] * 12)
    assert looped.best_llr(T) == pytest.approx(looped.llrs(T.opening_curve).sum())
    assert looped.best_llr(T) > T.open_llr


def test_silence_has_no_llr_by_any_test() -> None:
    heard_, silent = [0.6] * 10, [float("nan")] * 10
    known, with_silence = _scores(heard_, [0.2] * 10), _scores([*heard_, *silent], [0.2] * 20)
    for one, other in zip(known.opening_llrs(T), with_silence.opening_llrs(T), strict=True):
        assert other[:10] == pytest.approx(one)
        assert not other[10:].any()


def _scores_of_stream(scores: list[float], expected: list[float]) -> AlignmentScores:
    """Scores with these cosines, of a stream whose detector expects other ones."""
    reference = track(11, len(scores))
    exact = np.stack(heard(reference, range(len(scores))))
    across = np.roll(exact, 16, axis=1)
    across -= np.einsum("ij,ij->i", across, exact)[:, np.newaxis] * exact
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    share = np.array(scores, np.float32)[:, np.newaxis]
    vectors = share * exact + np.sqrt(1 - share**2) * across
    segments = [
        Segment(FIRST + i * HOP_SAMPLES, v, (), f) for i, (v, f) in enumerate(zip(vectors, expected, strict=True))
    ]
    return AlignmentScores.of(reference, segments, Alignment(FIRST, 0))


def test_music_in_the_clear_that_only_resembles_the_track_is_another_recording() -> None:
    clear, covered = _scores_of_stream([0.5] * 40, [0.9] * 40), _scores_of_stream([0.5] * 40, [0.5] * 40)
    assert clear.similarity_deficit == pytest.approx(np.full(40, 0.9 - 0.5 - 0.25), abs=1e-3)
    assert not covered.similarity_deficit.any()
    assert covered.best_llr(T) - clear.best_llr(T) >= 0.9 * 40 * T.deficit_cost * 0.15
    # Other music is heard together with it.
    assert clear.ignore_deficit(np.ones(40, np.bool_)).best_llr(T) == covered.best_llr(T)


def test_masked_segments_have_no_llr() -> None:
    clear = _scores_of_stream([0.5] * 40, [0.9] * 40)
    assert all(not values.any() for values in clear.mask(np.ones(40, np.bool_)).opening_llrs(T))


def test_a_single_low_cosine_and_an_unknown_expectation_cost_nothing() -> None:
    scores = [0.9] * 20 + [0.3] + [0.9] * 20
    assert not _scores_of_stream(scores, [0.9] * 41).similarity_deficit.any()
    assert not _scores_of_stream([0.3] * 20, [float("nan")] * 20).similarity_deficit.any()
