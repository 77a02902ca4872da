"""Hough votes: hits on one line through a track, at any speed of a station, propose it. Hits by chance do not."""

import numpy as np
import pytest

from monitor.core.segments import HOP_SAMPLES, Hit, Segment
from monitor.core.tracking.hough_votes import MAX_PROPOSALS, WINDOW_SAMPLES, HitVotes, Proposal
from monitor.detect.fingerprint import NeuralDetector

VECTOR = np.ones(4, np.float32) / 2


def _segment(hops: int, *hits: tuple[int, float]) -> Segment:
    return Segment(hops * HOP_SAMPLES, VECTOR, tuple(Hit(n, round(place * HOP_SAMPLES), 0.7) for n, place in hits))


def _proposals(segments: list[Segment], minimum: float = 4.0) -> list[Proposal]:
    return HitVotes(segments, NeuralDetector.thresholds.tracking_curve).proposals(segments[-1], minimum)


def test_segments_on_one_line_propose_it_and_others_do_not() -> None:
    on_line = [_segment(i, (7, i + 10), (8, 50 - 3 * i)) for i in range(4)]
    (found,) = _proposals(on_line)
    assert (found.track, found.alignment.position, found.alignment.instant) == (7, 13 * HOP_SAMPLES, 3 * HOP_SAMPLES)


@pytest.mark.parametrize("speed", [0.93, 1.0, 1.07])
def test_a_track_at_another_speed_is_proposed(speed: float) -> None:
    assert _proposals([_segment(i, (7, round(10 + speed * i))) for i in range(0, 36, 6)], 12.0)


def test_a_segment_votes_once_however_many_of_its_hits_agree() -> None:
    assert _proposals([_segment(0, (7, 0), (7, 1)), _segment(1, (7, 1), (7, 2))], 6.5) == []


def test_one_segment_alone_proposes_nothing() -> None:
    assert _proposals([_segment(0, (7, 0), (7, 0))], 0.1) == []


def test_old_hits_do_not_count() -> None:
    long_ago = WINDOW_SAMPLES // HOP_SAMPLES + 1
    assert _proposals([_segment(0, (7, 10)), _segment(long_ago, (7, 10 + long_ago))], 0.1) == []


def test_later_segments_have_no_vote_and_segments_without_hits_propose_nothing() -> None:
    votes = HitVotes([_segment(i, (7, i)) for i in range(4)], NeuralDetector.thresholds.tracking_curve)
    assert votes.proposals(_segment(0, (7, 0)), 0.1) == []
    assert votes.proposals(_segment(1, (7, 1)), 0.1)
    assert votes.proposals(_segment(4), 0.1) == []
    assert HitVotes([], NeuralDetector.thresholds.tracking_curve).proposals(_segment(0), 0.1) == []


def test_a_looping_track_proposes_few_positions_best_first() -> None:
    places = range(0, 400, 20)
    segments = [_segment(i, *((7, place + i) for place in places)) for i in range(4)]
    segments.insert(0, _segment(-1, (7, 99)))
    found = _proposals(segments)
    assert len(found) == MAX_PROPOSALS
    assert found[0].alignment.position == 103 * HOP_SAMPLES
