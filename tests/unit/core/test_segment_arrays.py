"""Segments with arrays: the same segments, built once, and slices that share the arrays."""

import numpy as np

from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import HOP_SAMPLES, Segment


def _segments() -> list[Segment]:
    rows = np.eye(3, 4, dtype=np.float32)
    vectors = [rows[0], None, rows[1], rows[2]]
    return [Segment(i * HOP_SAMPLES, vector, (), i / 10) for i, vector in enumerate(vectors)]


def test_the_arrays_have_a_row_for_each_segment_and_zeros_for_silence() -> None:
    segments = _segments()
    arrays = SegmentArrays.of(segments)
    assert all(one is other for one, other in zip(arrays, segments, strict=True))
    assert arrays.starts.tolist() == [segment.start for segment in segments]
    assert arrays.is_audible.tolist() == [True, False, True, True]
    assert not arrays.is_all_audible
    assert arrays.vectors.argmax(axis=1).tolist() == [0, 0, 1, 2]
    assert not arrays.vectors[1].any()
    assert arrays.expected_similarity.tolist() == [np.float32(i / 10) for i in range(4)]


def test_a_slice_is_the_same_as_the_arrays_of_the_slice() -> None:
    segments = _segments()
    part = SegmentArrays.of(segments)[2:]
    assert isinstance(part, SegmentArrays)
    assert part.is_all_audible
    assert part[0] is segments[2]
    assert np.array_equal(part.vectors, SegmentArrays.of(segments[2:]).vectors)
    assert SegmentArrays.of(part) is part


def test_vectors_of_another_model_are_not_comparable() -> None:
    other = Segment(9 * HOP_SAMPLES, np.ones(2, np.float32))
    arrays = SegmentArrays.of([other, *_segments()])
    assert arrays.vectors.shape == (5, 4)
    assert arrays.is_audible.tolist() == [False, True, False, True, True]


def test_no_segments_and_only_silence_have_no_vectors() -> None:
    assert len(SegmentArrays.of([])) == 0
    silent = SegmentArrays.of([Segment(0, None)])
    assert silent.vectors.shape == (1, 0)
    assert silent.is_audible.tolist() == [False]
