"""The segmenter gives the same segments however a session's PCM is cut into pieces."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.segmenter import Segmenter
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, count_segments, frames

RUN = np.random.default_rng(7).integers(-30000, 30000, 5 * SEGMENT_SAMPLES + 1234).astype(np.int16)


def _cut(pieces: list[np.ndarray], first_sample: int) -> dict[int, bytes]:
    segmenter, segments = Segmenter(first_sample), {}
    for piece in pieces:
        start, pcm = segmenter.feed(piece)
        for i, frame in enumerate(frames(pcm)):
            segments[start + i * HOP_SAMPLES] = frame.tobytes()
    return segments


@given(st.lists(st.integers(0, len(RUN)), max_size=12), st.integers(0, 3 * HOP_SAMPLES))
def test_any_cutting_gives_the_same_segments(cuts: list[int], first_sample: int) -> None:
    pieces = np.split(RUN, sorted(cuts))
    assert _cut(pieces, first_sample) == _cut([RUN], first_sample)


@given(st.integers(0, 3 * HOP_SAMPLES))
def test_segments_start_at_multiples_of_the_hop_and_hold_their_own_samples(first_sample: int) -> None:
    for start, pcm in _cut([RUN], first_sample).items():
        assert start % HOP_SAMPLES == 0
        there = start - first_sample
        assert there >= 0
        assert pcm == RUN[there : there + SEGMENT_SAMPLES].tobytes()


def test_every_whole_segment_comes_once() -> None:
    assert len(_cut(np.array_split(RUN, 50), 0)) == count_segments(len(RUN)) == 9


def test_the_next_sample_is_the_one_that_must_come_next() -> None:
    segmenter = Segmenter(100)
    segmenter.feed(RUN[:777])
    assert segmenter.next_sample == 877
    segmenter.feed(RUN[777:])
    assert segmenter.next_sample == 100 + len(RUN)
