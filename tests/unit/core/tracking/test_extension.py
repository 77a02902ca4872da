"""Extension: a play continues over short gaps and silence, and at its own speed."""

from __future__ import annotations

import pytest

from monitor.core.segments import HOP_SAMPLES
from tests.unit.core.broadcasts import broadcast, heard, silence, unknown
from tests.unit.core.tracking.listening import CATALOG, T, listen, places, seconds


def test_a_short_gap_is_bridged_and_counted() -> None:
    gap = T.max_gap_samples // HOP_SAMPLES - 3
    vectors = heard(CATALOG[1], places(0, 60))
    vectors[25 : 25 + gap] = unknown(gap, 94)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert (seconds(play.start), seconds(play.end)) == (0.0, 30.5)
    assert (play.scored, play.bridged) == (60 - gap, (gap - 1) * HOP_SAMPLES)


def test_silence_inside_a_track_does_not_count_against_it() -> None:
    vectors = heard(CATALOG[1], places(0, 50))
    vectors[20:24] = silence(4)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.scored == 46
    assert play.score == pytest.approx(1.0, abs=0.01)


def test_a_play_at_another_speed_is_followed_and_its_speed_measured() -> None:
    vectors = heard(CATALOG[1], [10 + 0.96 * i for i in range(100)], noise=0.3)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.mean_speed == pytest.approx(0.96, abs=0.003)
    assert (seconds(play.start), seconds(play.end)) == (0.0, 50.5)
