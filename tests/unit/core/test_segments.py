"""Segments: how many a run of PCM has."""

import numpy as np

from monitor.core.segments import SEGMENT_SAMPLES, count_segments, frames


def test_less_than_a_segment_has_no_segments() -> None:
    assert count_segments(SEGMENT_SAMPLES - 1) == 0
    assert frames(np.zeros(SEGMENT_SAMPLES - 1, np.int16)).shape == (0, SEGMENT_SAMPLES)
