"""References: what is derived from a track's vectors."""

import numpy as np
import pytest

from monitor.core.reference import Reference


def test_the_local_context_leaves_out_the_segment_itself_what_shares_sound_with_it_and_silence() -> None:
    vectors = np.eye(20, dtype=np.float32)
    vectors[13] = 0  # silence
    reference = Reference(vectors)
    of_ten = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0]
    assert (reference.local_context[10] > 0).tolist() == [bool(one) for one in of_ten]
    assert reference.local_context[10].max() == pytest.approx(1 / (9 + 4))
    assert reference.context_prior[10] == pytest.approx(0.2 * 4 / (9 + 4))
    lone = Reference(vectors[:1])
    assert not lone.local_context.any()
    assert lone.context_prior == pytest.approx([0.2])
