"""Competition: which of several plays for the same sound stays."""

from __future__ import annotations

import numpy as np

from monitor.core.alignment.alignment import SAME_ALIGNMENT_SAMPLES
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import advance, propose
from tests.unit.core.broadcasts import broadcast, heard, track
from tests.unit.core.tracking.listening import CATALOG, FIRST, T, listen, places, play_id, seconds


def test_a_jump_inside_a_track_is_a_second_play() -> None:
    vectors = [*heard(CATALOG[1], places(0, 40)), *heard(CATALOG[1], places(120, 40))]
    plays, _ = listen(broadcast(vectors, CATALOG))
    assert [play.track_start // HOP_SAMPLES for play in plays] == [0, 120]
    assert plays[0].end <= plays[1].start + SEGMENT_SAMPLES


def test_two_tracks_at_once_are_two_plays() -> None:
    one, two = heard(CATALOG[1], places(50, 60)), heard(CATALOG[2], places(10, 60))
    mixed = [(a + b) / np.linalg.norm(a + b) for a, b in zip(one, two, strict=True)]
    plays, _ = listen(broadcast(mixed, CATALOG))
    assert sorted(play.track for play in plays) == [1, 2]
    assert all(seconds(play.end) == 30.5 for play in plays)


def test_a_version_that_fits_far_less_well_than_another_is_refused() -> None:
    cousin = Reference(np.stack(heard(CATALOG[1], places(0, 200 - 1), noise=0.8, seed=5)))
    catalog = {**CATALOG, 9: cousin}
    plays, _ = listen(broadcast(heard(CATALOG[1], places(20, 60)), catalog), catalog=catalog)
    assert [play.track for play in plays] == [1]
    alone = {9: cousin}
    unrivaled, _ = listen(broadcast(heard(CATALOG[1], places(20, 60)), alone), catalog=alone)
    assert [play.track for play in unrivaled] == [9]


def test_an_alignment_that_moves_a_little_after_a_reconnect_is_the_same_play() -> None:
    vectors = heard(CATALOG[1], places(0, 90))
    whole = broadcast(vectors, CATALOG)
    jitter = SAME_ALIGNMENT_SAMPLES // 2 + 777
    moved = [Segment(s.start + jitter, s.vector, s.hits) for s in whole[40:]]
    plays, updates = listen([*whole[:40], *moved])
    assert [play.id for play in plays] == [play_id(1, FIRST)]
    assert plays[0].end == moved[-1].start + SEGMENT_SAMPLES
    assert len(updates[0].opened) == 1


def test_a_repeat_that_was_mistaken_for_the_other_is_corrected_and_stays_one_play() -> None:
    unique = track(11, 120).vectors
    verse = unique[:20]
    again = np.stack(heard(Reference(verse), places(0, 19), noise=0.1, seed=3))
    repeating = Reference(np.vstack([verse, unique[20:50], again, unique[50:90]]))
    catalog = {4: repeating}
    aired = heard(repeating, places(51, 50), noise=0.3, seed=8)
    aired[:7] = heard(repeating, places(1, 7))  # at first it is more like the other one
    plays, updates = listen(broadcast(aired, catalog), range(1, 50), catalog)
    first = next(update.open[0] for update in updates if update.open)
    assert first.track_start // HOP_SAMPLES == 1
    (play,) = plays
    assert play.id == first.id
    assert (play.start, play.track_start // HOP_SAMPLES, play.scored) == (FIRST, 51, 50)


def test_the_better_of_two_versions_is_reported_even_if_the_play_began_as_the_other() -> None:
    master = track(51, 120)
    remix = np.stack(heard(master, range(119), noise=0.5, seed=6))
    remix[:24] = master.vectors[:24]  # the same for the first 12 s
    catalog = {7: Reference(remix), 8: master}
    plays, updates = listen(broadcast(heard(master, places(2, 60)), catalog), range(1, 60), catalog)
    assert [play.track for play in plays] == [8]
    assert len({play.id for update in updates for play in update.open}) == 1


def test_a_play_that_turns_out_to_be_at_another_position_moves_there_even_if_other_plays_give_way() -> None:
    segments = broadcast(heard(CATALOG[1], places(30, 20)), CATALOG)
    until = segments[-2].start + SEGMENT_SAMPLES
    wrong = Play(play_id(1, FIRST), 1, FIRST, until, 80_000, 80_000 + until - FIRST, 1.0, 6.0, 18, 15.0)
    late = FIRST + 4 * HOP_SAMPLES
    other = Play(play_id(2, late), 2, late, until, 0, until - late, 1.0, 5.0, 14, 15.0)
    update = advance(segments, propose(segments, 1, T), (other, wrong), (), CATALOG, T, play_id)
    (play,) = update.open
    assert (play.id, play.track, play.start, play.track_start) == (wrong.id, 1, FIRST, 30 * HOP_SAMPLES)
    assert [closed.id for closed in update.closed] == [other.id]
