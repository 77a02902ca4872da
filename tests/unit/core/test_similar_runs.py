"""Runs of passages that resemble a track: how they begin, continue and end."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.segments import PASSAGE_SAMPLES
from monitor.core.similar_runs import (
    MAX_GAP_SAMPLES,
    MAX_TRACKS,
    Passage,
    SimilarRun,
    SimilarTrack,
    extend_runs,
    similar_tracks,
)


def passage(place: int, *similar: tuple[int, float]) -> Passage:
    start = place * PASSAGE_SAMPLES
    return Passage(start, start + PASSAGE_SAMPLES, tuple(SimilarTrack(*each) for each in similar))


def run(first: int, last: int, track: int = 7) -> SimilarRun:
    n = last - first + 1
    return SimilarRun(track, first * PASSAGE_SAMPLES, (last + 1) * PASSAGE_SAMPLES, 0.9 * n, n)


def test_one_passage_is_not_enough() -> None:
    assert extend_runs(passage(1, (7, 0.9)), None, []) == []
    assert extend_runs(passage(1, (7, 0.9)), passage(0, (8, 0.95)), []) == []


def test_two_in_a_row_begin_a_run_where_the_first_began() -> None:
    (begun,) = extend_runs(passage(1, (7, 0.9)), passage(0, (8, 0.97), (7, 0.94)), [])
    assert (begun.track, begun.start, begun.end, begun.scored) == (7, 0, 2 * PASSAGE_SAMPLES, 2)
    assert begun.score_sum == pytest.approx(1.84)


def test_a_run_continues_and_does_not_begin_again() -> None:
    (longer,) = extend_runs(passage(2, (7, 0.95)), passage(1, (7, 0.9)), [run(0, 1)])
    assert (longer.start, longer.end, longer.scored) == (0, 3 * PASSAGE_SAMPLES, 3)


def test_one_passage_without_the_track_does_not_end_a_run_but_two_do() -> None:
    (longer,) = extend_runs(passage(3, (7, 0.9)), passage(2), [run(0, 1)])
    assert longer.start == 0
    assert extend_runs(passage(4, (7, 0.9)), passage(3), [run(0, 1)]) == []


def test_the_passage_before_a_long_gap_does_not_count() -> None:
    late = Passage(PASSAGE_SAMPLES + MAX_GAP_SAMPLES + 1, 3 * PASSAGE_SAMPLES + 1, (SimilarTrack(7, 0.9),))
    assert extend_runs(late, passage(0, (7, 0.9)), []) == []


def test_a_run_that_is_ahead_of_a_passage_is_left_alone() -> None:
    assert extend_runs(passage(1, (7, 0.9)), None, [run(1, 3)]) == []


def test_several_tracks_have_runs_of_their_own() -> None:
    found = extend_runs(passage(2, (7, 0.95), (8, 0.9)), passage(1, (7, 0.9), (8, 0.92)), [run(0, 1)])
    assert [(each.track, each.scored) for each in found] == [(7, 3), (8, 2)]


def test_a_passage_resembles_the_tracks_that_have_one_like_it() -> None:
    vector = np.eye(4, dtype=np.float32)[0]
    near = np.array([0.95, np.sqrt(1 - 0.95**2), 0, 0], np.float32)
    references = {
        1: np.eye(4, dtype=np.float32)[1:],
        2: np.stack([np.eye(4, dtype=np.float32)[2], near]),
        3: vector[None],
        4: np.empty((0, 4), np.float32),
    }
    assert similar_tracks(vector, references, 0.9) == (SimilarTrack(3, 1.0), SimilarTrack(2, 0.95))


def test_a_passage_resembles_a_few_tracks_at_most() -> None:
    vector = np.eye(4, dtype=np.float32)[0]
    found = similar_tracks(vector, dict.fromkeys(range(9), vector[None]), 0.9)
    assert [each.track for each in found] == list(range(MAX_TRACKS))
