"""The cross-similarity of a track and a stream, and the alignments that stand out in it."""

import numpy as np
import pytest

from monitor.core.alignment.cross_similarity import MAX_ALIGNMENTS, best_alignments, cross_similarity
from monitor.core.reference import Reference
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, track

TRACK = track(3, 60)


def test_the_matrix_has_a_row_for_each_segment_of_the_track_and_no_values_for_silence() -> None:
    silent = Reference(np.vstack([TRACK.vectors[:5], np.zeros((1, 32), np.float32)]))
    matrix = cross_similarity(silent, broadcast([*heard(TRACK, [1.0, 2.0]), None], {3: TRACK}))
    assert matrix.shape == (6, 3)
    assert matrix[1, 0] == pytest.approx(1, abs=1e-5)
    assert matrix[2, 1] == pytest.approx(1, abs=1e-5)
    assert np.isnan(matrix[:, 2]).all()
    assert np.isnan(matrix[5]).all()
    assert not np.isnan(matrix[:5, :2]).any()


@pytest.mark.parametrize("speed", [0.94, 1.0, 1.04])
def test_the_alignment_with_the_largest_llr_comes_first(speed: float) -> None:
    segments = broadcast(heard(TRACK, [20 + speed * i for i in range(16)], noise=0.3), {7: TRACK})
    found = list(best_alignments(NeuralDetector.thresholds.tracking_curve(cross_similarity(TRACK, segments))))
    assert len(found) == MAX_ALIGNMENTS
    assert found[0] == pytest.approx(20 + speed * 15, abs=1)
