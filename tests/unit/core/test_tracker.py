"""The tracker: plays open on evidence, extend, bridge holes, close, and are the same however the stream is cut."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.play import SAME_LINE_SAMPLES, Play
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.tracker import TrackerUpdate, advance, expire, propose, tracks_needed
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown

T = NeuralDetector.thresholds
CATALOG = {1: track(1, 200), 2: track(2, 200), 3: track(3, 60)}
FIRST = 1_000_000
REMEMBERED = 120


def _id(number: int, start: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{number}/{start}")


def _places(first: float, n: int) -> list[float]:
    return [first + i for i in range(n)]


def listen(
    segments: Sequence[Segment],
    cuts: Sequence[int] = (),
    catalog: dict[int, Reference] = CATALOG,
    open_: tuple[Play, ...] = (),
) -> tuple[list[Play], list[TrackerUpdate]]:
    """All plays of a broadcast in the order of their ends, and the steps, cut at the given places."""
    closed: list[Play] = []
    ended: tuple[Play, ...] = ()
    steps = []
    edges = [0, *sorted(set(cuts)), len(segments)]
    for begin, end in itertools.pairwise(edges):
        recent = segments[max(0, begin - REMEMBERED) : end]
        proposals = propose(recent, end - begin, T)
        needed = tracks_needed(proposals, open_)
        step = advance(recent, proposals, open_, ended, {n: catalog[n] for n in needed if n in catalog}, T, _id)
        open_, ended = step.open, step.ended
        closed += step.closed
        steps.append(step)
    return [*closed, *open_], steps


def _seconds(samples: int) -> float:
    return (samples - FIRST) / 32_000


def test_a_track_is_found_from_its_start_to_its_end() -> None:
    vectors = [*unknown(20, 90), *heard(CATALOG[1], _places(30, 40)), *unknown(20, 91)]
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.track == 1
    assert (_seconds(play.start), _seconds(play.end)) == (10.0, 30.5)
    assert play.track_start == pytest.approx(15 * 32_000, abs=HOP_SAMPLES // 8)
    assert play.score == pytest.approx(1.0, abs=0.01)
    assert play.scored == 40


def test_a_play_opens_early_and_keeps_its_id_while_it_extends() -> None:
    segments = broadcast(heard(CATALOG[2], _places(0, 60)), CATALOG)
    _, steps = listen(segments, range(1, 60))
    opened = [i for i, step in enumerate(steps) if step.opened]
    assert opened == [3]  # 4.3 of evidence each: the fourth is enough
    assert {play.id for step in steps for play in step.open} == {_id(2, FIRST)}


def test_unknown_music_and_silence_are_nothing() -> None:
    assert listen(broadcast([*unknown(150, 92), *silence(10), *unknown(50, 93)], CATALOG))[0] == []


def test_a_place_between_two_segments_is_found_to_an_eighth_of_a_hop() -> None:
    vectors = heard(CATALOG[1], _places(30.4, 30), noise=0.3)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.track_start == pytest.approx(30.4 * HOP_SAMPLES, abs=HOP_SAMPLES / 8)


def test_a_short_hole_is_bridged_and_said_to_be() -> None:
    hole = T.max_gap_samples // HOP_SAMPLES - 3
    vectors = heard(CATALOG[1], _places(0, 60))
    vectors[25 : 25 + hole] = unknown(hole, 94)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert (_seconds(play.start), _seconds(play.end)) == (0.0, 30.5)
    assert (play.scored, play.bridged) == (60 - hole, (hole - 1) * HOP_SAMPLES)


def test_what_comes_after_a_hole_and_ends_too_must_outweigh_the_hole() -> None:
    begun, hole = heard(CATALOG[1], _places(0, 30)), unknown(9, 96)
    plays = {}
    for n in (3, 12):
        resembling = heard(CATALOG[1], _places(39, n), noise=1.7)  # cosines of about 0.5
        ((plays[n],), _) = listen(broadcast([*begun, *hole, *resembling, *unknown(30, 97)], CATALOG))
    assert (_seconds(plays[3].end), plays[3].bridged) == (15.5, 0)
    assert plays[12].bridged == pytest.approx(8 * HOP_SAMPLES, abs=2 * HOP_SAMPLES)
    assert _seconds(plays[12].end) == pytest.approx((39 + 12 + 1) / 2, abs=0.5)


def test_a_long_hole_ends_a_play_and_what_follows_is_another() -> None:
    hole = T.max_gap_samples // HOP_SAMPLES + 4
    vectors = heard(CATALOG[1], _places(0, 70))
    vectors[25 : 25 + hole] = unknown(hole, 95)
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [(_seconds(play.start), _seconds(play.end)) for play in plays] == [
        (0.0, 13.0),
        ((25 + hole) / 2, 35.5),
    ]


def test_silence_inside_a_track_is_no_evidence_against_it() -> None:
    vectors = heard(CATALOG[1], _places(0, 50))
    vectors[20:24] = silence(4)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.scored == 46
    assert play.score == pytest.approx(1.0, abs=0.01)


def test_a_jump_inside_a_track_is_a_second_play() -> None:
    vectors = [*heard(CATALOG[1], _places(0, 40)), *heard(CATALOG[1], _places(120, 40))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [play.track_start // HOP_SAMPLES for play in plays] == [0, 120]
    assert plays[0].end <= plays[1].start + SEGMENT_SAMPLES


def test_the_same_track_twice_in_a_row_is_two_plays() -> None:
    vectors = [*heard(CATALOG[3], _places(0, 60)), *heard(CATALOG[3], _places(0, 60))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [(play.track, round(_seconds(play.start))) for play in plays] == [(3, 0), (3, 30)]


def test_one_track_follows_another() -> None:
    vectors = [*heard(CATALOG[1], _places(50, 40)), *heard(CATALOG[2], _places(10, 40))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [play.track for play in plays] == [1, 2]


def test_two_tracks_at_once_are_two_plays() -> None:
    one, two = heard(CATALOG[1], _places(50, 60)), heard(CATALOG[2], _places(10, 60))
    mixed = [(a + b) / np.linalg.norm(a + b) for a, b in zip(one, two, strict=True)]
    plays, _ = listen(broadcast(mixed, CATALOG))
    assert sorted(play.track for play in plays) == [1, 2]
    assert all(_seconds(play.end) == 30.5 for play in plays)


def test_a_line_far_behind_another_tracks_line_is_refused() -> None:
    cousin = Reference(np.stack(heard(CATALOG[1], _places(0, 200 - 1), noise=0.8, seed=5)))
    catalog = {**CATALOG, 9: cousin}
    plays, _ = listen(broadcast(heard(CATALOG[1], _places(20, 60)), catalog), catalog=catalog)
    assert [play.track for play in plays] == [1]
    alone = {9: cousin}
    assert [play.track for play in listen(broadcast(heard(CATALOG[1], _places(20, 60)), alone), catalog=alone)[0]] == [
        9
    ]


def test_a_line_that_moves_a_little_after_a_reconnect_is_the_same_play() -> None:
    vectors = heard(CATALOG[1], _places(0, 90))
    whole = broadcast(vectors, CATALOG)
    jitter = SAME_LINE_SAMPLES // 2 + 777
    moved = [Segment(s.start + jitter, s.vector, s.hits) for s in whole[40:]]
    plays, steps = listen([*whole[:40], *moved])
    assert [play.id for play in plays] == [_id(1, FIRST)]
    assert plays[0].end == moved[-1].start + SEGMENT_SAMPLES
    assert len(steps[0].opened) == 1


def test_a_repeat_that_was_taken_for_the_other_is_corrected_and_stays_one_play() -> None:
    unique = track(11, 120).vectors
    verse = unique[:20]
    again = np.stack(heard(Reference(verse), _places(0, 19), noise=0.1, seed=3))
    repeating = Reference(np.vstack([verse, unique[20:50], again, unique[50:90]]))
    catalog = {4: repeating}
    aired = heard(repeating, _places(51, 50), noise=0.3, seed=8)
    aired[:7] = heard(repeating, _places(1, 7))  # at first it is rather the other one
    plays, steps = listen(broadcast(aired, catalog), range(1, 50), catalog)
    first = next(step.open[0] for step in steps if step.open)
    assert first.track_start // HOP_SAMPLES == 1
    (play,) = plays
    assert play.id == first.id
    assert (play.start, play.track_start // HOP_SAMPLES, play.scored) == (FIRST, 51, 50)


def test_a_gap_closes_a_play_only_when_it_is_long() -> None:
    _, steps = listen(broadcast(heard(CATALOG[1], _places(0, 30)), CATALOG))
    (play,) = steps[0].open
    assert expire((play,), play.end + T.max_gap_samples, T) == ((play,), ())
    assert expire((play,), play.end + T.max_gap_samples + 1, T) == ((), (play,))


def test_a_play_does_not_begin_before_a_long_gap() -> None:
    resembling = heard(CATALOG[1], _places(10, 12), noise=2.0)  # cosines of about 0.45
    gap = T.max_gap_segments + 4
    for left_out, start in ((gap, 6 + gap / 2), (4, 0.0)):
        played = heard(CATALOG[1], _places(22 + left_out, 30))
        segments = broadcast([*resembling, *silence(left_out), *played, *unknown(20, 98)], CATALOG)
        (play,), _ = listen([*segments[:12], *segments[12 + left_out :]])
        assert _seconds(play.start) == pytest.approx(start, abs=1)


def test_a_play_of_a_track_that_left_the_catalog_ends() -> None:
    segments = broadcast(heard(CATALOG[1], _places(0, 60)), CATALOG)
    _, steps = listen(segments[:30])
    plays, _ = listen(segments[30:], catalog={2: CATALOG[2]}, open_=steps[0].open)
    assert [(play.track, _seconds(play.end)) for play in plays] == [(1, 15.5)]


def test_a_short_play_opens_and_closes_within_one_step() -> None:
    vectors = [*unknown(10, 96), *heard(CATALOG[1], _places(40, 14)), *unknown(30, 97)]
    segments = broadcast(vectors, CATALOG)
    step = advance(segments, propose(segments, len(segments), T), (), (), CATALOG, T, _id)
    assert step.open == ()
    assert step.opened == step.closed
    assert len(step.closed) == 1


PROGRAMME = broadcast(
    [
        *unknown(15, 80),
        *heard(CATALOG[1], _places(10.3, 45), noise=0.4),
        *silence(6),
        *heard(CATALOG[3], _places(0.7, 50), noise=0.3),
        *heard(CATALOG[2], _places(100.5, 30), noise=0.5),
        *unknown(20, 81),
    ],
    CATALOG,
)
WHOLE, _ = listen(PROGRAMME)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(PROGRAMME) - 1), max_size=20))
def test_any_cutting_into_batches_gives_the_same_plays(cuts: list[int]) -> None:
    plays, steps = listen(PROGRAMME, cuts)
    assert [(p.id, p.track, p.start, p.end, p.track_end, p.scored) for p in plays] == [
        (p.id, p.track, p.start, p.end, p.track_end, p.scored) for p in WHOLE
    ]
    opened = [play.id for step in steps for play in step.opened]
    assert sorted(map(str, opened)) == sorted(str(play.id) for play in plays)


MISJUDGED = [
    replace(segment, expected_similarity=0.9 if 20 <= i < 45 else 0.5)
    for i, segment in enumerate(
        broadcast([*unknown(15, 80), *heard(CATALOG[1], _places(10.3, 90), noise=1.5), *unknown(20, 81)], CATALOG)
    )
]
MISJUDGED_WHOLE, _ = listen(MISJUDGED)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(MISJUDGED) - 1), max_size=20))
def test_any_cutting_gives_the_same_plays_where_cosines_fall_short_of_the_foreseen_ones(cuts: list[int]) -> None:
    assert [(p.id, p.start, p.end, p.scored) for p in listen(MISJUDGED, cuts)[0]] == [
        (p.id, p.start, p.end, p.scored) for p in MISJUDGED_WHOLE
    ]
    plain = [replace(segment, expected_similarity=float("nan")) for segment in MISJUDGED]
    assert _first_report(MISJUDGED) > _first_report(plain)


def _first_report(segments: Sequence[Segment]) -> int:
    return next(i for i, step in enumerate(listen(segments, range(1, len(segments)))[1]) if step.opened)


def test_the_programme_has_three_plays() -> None:
    assert [play.track for play in WHOLE] == [1, 3, 2]


def test_a_medley_of_short_excerpts_is_as_many_plays() -> None:
    catalog = {number: track(number, 80) for number in range(31, 36)}
    vectors = [v for number in catalog for v in heard(catalog[number], _places(20.3, 9), noise=0.2)]
    plays, _ = listen(broadcast(vectors, catalog), catalog=catalog)
    assert [play.track for play in plays] == list(catalog)
    assert all(abs(_seconds(play.start) - 4.5 * i) <= 0.5 for i, play in enumerate(plays))


def test_a_jingle_of_three_seconds_is_found() -> None:
    vectors = [*unknown(12, 70), *heard(CATALOG[2], _places(50, 5)), *unknown(30, 71)]
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert (play.track, _seconds(play.start), _seconds(play.end)) == (2, 6.0, 9.0)


def test_a_play_at_another_speed_is_followed_and_its_speed_is_told() -> None:
    vectors = heard(CATALOG[1], [10 + 0.96 * i for i in range(100)], noise=0.3)
    (play,), _ = listen(broadcast(vectors, CATALOG))
    assert play.mean_speed == pytest.approx(0.96, abs=0.003)
    assert (_seconds(play.start), _seconds(play.end)) == (0.0, 50.5)


def test_a_place_in_a_loop_is_said_to_be_a_guess_and_stays_the_one_it_was() -> None:
    loop = track(41, 10).vectors
    catalog = {5: Reference(np.vstack([loop] * 8)), 6: track(42, 80)}
    looped, _ = listen(broadcast(heard(catalog[5], _places(20, 40)), catalog), range(1, 40), catalog)
    assert [(play.track, play.is_ambiguous) for play in looped] == [(5, True)]
    plain, _ = listen(broadcast(heard(catalog[6], _places(20, 40)), catalog), range(1, 40), catalog)
    assert [(play.track, play.is_ambiguous) for play in plain] == [(6, False)]


def test_of_two_versions_the_better_is_reported_and_a_play_that_began_as_the_other_becomes_it() -> None:
    master = track(51, 120)
    remix = np.stack(heard(master, range(119), noise=0.5, seed=6))
    remix[:24] = master.vectors[:24]  # the same for the first 12 s
    catalog = {7: Reference(remix), 8: master}
    plays, steps = listen(broadcast(heard(master, _places(2, 60)), catalog), range(1, 60), catalog)
    assert [play.track for play in plays] == [8]
    assert len({play.id for step in steps for play in step.open}) == 1


def test_a_play_that_turns_out_to_be_at_another_place_is_moved_there_whatever_else_gives_way_to_it() -> None:
    segments = broadcast(heard(CATALOG[1], _places(30, 20)), CATALOG)
    until = segments[-2].start + SEGMENT_SAMPLES
    wrong = Play(_id(1, FIRST), 1, FIRST, until, 80_000, 80_000 + until - FIRST, 1.0, 6.0, 18, 15.0)
    late = FIRST + 4 * HOP_SAMPLES
    other = Play(_id(2, late), 2, late, until, 0, until - late, 1.0, 5.0, 14, 15.0)
    step = advance(segments, propose(segments, 1, T), (other, wrong), (), CATALOG, T, _id)
    (play,) = step.open
    assert (play.id, play.track, play.start, play.track_start) == (wrong.id, 1, FIRST, 30 * HOP_SAMPLES)
    assert [closed.id for closed in step.closed] == [other.id]


def test_a_track_far_beneath_a_voice_is_found_when_it_lasts_and_followed_through_what_drowns_it() -> None:
    faint = heard(CATALOG[1], _places(20, 140), noise=3.0)  # cosines of about .3
    (play,), _ = listen(broadcast([*unknown(20, 80), *faint, *unknown(40, 81)], CATALOG))
    assert (play.track, play.track_start) == (1, pytest.approx(20 * HOP_SAMPLES, abs=8 * HOP_SAMPLES))
    assert _seconds(play.end) == pytest.approx(80, abs=5)


def test_a_drone_needs_longer_than_music_that_changes() -> None:
    drone = Reference(np.stack(heard(Reference(np.repeat(track(61, 1).vectors, 80, axis=0)), range(79), noise=0.25)))
    catalog = {9: drone}
    cousin = list(heard(drone, _places(10, 30), noise=0.9, seed=4))
    assert listen(broadcast(cousin[:12], catalog), catalog=catalog)[0] == []
    assert [play.track for play in listen(broadcast(heard(drone, _places(10, 30)), catalog), catalog=catalog)[0]] == [9]
