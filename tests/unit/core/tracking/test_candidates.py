"""Candidates: how much LLR they need, and where a play begins."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.reference import Reference
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown
from tests.unit.core.tracking.listening import CATALOG, T, listen, places, seconds


def test_a_play_does_not_begin_before_a_long_gap() -> None:
    resembling = heard(CATALOG[1], places(10, 12), noise=2.0)  # cosines of about 0.45
    gap = T.max_gap_segments + 4
    for left_out, start in ((gap, 6 + gap / 2), (4, 0.0)):
        played = heard(CATALOG[1], places(22 + left_out, 30))
        segments = broadcast([*resembling, *silence(left_out), *played, *unknown(20, 98)], CATALOG)
        (play,), _ = listen([*segments[:12], *segments[12 + left_out :]])
        assert seconds(play.start) == pytest.approx(start, abs=1)


def test_a_position_in_a_loop_is_ambiguous_and_does_not_change() -> None:
    loop = track(41, 10).vectors
    catalog = {5: Reference(np.vstack([loop] * 8)), 6: track(42, 80)}
    looped, _ = listen(broadcast(heard(catalog[5], places(20, 40)), catalog), range(1, 40), catalog)
    assert [(play.track, play.is_ambiguous) for play in looped] == [(5, True)]
    plain, _ = listen(broadcast(heard(catalog[6], places(20, 40)), catalog), range(1, 40), catalog)
    assert [(play.track, play.is_ambiguous) for play in plain] == [(6, False)]


def test_a_drone_needs_longer_than_music_that_changes() -> None:
    drone = Reference(np.stack(heard(Reference(np.repeat(track(61, 1).vectors, 80, axis=0)), range(79), noise=0.25)))
    catalog = {9: drone}
    cousin = list(heard(drone, places(10, 30), noise=0.9, seed=4))
    assert listen(broadcast(cousin[:12], catalog), catalog=catalog)[0] == []
    assert [play.track for play in listen(broadcast(heard(drone, places(10, 30)), catalog), catalog=catalog)[0]] == [9]
