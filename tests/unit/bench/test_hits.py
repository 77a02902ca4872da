"""Hits of windows become plays: joined along an alignment, and separate for different alignments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.hits import Hit, best, plays, windows

HIT = Hit("a.wav", "t.flac", start_s=10.0, end_s=20.0, track_start_s=40.0, score=7.0, heard_s=20.0)


def later(by_s: float, *, off_s: float = 0.0, **changes: float) -> Hit:
    """A hit of a later window on the same alignment, or off_s away from it."""
    moved = replace(HIT, start_s=10 + by_s, end_s=20 + by_s, track_start_s=40 + by_s + off_s, heard_s=20 + by_s)
    return replace(moved, **changes)  # type: ignore[arg-type]


def test_overlapping_hits_on_one_alignment_are_one_play() -> None:
    (play,) = plays([later(10), HIT, later(5, score=9.0)], minimum=1, bridge_s=0)
    assert (play.start_s, play.end_s, play.track_start_s, play.track_end_s) == (10, 30, 40, 60)
    assert (play.speed, play.score, play.reported_s) == (1.0, 9.0, 20.0)


def test_a_gap_is_bridged_up_to_its_maximum_length() -> None:
    assert len(plays([HIT, later(18)], minimum=1, bridge_s=8)) == 1
    assert len(plays([HIT, later(18.1)], minimum=1, bridge_s=8)) == 2


def test_weak_hits_are_ignored() -> None:
    assert plays([replace(HIT, score=6.9)], minimum=7, bridge_s=0) == []


def test_another_alignment_with_the_same_track_is_another_play() -> None:
    assert [play.track_start_s for play in plays([HIT, later(5, off_s=0.6)], minimum=1, bridge_s=10)] == [40, 45.6]


def test_simultaneous_alignments_get_their_own_hits() -> None:
    found = plays([HIT, later(0, off_s=30), later(5), later(5, off_s=30)], minimum=1, bridge_s=0)
    assert [(play.track_start_s, play.end_s) for play in found] == [(40, 25), (70, 25)]


def test_tracks_and_recordings_are_separate() -> None:
    others = [replace(HIT, track="u.flac"), replace(HIT, recording="b.wav")]
    assert len(plays([HIT, *others], minimum=1, bridge_s=10)) == 3


def test_a_drifting_alignment_gives_the_speed() -> None:
    hits = [later(5 * i, off_s=0.2 * i) for i in range(7)]
    (play,) = plays(hits, minimum=1, bridge_s=0)
    assert play.speed == pytest.approx(1.04)
    assert play.track_end_s == pytest.approx(40 + 40 * 1.04)


def test_a_long_hit_still_counts_after_a_short_one() -> None:
    (play,) = plays([replace(HIT, end_s=40.0), later(2, end_s=13.0), later(29)], minimum=1, bridge_s=0)
    assert play.end_s == 49


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(4.0, [(0, 4)]), (10.0, [(0, 10)]), (17.0, [(0, 10), (5, 15), (10, 17)]), (20.0, [(0, 10), (5, 15), (10, 20)])],
)
def test_windows_cover_the_recording_to_its_end(duration_s: float, expected: list[tuple[float, float]]) -> None:
    assert list(windows(duration_s, 10, 5)) == expected


def test_only_the_best_hit_of_each_window_counts() -> None:
    better = replace(HIT, track="u.flac", score=8.0)
    assert best([HIT, better, replace(HIT, score=6.0)]) == [better]
    assert len(best([HIT, later(5), replace(HIT, recording="b.wav")])) == 3
