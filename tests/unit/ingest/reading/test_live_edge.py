"""A session's sample 0 finds its place in time, whatever way the audio arrives, and lost audio is noticed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ingest.reading.live_edge import LiveEdge, LostAudioDetector
from ingest.timeline import samples
from tests.unit.ingest.reading.arrivals import T0, TICK, Arrival, burst, file_at_full_speed, lumps, steady, ticked

MAX_BURST = samples(45)


def anchored(arrivals: Iterable[Arrival], max_burst: int = MAX_BURST) -> tuple[float, float]:
    """The position of sample 0, and when it was known, in seconds after T0."""
    anchor, received = LiveEdge(max_burst), 0
    for arrival in ticked(arrivals):
        received += arrival.n
        anchor.feed(T0 + arrival.at, received)
        if anchor.value is not None:
            return (anchor.value - T0) / samples(1), arrival.at / samples(1)
    raise AssertionError("never anchored")


def test_a_steady_stream_is_anchored_where_its_first_sample_arrived() -> None:
    at_s, known_s = anchored(steady(3, 10))
    assert at_s == pytest.approx(3, abs=0.01)
    assert known_s == pytest.approx(3.6, abs=0.11)


def test_a_burst_lies_in_the_past() -> None:
    at_s, known_s = anchored([*burst(1, 20), *steady(1.2, 10)])
    assert at_s == pytest.approx(1.2 - 20, abs=0.05)
    assert known_s < 2


def test_hls_lumps_lie_in_the_past_when_they_arrive() -> None:
    at_s, known_s = anchored(lumps(1, 30, 6, first=3))
    assert at_s == pytest.approx(1 - 18, abs=0.01)
    assert known_s < 1.7


def test_a_file_at_full_speed_is_anchored_once_the_longest_burst_is_exceeded() -> None:
    at_s, known_s = anchored(file_at_full_speed(1, 300))
    assert at_s == pytest.approx(1.15 - 45, abs=0.2)
    assert known_s < 1.3


def test_if_no_burst_is_allowed_the_first_sample_is_now() -> None:
    at_s, known_s = anchored([*burst(1, 20), *steady(1.2, 10)], max_burst=0)
    assert (at_s, known_s) == (0, 1)


def test_jitter_does_not_push_the_anchor_back() -> None:
    late = [*steady(0, 0.2), Arrival(samples(0.9), samples(0.7)), *steady(0.9, 5)]
    assert anchored(late)[0] == pytest.approx(0, abs=0.01)


def test_without_audio_there_is_no_anchor() -> None:
    anchor = LiveEdge(0)
    anchor.feed(T0, 0)
    anchor.settle()
    assert anchor.value is None


def test_a_lag_counts_if_its_minimum_stays_high() -> None:
    lag = LostAudioDetector()
    seen = [lag.feed(T0 + i * TICK, samples(5) + (i % 7) * TICK) for i in range(220)]
    assert seen[: samples(20) // TICK] == [0] * 200
    assert seen[200] == samples(5)


def test_audio_in_lumps_is_not_a_lag() -> None:
    lag = LostAudioDetector()
    assert not any(lag.feed(T0 + i * TICK, TICK * (i % 100)) for i in range(1000))


def test_a_lag_that_is_made_up_for_is_forgotten() -> None:
    lag = LostAudioDetector()
    assert not any(lag.feed(T0 + i * TICK, samples(9) if i % 190 else 0) for i in range(1000))
