"""Properties of every planned program, whatever the music, the seed and the length."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.demo.errors import DemoError
from monitor.demo.program import CROSSFADE_S, MIN_TRACK_S, Kind, Program, Recording, plan

SPEECH = tuple(Recording(Path(f"/speech/{n:02}.g722"), 2.0 + n * 0.37) for n in range(20))


def music(n: int, duration_s: float = 90.0) -> tuple[Recording, ...]:
    return tuple(Recording(Path(f"/music/{k:02}.ogg"), duration_s + k) for k in range(n))


seeds = st.integers(0, 2**32)
lengths = st.floats(45.0, 900.0).map(lambda seconds: round(seconds, 3))
libraries = st.lists(st.floats(10.0, 400.0), min_size=2, max_size=60).map(
    lambda durations: tuple(Recording(Path(f"/music/{k}.ogg"), d) for k, d in enumerate([41.0, 50.0, *durations]))
)


def kinds(program: Program) -> list[Kind]:
    return [item.kind for item in program.items]


@given(libraries, seeds, lengths)
def test_a_program_has_no_holes_and_lasts_as_long_as_asked(library, seed, total_s):
    program = plan(library, SPEECH, seed, total_s)
    assert program.items[0].start_s == 0.0
    assert program.items[-1].end_s == total_s
    for item, following in pairwise(program.items):
        assert item.end_s - following.start_s in (pytest.approx(0.0, abs=1e-6), pytest.approx(CROSSFADE_S, abs=1e-6))


@given(libraries, seeds, lengths)
def test_every_item_keeps_its_length_limits(library, seed, total_s):
    for item in plan(library, SPEECH, seed, total_s).items:
        length_s = item.end_s - item.start_s
        if item.kind is Kind.SILENCE:
            assert length_s == pytest.approx(2.0, abs=0.01)
        else:
            assert (8.0 if item.kind is Kind.SPEECH else 12.0) - 0.01 <= length_s <= 35.01


@given(libraries, seeds, lengths)
def test_excerpts_lie_inside_recordings_that_are_long_enough(library, seed, total_s):
    durations = {r.path: r.duration_s for r in (*library, *SPEECH)}
    for item in plan(library, SPEECH, seed, total_s).items:
        for excerpt in (*((item.music,) if item.music else ()), *item.speech):
            assert excerpt.start_s >= 0.0
            assert excerpt.start_s + excerpt.length_s <= durations[excerpt.path] + 1e-6
            assert excerpt.at_s + excerpt.length_s <= item.end_s - item.start_s + 1e-6
        if item.music:
            assert durations[item.music.path] >= MIN_TRACK_S


@given(libraries, seeds, lengths)
def test_catalog_and_unknown_music_are_apart_and_used_as_what_they_are(library, seed, total_s):
    program = plan(library, SPEECH, seed, total_s)
    known, unknown = ({r.path for r in part} for part in (program.catalog, program.unknown))
    assert known
    assert unknown
    assert not known & unknown
    assert {play.path for play in program.truth} <= known
    assert {item.music.path for item in program.items if item.kind is Kind.UNKNOWN and item.music} <= unknown


@given(seeds, lengths)
def test_the_truth_is_every_catalog_excerpt_in_the_clear_and_under_speech(seed, total_s):
    program = plan(music(20), SPEECH, seed, total_s)
    expected = [(i.start_s, i.end_s) for i in program.items if i.kind in (Kind.KNOWN, Kind.BED)]
    assert [(play.start_s, play.end_s) for play in program.truth] == expected


@given(seeds, st.floats(45.0, 60.0))
def test_a_short_program_has_one_of_each(seed, total_s):
    planned = kinds(plan(music(8), SPEECH, seed, total_s))
    assert {Kind.KNOWN, Kind.UNKNOWN, Kind.SPEECH, Kind.BED} <= set(planned)


def test_three_minutes_have_every_kind_of_item():
    program = plan(music(40), SPEECH, seed=1)
    assert set(kinds(program)) == set(Kind)
    assert any(item.fade_in_s == CROSSFADE_S for item in program.items)
    assert len({play.path for play in program.truth}) == len(program.truth)
    assert len(program.catalog) == 30


@given(seeds)
def test_the_same_seed_gives_the_same_program(seed):
    assert plan(music(12), SPEECH, seed) == plan(tuple(reversed(music(12))), SPEECH, seed)


def test_another_seed_gives_another_program():
    assert plan(music(12), SPEECH, 1) != plan(music(12), SPEECH, 2)


@given(seeds, lengths)
def test_without_speech_there_is_music_only(seed, total_s):
    planned = set(kinds(plan(music(9), (), seed, total_s)))
    assert {Kind.KNOWN, Kind.UNKNOWN} <= planned
    assert not planned & {Kind.SPEECH, Kind.BED}


def test_too_little_music_is_reported():
    with pytest.raises(DemoError, match="two music files"):
        plan((*music(1), Recording(Path("/music/jingle.ogg"), 39.9)), SPEECH, 1)


def test_a_program_that_is_too_short_is_reported():
    with pytest.raises(DemoError, match="at least 44 s"):
        plan(music(9), SPEECH, 1, 30.0)


def test_both_items_are_on_the_air_during_a_crossfade():
    program = plan(music(40), SPEECH, seed=1)
    fading = next(item for item in program.items if item.fade_in_s == CROSSFADE_S)
    assert len(program.at(fading.start_s + 1.0)) == 2
    assert program.at(program.duration_s) == ()


@given(seeds, lengths)
def test_music_that_repeats_itself_is_not_aired_as_a_catalog_track(seed, total_s):
    repeating = frozenset(r.path for r in music(12)[:8])
    aired = {play.path for play in plan(music(12), SPEECH, seed, total_s, repeating=repeating).truth}
    assert not aired & repeating


def test_a_library_of_only_repeating_music_is_still_aired():
    repeating = frozenset(r.path for r in music(4))
    assert plan(music(4), SPEECH, 1, repeating=repeating).truth
