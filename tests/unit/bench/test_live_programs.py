"""What the station's programs play, and what is on the air when."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from monitor.demo.program import Recording
from tests.bench.live import programs
from tests.bench.live.programs import Item

MUSIC = [Recording(Path(f"/music/{number:02}.ogg"), 50.0 + number) for number in range(16)]
KNOWN, UNKNOWN = programs.split(MUSIC)


def test_every_fourth_recording_stays_unregistered() -> None:
    assert len(UNKNOWN) == 4
    assert sorted([*KNOWN, *UNKNOWN], key=lambda each: each.path) == MUSIC
    assert programs.split(MUSIC[::-1]) == (KNOWN, UNKNOWN)


def test_tracks_and_unknown_music_alternate_without_a_gap() -> None:
    items = programs.plan(KNOWN, UNKNOWN, 300, seed=1)
    assert [item.known for item in items] == [True, False] * (len(items) // 2)
    assert items[0].start_s == 0
    assert items[-1].end_s >= 300
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(items))


def test_items_lie_within_their_recordings() -> None:
    lengths_s = {str(each.path): each.duration_s for each in MUSIC}
    for item in programs.plan(KNOWN, UNKNOWN, 1000, seed=2):
        assert item.recording_start_s >= programs.EDGE_S
        assert item.recording_start_s + item.end_s - item.start_s <= lengths_s[item.source] - programs.EDGE_S + 1e-6
        assert item.known == (item.source in {str(each.path) for each in KNOWN})


def test_a_plan_depends_on_its_seed() -> None:
    assert programs.plan(KNOWN, UNKNOWN, 100, 1) == programs.plan(KNOWN, UNKNOWN, 100, 1)
    assert programs.plan(KNOWN, UNKNOWN, 100, 1) != programs.plan(KNOWN, UNKNOWN, 100, 2)


def test_streams_are_spread_over_programs_and_their_seconds() -> None:
    made = programs.feeds(30, [("mp3", 360.0), ("aac", 370.0), ("opus", 380.0)])
    assert Counter(feed.program for feed in made) == {0: 10, 1: 10, 2: 10}
    seconds = sorted(feed.offset_s for feed in made if feed.program == 0)
    assert all(after - before == pytest.approx(36) for before, after in itertools.pairwise(seconds))
    assert all(0 <= feed.offset_s < 380 for feed in made)


ITEMS = (
    Item("a", True, 0, 30, 5),
    Item("x", False, 30, 50, 5),
    Item("b", True, 50, 80, 5),
    Item("y", False, 80, 100, 5),
)


def test_plays_follow_from_the_second_at_which_the_station_started() -> None:
    found = programs.plays(ITEMS, 100, 60, 1000, 1060)
    assert [(play.source, play.start_s, play.end_s) for play in found] == [("b", 990, 1020), ("a", 1040, 1070)]


def test_a_program_repeats() -> None:
    found = programs.plays(ITEMS, 100, 0, 0, 260)
    assert [(play.source, play.start_s) for play in found] == [
        ("a", 0),
        ("b", 50),
        ("a", 100),
        ("b", 150),
        ("a", 200),
        ("b", 250),
    ]
