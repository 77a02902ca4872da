"""The tracker: plays open, extend and close, and are the same however a stream is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.segments import HOP_SAMPLES, Segment
from monitor.core.tracking.tracker import advance, expire, propose
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown
from tests.unit.core.tracking.listening import CATALOG, FIRST, T, listen, places, play_id, seconds


def test_a_track_is_found_from_its_start_to_its_end() -> None:
    vectors = [*unknown(20, 90), *heard(CATALOG[1], places(30, 40)), *unknown(20, 91)]
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.track == 1
    assert (seconds(play.start), seconds(play.end)) == (10.0, 30.5)
    assert play.track_start == pytest.approx(15 * 32_000, abs=HOP_SAMPLES // 8)
    assert play.score == pytest.approx(1.0, abs=0.01)
    assert play.scored == 40


def test_a_play_opens_early_and_keeps_its_id_while_it_extends() -> None:
    segments = broadcast(heard(CATALOG[2], places(0, 60)), CATALOG)
    _, updates = listen(segments, range(1, 60))
    opened = [i for i, update in enumerate(updates) if update.opened]
    assert opened == [3]  # an LLR of 4.3 each: the fourth is enough
    assert {play.id for update in updates for play in update.open} == {play_id(2, FIRST)}


def test_unknown_music_and_silence_give_no_plays() -> None:
    assert listen(broadcast([*unknown(150, 92), *silence(10), *unknown(50, 93)], CATALOG))[0] == []


def test_a_position_between_two_segments_is_found_to_an_eighth_of_a_hop() -> None:
    vectors = heard(CATALOG[1], places(30.4, 30), noise=0.3)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.track_start == pytest.approx(30.4 * HOP_SAMPLES, abs=HOP_SAMPLES / 8)


def test_a_long_gap_ends_a_play_and_another_one_follows() -> None:
    gap = T.max_gap_samples // HOP_SAMPLES + 4
    vectors = heard(CATALOG[1], places(0, 70))
    vectors[25 : 25 + gap] = unknown(gap, 95)
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [(seconds(play.start), seconds(play.end)) for play in plays] == [
        (0.0, 13.0),
        ((25 + gap) / 2, 35.5),
    ]


def test_a_last_part_after_a_gap_must_outweigh_the_gap() -> None:
    begun, gap = heard(CATALOG[1], places(0, 30)), unknown(9, 96)
    plays = {}
    for n in (3, 12):
        resembling = heard(CATALOG[1], places(39, n), noise=1.7)  # cosines of about 0.5
        ((plays[n],), _) = listen(broadcast([*begun, *gap, *resembling, *unknown(30, 97)], CATALOG))
    assert (seconds(plays[3].end), plays[3].bridged) == (15.5, 0)
    assert plays[12].bridged == pytest.approx(8 * HOP_SAMPLES, abs=2 * HOP_SAMPLES)
    assert seconds(plays[12].end) == pytest.approx((39 + 12 + 1) / 2, abs=0.5)


def test_a_gap_closes_a_play_only_when_it_is_long() -> None:
    _, updates = listen(broadcast(heard(CATALOG[1], places(0, 30)), CATALOG))
    (play,) = updates[0].open
    assert expire((play,), play.end + T.max_gap_samples, T) == ((play,), ())
    assert expire((play,), play.end + T.max_gap_samples + 1, T) == ((), (play,))


def test_a_play_of_a_track_that_left_the_catalog_ends() -> None:
    segments = broadcast(heard(CATALOG[1], places(0, 60)), CATALOG)
    _, updates = listen(segments[:30])
    plays, _ = listen(segments[30:], catalog={2: CATALOG[2]}, open_=updates[0].open)
    assert [(play.track, seconds(play.end)) for play in plays] == [(1, 15.5)]


def test_a_short_play_opens_and_closes_within_one_update() -> None:
    vectors = [*unknown(10, 96), *heard(CATALOG[1], places(40, 14)), *unknown(30, 97)]
    segments = broadcast(vectors, CATALOG)
    update = advance(segments, propose(segments, len(segments), T), (), (), CATALOG, T, play_id)
    assert update.open == ()
    assert update.opened == update.closed
    assert len(update.closed) == 1


def test_the_same_track_twice_in_a_row_is_two_plays() -> None:
    vectors = [*heard(CATALOG[3], places(0, 60)), *heard(CATALOG[3], places(0, 60))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [(play.track, round(seconds(play.start))) for play in plays] == [(3, 0), (3, 30)]


def test_one_track_follows_another() -> None:
    vectors = [*heard(CATALOG[1], places(50, 40)), *heard(CATALOG[2], places(10, 40))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [play.track for play in plays] == [1, 2]


def test_each_excerpt_of_a_medley_is_a_play() -> None:
    catalog = {number: track(number, 80) for number in range(31, 36)}
    vectors = [v for number in catalog for v in heard(catalog[number], places(20.3, 9), noise=0.2)]
    plays, _ = listen(broadcast(vectors, catalog), catalog=catalog)
    assert [play.track for play in plays] == list(catalog)
    assert all(abs(seconds(play.start) - 4.5 * i) <= 0.5 for i, play in enumerate(plays))


def test_a_jingle_of_three_seconds_is_found() -> None:
    vectors = [*unknown(12, 70), *heard(CATALOG[2], places(50, 5)), *unknown(30, 71)]
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert (play.track, seconds(play.start), seconds(play.end)) == (2, 6.0, 9.0)


def test_a_track_far_below_a_voice_is_found_if_it_lasts_and_followed_through_louder_sound() -> None:
    faint = heard(CATALOG[1], places(20, 140), noise=3.0)  # cosines of about .3
    (play,), _ = listen(broadcast([*unknown(20, 80), *faint, *unknown(40, 81)], CATALOG))
    assert (play.track, play.track_start) == (1, pytest.approx(20 * HOP_SAMPLES, abs=8 * HOP_SAMPLES))
    assert seconds(play.end) == pytest.approx(80, abs=5)


PROGRAM = broadcast(
    [
        *unknown(15, 80),
        *heard(CATALOG[1], places(10.3, 45), noise=0.4),
        *silence(6),
        *heard(CATALOG[3], places(0.7, 50), noise=0.3),
        *heard(CATALOG[2], places(100.5, 30), noise=0.5),
        *unknown(20, 81),
    ],
    CATALOG,
)
WHOLE, _ = listen(PROGRAM)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(PROGRAM) - 1), max_size=20))
def test_any_cutting_into_batches_gives_the_same_plays(cuts: list[int]) -> None:
    plays, updates = listen(PROGRAM, cuts)
    assert [(p.id, p.track, p.start, p.end, p.track_end, p.scored) for p in plays] == [
        (p.id, p.track, p.start, p.end, p.track_end, p.scored) for p in WHOLE
    ]
    opened = [play.id for update in updates for play in update.opened]
    assert sorted(map(str, opened)) == sorted(str(play.id) for play in plays)


MISJUDGED = [
    replace(segment, expected_similarity=0.9 if 20 <= i < 45 else 0.5)
    for i, segment in enumerate(
        broadcast([*unknown(15, 80), *heard(CATALOG[1], places(10.3, 90), noise=1.5), *unknown(20, 81)], CATALOG)
    )
]
MISJUDGED_WHOLE, _ = listen(MISJUDGED)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(MISJUDGED) - 1), max_size=20))
def test_any_cutting_gives_the_same_plays_with_a_similarity_deficit(cuts: list[int]) -> None:
    assert [(p.id, p.start, p.end, p.scored) for p in listen(MISJUDGED, cuts)[0]] == [
        (p.id, p.start, p.end, p.scored) for p in MISJUDGED_WHOLE
    ]
    plain = [replace(segment, expected_similarity=float("nan")) for segment in MISJUDGED]
    assert _first_report(MISJUDGED) > _first_report(plain)


def _first_report(segments: Sequence[Segment]) -> int:
    return next(i for i, update in enumerate(listen(segments, range(1, len(segments)))[1]) if update.opened)


def test_the_program_has_three_plays() -> None:
    assert [play.track for play in WHOLE] == [1, 3, 2]
