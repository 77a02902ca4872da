"""Votes propose lines; exact scores are cosines along a line, between segments too."""

import numpy as np
import pytest

from monitor.core.align import FINE_STEPS, exact, fine_offsets, votes
from monitor.core.match import Hit, Reference, Segment
from monitor.core.segments import HOP_SAMPLES
from tests.unit.core.broadcasts import broadcast, heard, track

VECTOR = np.ones(4, np.float32) / 2


def _segment(start: int, *hits: tuple[int, int]) -> Segment:
    return Segment(start, VECTOR, tuple(Hit(number, position, 0.9) for number, position in hits))


def test_segments_on_one_line_vote_for_it_and_others_do_not() -> None:
    on_line = [_segment(i * HOP_SAMPLES, (7, (i + 10) * HOP_SAMPLES)) for i in range(3)]
    stray = _segment(3 * HOP_SAMPLES, (7, 99 * HOP_SAMPLES), (8, 3 * HOP_SAMPLES))
    found = votes([*on_line, stray], least=3)
    assert set(found) == {7}
    assert all(abs(offset - 10 * HOP_SAMPLES) <= HOP_SAMPLES for offset in found[7])


def test_a_segment_votes_once_for_a_line_however_many_of_its_hits_lie_there() -> None:
    twice = _segment(0, (7, 0), (7, HOP_SAMPLES))
    assert votes([twice, twice], least=2) == {}


def test_hits_on_either_side_of_the_true_place_count_for_the_same_line() -> None:
    sides = [_segment(i * HOP_SAMPLES, (7, (i + i % 2) * HOP_SAMPLES)) for i in range(4)]
    assert votes(sides, least=4) == {7: [0]}


def test_the_line_with_most_votes_comes_first() -> None:
    segments = [_segment(i * HOP_SAMPLES, (7, i * HOP_SAMPLES)) for i in range(5)]
    segments += [_segment((10 + i) * HOP_SAMPLES, (7, (40 + i) * HOP_SAMPLES)) for i in range(3)]
    assert abs(votes(segments, least=3)[7][0]) <= HOP_SAMPLES


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_a_voted_line_holds_the_true_offset_between_its_fine_ones(share: float) -> None:
    reference = track(1, 40)
    segments = broadcast(heard(reference, [5 + share + i for i in range(10)]), {7: reference})
    true = round((5 + share) * HOP_SAMPLES) - segments[0].start
    offsets = [fine for offset in votes(segments, 8)[7] for fine in fine_offsets(offset)]
    assert min(abs(offset - true) for offset in offsets) <= HOP_SAMPLES // FINE_STEPS


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_the_true_line_scores_one_also_between_two_segments(share: float) -> None:
    reference = track(2, 30)
    segments = broadcast(heard(reference, [4 + share + i for i in range(6)]), {7: reference})
    true = round((4 + share) * HOP_SAMPLES) - segments[0].start
    scores = exact(reference, segments, [true, true + 5 * HOP_SAMPLES])
    assert scores[0] == pytest.approx(np.ones(6), abs=1e-3)
    assert (scores[1] < 0.9).all()


def test_silence_on_either_side_and_places_outside_the_track_have_no_score() -> None:
    reference = Reference(np.vstack([track(3, 4).vectors, np.zeros((4, 32), np.float32)]))
    segments = broadcast([*heard(reference, [0, 1]), None, *heard(reference, [1, 1, 1, 1, 1, 1, 1])], {7: reference})
    scores = exact(reference, segments, [-segments[0].start - HOP_SAMPLES])[0]
    assert np.isnan(scores).tolist() == [True, False, True, False, False, True, True, True, True, True]
    assert np.isnan(exact(reference, [Segment(0, None)], [0])).all()
