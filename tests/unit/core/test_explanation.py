"""Explanations: what became a play, and what did not, with the first reason against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitor.core.alignment.scores import TOLERATED_DEFICIT
from monitor.core.explanation import MAX_POSITIONS, Explanation, Hypothesis, Verdict, explain, tracks_in_question
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Hit, Segment
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown

T = NeuralDetector.thresholds
CATALOG = {1: track(1, 200), 2: track(2, 200), 3: track(3, 60)}
FIRST = 1_000_000


def _places(first: float, n: int, speed: float = 1.0) -> list[float]:
    return [first + speed * i for i in range(n)]


def _at(segment: float) -> int:
    return FIRST + round(segment * HOP_SAMPLES)


def explained(
    segments: Sequence[Segment],
    begin: float,
    end: float,
    catalog: Mapping[int, Reference] = CATALOG,
    track: int | None = None,
) -> Explanation:
    """Explains an interval given in hops, with no more references than it asks for."""
    asked = (_at(begin), _at(end))
    needed = tracks_in_question(segments, T, *asked, track)
    return explain(segments, {n: catalog[n] for n in needed if n in catalog}, T, *asked, track)


def _deaf(segments: Sequence[Segment], track: int) -> list[Segment]:
    """The segments without their hits in a track."""
    return [replace(s, hits=tuple(hit for hit in s.hits if hit.track != track)) for s in segments]


ON_AIR = broadcast([*unknown(20, 90), *heard(CATALOG[1], _places(30.3, 40)), *unknown(20, 91)], CATALOG)


def test_a_play_of_the_tracker_has_its_interval_alignment_and_votes() -> None:
    best = explained(ON_AIR, 40, 44).hypotheses[0]
    assert (best.track, best.verdict, best.explained_by) == (1, Verdict.PLAY, None)
    assert (best.start, best.end) == (_at(20), _at(59) + SEGMENT_SAMPLES)
    assert best.alignment.position_at(_at(40)) == pytest.approx(50.3 * HOP_SAMPLES, abs=HOP_SAMPLES / 8)
    assert best.alignment.speed == pytest.approx(1.0, abs=0.005)
    assert best.n_compared == 40
    assert best.cosine == pytest.approx(1.0, abs=0.03)
    assert best.llr > T.open_llr
    assert best.votes > 10 * T.vote_llr


def test_an_alignment_is_in_question_once_and_only_where_it_was_heard() -> None:
    assert sum(each.llr > T.open_llr for each in explained(ON_AIR, 40, 44).hypotheses) == 1
    assert Verdict.PLAY not in {each.verdict for each in explained(ON_AIR, 5, 10).hypotheses}
    assert Verdict.PLAY not in {each.verdict for each in explained(ON_AIR, 70, 75).hypotheses}


def test_a_play_that_begins_after_the_interval_is_not_part_of_it() -> None:
    whole = explained(ON_AIR, 0, 20.5).hypotheses[0]
    assert (whole.verdict, whole.start) == (Verdict.PLAY, _at(20))
    assert all(each.start < _at(15) for each in explained(ON_AIR, 5, 15).hypotheses)


def test_a_hypothesis_with_too_low_an_llr_says_how_large_it_was() -> None:
    vectors = [*unknown(20, 92), *heard(CATALOG[2], _places(70, 2)), *unknown(20, 93)]
    best = explained(broadcast(vectors, CATALOG), 19, 24).hypotheses[0]
    assert (best.track, best.verdict) == (2, Verdict.LLR_TOO_LOW)
    assert 7 <= best.llr < T.open_llr
    assert best.llr_left == best.llr
    assert best.explained_by is None
    assert (best.start, best.end) == (_at(20), _at(21) + SEGMENT_SAMPLES)
    assert best.alignment.position_at(_at(20)) == pytest.approx(70 * HOP_SAMPLES, abs=HOP_SAMPLES / 8)


def test_a_version_that_fits_less_well_is_explained_by_the_play_of_the_other() -> None:
    cousin = Reference(np.stack(heard(CATALOG[1], _places(0, 199), noise=0.8, seed=5)))
    catalog = {**CATALOG, 9: cousin}
    on_air = broadcast(heard(CATALOG[1], _places(20, 60)), catalog)
    first, second = explained(on_air, 30, 40, catalog).hypotheses[:2]
    assert (first.track, first.verdict) == (1, Verdict.PLAY)
    assert (second.track, second.verdict, second.explained_by) == (9, Verdict.EXPLAINED, 1)
    assert second.llr > T.open_llr > second.llr_left
    assert explained(on_air, 30, 40, {9: cousin}).hypotheses[0].verdict is Verdict.PLAY


def test_the_similarity_deficit_is_ignored_beside_a_play() -> None:
    cousin = Reference(np.stack(heard(CATALOG[1], _places(0, 199), noise=1.2, seed=5)))
    catalog = {**CATALOG, 9: cousin}
    on_air = broadcast(heard(CATALOG[1], _places(20, 60)), catalog)
    plain = [replace(segment, expected_similarity=0.95) for segment in on_air]
    (first, second), (_, unexpected) = (explained(each, 30, 40, catalog).hypotheses[:2] for each in (plain, on_air))
    assert (first.track, first.verdict, second.track) == (1, Verdict.PLAY, 9)
    assert second.cosine < 0.95 - TOLERATED_DEFICIT
    assert second == unexpected


def test_a_repeat_is_explained_by_the_play_at_the_other_place() -> None:
    unique = track(11, 150).vectors
    again = np.stack(heard(Reference(unique[:40]), _places(0, 39), noise=0.3, seed=3))
    repeating = Reference(np.vstack([unique[:100], again, unique[100:]]))
    on_air = broadcast(heard(repeating, _places(0, 40)), {4: repeating})
    best, other = explained(on_air, 10, 30, {4: repeating}).hypotheses[:2]
    assert (best.verdict, round(best.alignment.position_at(_at(10)) / HOP_SAMPLES)) == (Verdict.PLAY, 10)
    assert (other.track, other.verdict, other.explained_by) == (4, Verdict.EXPLAINED, 4)
    assert round(other.alignment.position_at(_at(10)) / HOP_SAMPLES) == 110


def test_a_track_that_the_index_missed_is_found_if_it_is_requested() -> None:
    segments = _deaf(ON_AIR, 1)
    assert all(each.track != 1 for each in explained(segments, 30, 50).hypotheses)
    best = explained(segments, 30, 50, track=1).hypotheses[0]
    assert (best.track, best.verdict, best.votes) == (1, Verdict.TOO_FEW_HITS, 0.0)
    assert best.llr > T.open_llr
    assert best.alignment.position_at(_at(40)) == pytest.approx(50.3 * HOP_SAMPLES, abs=HOP_SAMPLES / 8)


@pytest.mark.parametrize("speed", [0.94, 1.06])
def test_a_requested_track_is_found_at_another_speed(speed: float) -> None:
    vectors = [*unknown(20, 94), *heard(CATALOG[2], _places(40, 50, speed)), *unknown(20, 95)]
    best = explained(_deaf(broadcast(vectors, CATALOG), 2), 40, 60, track=2).hypotheses[0]
    assert (best.track, best.verdict) == (2, Verdict.TOO_FEW_HITS)
    assert best.alignment.speed == pytest.approx(speed, abs=0.025)
    assert best.alignment.position_at(_at(45)) == pytest.approx((40 + speed * 25) * HOP_SAMPLES, abs=HOP_SAMPLES / 3)


def test_a_requested_track_is_alone_in_the_answer_but_competes_with_the_others() -> None:
    cousin = Reference(np.stack(heard(CATALOG[1], _places(0, 199), noise=0.8, seed=5)))
    catalog = {**CATALOG, 9: cousin}
    found = explained(broadcast(heard(CATALOG[1], _places(20, 60)), catalog), 30, 40, catalog, track=9).hypotheses
    assert {each.track for each in found} == {9}
    assert (found[0].verdict, found[0].explained_by) == (Verdict.EXPLAINED, 1)


def test_a_track_that_is_not_heard_has_a_low_llr_if_it_is_requested() -> None:
    found = explained(ON_AIR, 30, 50, track=3).hypotheses
    assert found
    assert all(each.verdict is Verdict.LLR_TOO_LOW for each in found)


def test_a_track_that_is_not_in_the_catalog_is_in_no_hypothesis() -> None:
    assert explained(ON_AIR, 30, 50, track=77).hypotheses == ()
    gone = [replace(s, hits=(*s.hits, Hit(77, s.start - FIRST, 0.9))) for s in ON_AIR]
    assert 77 not in {each.track for each in explained(gone, 30, 50).hypotheses}


def test_silence_is_counted_and_proposes_nothing() -> None:
    found = explained(broadcast([*unknown(10, 96), *silence(20), *unknown(10, 97)], CATALOG), 14, 24)
    assert (found.n_segments, found.n_silent) == (11, 11)
    assert found.hypotheses == ()
    half = explained(broadcast([*unknown(10, 96), *silence(20)], CATALOG), 9, 11)
    assert (half.n_segments, half.n_silent) == (3, 1)


def test_without_segments_or_sound_there_are_no_hypotheses() -> None:
    assert explained([], 0, 10) == Explanation(_at(0), _at(10), 0, 0, ())
    assert explained(broadcast(silence(10), CATALOG), 0, 10, track=1).hypotheses == ()


def test_the_segments_of_a_drone_have_a_low_weight() -> None:
    note = track(12, 1).vectors
    wobble = np.random.default_rng(1).normal(scale=0.02, size=(100, note.shape[1])).astype(np.float32)
    held = note + wobble
    drone = Reference(held / np.linalg.norm(held, axis=1, keepdims=True))
    on_air = broadcast(heard(drone, _places(30, 20), noise=0.9), {5: drone})
    best = explained(on_air, 0, 20, {5: drone}).hypotheses[0]
    assert (best.track, best.verdict) == (5, Verdict.LLR_TOO_LOW)
    assert best.cosine > 0.6
    assert best.weight < 0.5
    assert explained(ON_AIR, 40, 44).hypotheses[0].weight > 0.9


def test_the_similarity_to_the_local_context_is_reported_with_the_cosine() -> None:
    mood = track(13, 1).vectors[0]
    alike = Reference(np.stack([(v + mood) / np.linalg.norm(v + mood) for v in track(14, 100).vectors]))
    cousin = [(v + mood) / np.linalg.norm(v + mood) for v in track(15, 20).vectors]
    best = explained(broadcast(cousin, {5: alike}), 0, 20, {5: alike}).hypotheses[0]
    assert (best.verdict, best.cosine > 0.5) == (Verdict.LLR_TOO_LOW, True)
    assert best.cosine - best.local_context < 0.3
    play = explained(ON_AIR, 40, 44).hypotheses[0]
    assert (play.verdict, play.cosine - play.local_context > 0.7) == (Verdict.PLAY, True)


def _verdicts(found: Sequence[Hypothesis]) -> list[tuple[int, Verdict]]:
    return [(each.track, each.verdict) for each in found]


def test_hypotheses_are_ordered_plays_first_then_by_llr() -> None:
    one, two = heard(CATALOG[1], _places(50, 40)), heard(CATALOG[2], _places(10, 40))
    mixed = [(a + b) / np.linalg.norm(a + b) for a, b in zip(one, two, strict=True)]
    found = explained(broadcast(mixed, CATALOG), 15, 25).hypotheses
    assert sorted(_verdicts(found)[:2]) == [(1, Verdict.PLAY), (2, Verdict.PLAY)]
    rest = [each.llr for each in found[2:]]
    assert rest == sorted(rest, reverse=True)
    assert len(found) <= 8


def test_a_track_that_repeats_itself_does_not_hide_the_others_unless_it_is_requested() -> None:
    bar = track(13, 8).vectors
    looping = Reference(np.vstack([*[bar] * 8, track(14, 20).vectors]))
    catalog = {2: CATALOG[2], 6: looping}
    vectors = [*heard(looping, _places(0, 24)), *heard(CATALOG[2], _places(70, 2)), *unknown(10, 98)]
    on_air = broadcast(vectors, catalog)
    found = explained(on_air, 18, 26, catalog).hypotheses
    assert 2 in {each.track for each in found}
    assert len([each for each in found if each.track == 6 and each.verdict is not Verdict.PLAY]) == MAX_POSITIONS
    assert len(explained(on_air, 18, 26, catalog, track=6).hypotheses) > 1 + MAX_POSITIONS
