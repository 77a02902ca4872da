"""References: what is derived from a track's vectors."""

import numpy as np
import pytest

from monitor.core.reference import Reference


def test_the_local_context_leaves_out_the_segment_itself_what_shares_sound_with_it_and_silence() -> None:
    vectors = np.eye(20, dtype=np.float32)
    vectors[13] = 0  # silence
    reference = Reference(vectors)
    of_ten = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0]
    (ten,) = reference.local_context(np.array([10]))
    assert (ten > 0).tolist() == [bool(one) for one in of_ten]
    assert ten.max() == pytest.approx(1 / (9 + 4))
    assert reference.context_prior(np.array([10])) == pytest.approx([0.2 * 4 / (9 + 4)])
    lone = Reference(vectors[:1])
    assert not lone.local_context(np.array([0])).any()
    assert lone.context_prior(np.array([0])) == pytest.approx([0.2])


def test_the_local_context_of_some_segments_is_the_same_as_that_of_all() -> None:
    vectors = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float16)
    reference = Reference(vectors)
    everything = reference.local_context(np.arange(40))
    for numbers in ([0], [39], [3, 4, 4, 6], [30, 39], [0, 39]):
        assert np.array_equal(reference.local_context(np.array(numbers)), everything[numbers])
    expected = [
        vectors[[i for i in range(40) if 2 <= abs(i - at) <= 6]].astype(np.float64).sum(axis=0).astype(np.float32)
        / (reference.context_counts[at] + 4)
        for at in range(40)
    ]
    assert everything == pytest.approx(np.stack(expected), abs=1e-6)


def test_float16_vectors_give_the_same_as_float32_and_take_half_the_memory() -> None:
    vectors = np.random.default_rng(4).normal(size=(40, 8)).astype(np.float16)
    half, full = Reference(vectors), Reference(vectors.astype(np.float32))
    assert half.stored.nbytes == full.stored.nbytes / 2
    assert np.array_equal(half.vectors, full.vectors)
    assert np.array_equal(half.part(3, 9), full.vectors[3:9])
    for name in ("steps", "is_sound", "distinctiveness", "context_counts"):
        assert np.array_equal(getattr(half, name), getattr(full, name))
    assert np.array_equal(half.local_context(np.arange(40)), full.local_context(np.arange(40)))
