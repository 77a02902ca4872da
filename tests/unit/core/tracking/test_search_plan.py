"""The search plan: what is searched always, what only if a track may have begun, and what a play explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.cosines import cosines
from monitor.core.segments import HOP_SAMPLES, Hit, Segment
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play
from monitor.core.tracking.search_plan import (
    EXPLAINED_COSINE,
    ON_AIR_STRIDE,
    SETTLED_SAMPLES,
    STRIDE,
    chunks,
    heard_until,
    is_worth_another_look,
    search_plan,
)
from tests.unit.core.broadcasts import broadcast, heard, unknown
from tests.unit.core.tracking.listening import CATALOG, listen, places

FIRST = 4_000 * HOP_SAMPLES  # on every stride


def _segments(vectors: Sequence[np.ndarray | None]) -> list[Segment]:
    return broadcast(vectors, CATALOG, FIRST)


def _played(n: int) -> tuple[list[Segment], Play]:
    """A play of track 1 that is on air, and its segments."""
    segments = _segments(heard(CATALOG[1], places(20, n)))
    (play,), _ = listen(segments)
    return segments, play


def test_every_second_segment_is_searched_and_the_others_perhaps() -> None:
    plan = search_plan(_segments(unknown(8, 99)), (), {}, heard_until=None)
    assert plan.now.tolist() == [i % STRIDE == 0 for i in range(8)]
    assert plan.later.tolist() == [i % STRIDE != 0 for i in range(8)]


def test_while_a_play_is_on_air_every_fourth_segment_is_searched() -> None:
    segments, play = _played(20)
    newest = [replace(each, start=segments[-1].start + (i + 1) * HOP_SAMPLES) for i, each in enumerate(segments[:8])]
    on_air = search_plan(newest, [play], {}, heard_until=heard_until(segments))
    assert on_air.now.tolist() == [each.start // HOP_SAMPLES % ON_AIR_STRIDE == 0 for each in newest]
    silent_since = search_plan(newest, [play], {}, heard_until=play.end + HOP_SAMPLES)
    assert silent_since.now.tolist() == [each.start // HOP_SAMPLES % STRIDE == 0 for each in newest]


def test_a_segment_that_a_play_explains_is_not_searched_until_another_sound_begins() -> None:
    _, play = _played(40)
    assert play.end - play.start > SETTLED_SAMPLES
    following = _segments([*heard(CATALOG[1], places(20, 46)), *unknown(6, 98)])[40:]
    plan = search_plan(following, [play], CATALOG, heard_until=play.end)
    assert not (plan.now | plan.later)[:6].any()
    assert (plan.now | plan.later)[6:].all()


def test_a_segment_that_only_resembles_the_play_is_searched() -> None:
    """It may be another version with the same beginning: the right one then proposes itself."""
    _, play = _played(40)
    version = _segments(heard(CATALOG[1], places(20, 46), noise=0.9))[40:]
    along = cosines(CATALOG[1], version, [play.alignment])[0]
    assert (along > 0.6).all()
    assert (along < EXPLAINED_COSINE).any()
    plan = search_plan(version, [play], CATALOG, heard_until=play.end)
    assert (plan.now | plan.later).tolist() == (along < EXPLAINED_COSINE).tolist()


def test_a_young_play_explains_nothing_yet() -> None:
    _, play = _played(40)
    young = replace(play, start=play.end - SETTLED_SAMPLES)
    following = _segments(heard(CATALOG[1], places(20, 44)))[40:]
    plan = search_plan(following, [young], CATALOG, heard_until=play.end)
    assert (plan.now | plan.later).all()


def test_a_play_whose_track_has_left_the_catalog_explains_nothing() -> None:
    segments, play = _played(20)
    plan = search_plan(segments[-4:], [play], {}, heard_until=play.end)
    assert (plan.now | plan.later).all()


def _proposal(track: int) -> list[Proposal]:
    return [Proposal(track, Alignment(FIRST, 0), 8.0, 0.8)]


def _searched(n: int) -> list[Segment]:
    return [Segment(FIRST + i * HOP_SAMPLES, np.zeros(4, np.float32), (Hit(2, 0, 0.8),)) for i in range(n)]


def test_after_a_segment_that_proposes_a_track_the_next_ones_are_searched() -> None:
    proposals: list[list[Proposal]] = [[], [], _proposal(2), [], [], []]
    assert is_worth_another_look(_searched(6), proposals, ()).tolist() == [False, False, True, True, False, False]


def test_a_track_may_have_begun_before_the_new_segments() -> None:
    assert is_worth_another_look(_searched(2)[1:], [[]], (), is_near=True).all()
    assert not is_worth_another_look(_searched(2), [[], []], (), is_near=True).any()


def test_only_segments_on_the_stride_count() -> None:
    assert not is_worth_another_look(_searched(2), [[], _proposal(2)], ()).any()


def test_a_track_that_is_on_air_does_not_begin() -> None:
    segments, play = _played(20)
    assert not is_worth_another_look(segments, [_proposal(1)] * len(segments), [play]).any()


def test_what_was_not_searched_changes_nothing() -> None:
    silent = [Segment(FIRST + i * HOP_SAMPLES, None) for i in range(4)]
    assert is_worth_another_look(silent, [[]] * 4, (), is_near=True).all()
    assert not is_worth_another_look(silent, [[]] * 4, ()).any()


@pytest.mark.parametrize("n", [0, 3])
def test_the_end_of_the_newest_segment(n: int) -> None:
    segments = _segments(unknown(3, 99))[:n]
    assert heard_until(segments) == (None if n == 0 else FIRST + 4 * HOP_SAMPLES)


@pytest.mark.parametrize("cuts", [[], [1], [3], [2, 9], list(range(20))])
def test_chunks_end_where_windows_of_two_seconds_do(cuts: list[int]) -> None:
    origin = FIRST + 123
    segments = [Segment(origin + i * HOP_SAMPLES, None) for i in range(20)]
    ends: set[int] = set()
    for first, end in pairwise([0, *cuts, 20]):
        for chunk in chunks(segments[first:end], origin):
            assert len(chunk) <= 4
            ends.add((chunk[-1].start - origin) // HOP_SAMPLES)
    assert ends >= {2, 6, 10, 14, 18}
    assert ends <= {2, 6, 10, 14, 18, 19, *(cut - 1 for cut in cuts)}
