"""Exact cosines along alignments, also between two of the track's segments."""

import numpy as np
import pytest

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.cosines import cosines, track_similarity
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Segment
from tests.unit.core.broadcasts import broadcast, heard, track

FIRST = 1_000_000


def _alignment(hops: float, speed: float = 1.0) -> Alignment:
    """The alignment at which the broadcast's first segment is at a position in hops."""
    return Alignment(FIRST, hops * HOP_SAMPLES, speed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_the_true_alignment_has_cosines_of_one_even_between_two_segments(share: float) -> None:
    reference = track(2, 30)
    segments = broadcast(heard(reference, [4 + share + i for i in range(6)]), {7: reference})
    scores = cosines(reference, segments, [_alignment(4 + share), _alignment(9 + share)])
    assert scores[0] == pytest.approx(np.ones(6), abs=1e-3)
    assert (scores[1] < 0.9).all()


def test_silence_on_either_side_and_positions_outside_the_track_have_no_cosine() -> None:
    reference = Reference(np.vstack([track(3, 4).vectors, np.zeros((4, 32), np.float32)]))
    segments = broadcast([*heard(reference, [0, 1]), None, *heard(reference, [1, 1, 1, 1, 1, 1, 1])], {7: reference})
    scores = cosines(reference, segments, [_alignment(-1)])[0]
    assert np.isnan(scores).tolist() == [True, False, True, False, False, True, True, True, True, True]
    assert np.isnan(cosines(reference, [Segment(0, None)], [Alignment(0, 0)])).all()


def test_versions_of_one_recording_are_similar_along_their_alignments_and_other_tracks_are_not() -> None:
    one = track(9, 80)
    version = Reference(np.stack(heard(one, range(10, 70), noise=0.3)))
    starts = [FIRST + i * HOP_SAMPLES for i in range(20)]
    assert (track_similarity(one, _alignment(30), version, _alignment(20), starts) > 0.9).all()
    assert np.abs(track_similarity(one, _alignment(30), track(10, 80), _alignment(20), starts)).mean() < 0.3
    assert (track_similarity(one, _alignment(-30), version, _alignment(20), starts) == 0).all()
