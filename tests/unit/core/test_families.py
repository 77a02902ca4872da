"""Families: tracks near-identical in whole or in part are related, similar ones are not, and mixes join none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.families import (
    MAX_CANDIDATES,
    SAMPLE_EVERY,
    FamilyRelation,
    RelatedTrack,
    candidate_tracks,
    find_related,
    group_families,
    hits_in,
    sample_segments,
)
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Hit, Segment
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core import broadcasts

CURVE = NeuralDetector.thresholds.opening_curve
SONG = broadcasts.track(1, 240)  # two minutes
OTHER = broadcasts.track(2, 240)
MASTER = 7
NONE = np.zeros((0, broadcasts.DIMENSIONS), np.float32)


def pieces(*parts: Reference | np.ndarray) -> Reference:
    """One track made of several."""
    return Reference(np.vstack([part.vectors if isinstance(part, Reference) else part for part in parts]))


def part(reference: Reference, first_s: float, last_s: float) -> np.ndarray:
    return reference.vectors[round(2 * first_s) : round(2 * last_s)]


def version(reference: Reference, speed: float = 1.0, noise: float = 0.0, seed: int = 3) -> Reference:
    """The track at another speed and with noise."""
    places = np.arange(0, len(reference.vectors) - 1, speed)
    return Reference(np.stack(broadcasts.heard(reference, places.tolist(), noise, seed)))


def samples_of(new: Reference, others: Mapping[int, Reference]) -> list[Segment]:
    places = sample_segments(new)
    hits = hits_in(new.vectors[places], others)
    return [Segment(i * HOP_SAMPLES, new.vectors[i], found) for i, found in zip(places, hits, strict=True)]


def found(new: Reference, *others: Reference) -> list[RelatedTrack]:
    """The related tracks among others, which are numbered starting at MASTER."""
    numbered = dict(enumerate(others, start=MASTER))
    samples = samples_of(new, numbered)
    wanted = candidate_tracks(samples, CURVE)
    return find_related(new, samples, {track: numbered[track] for track in wanted}, CURVE)


# What is related


def test_the_same_master_in_another_encoding_is_related_in_whole() -> None:
    (one,) = found(version(SONG, noise=0.3), OTHER, SONG)
    assert one.track == MASTER + 1
    assert one.share > 0.98
    assert one.related_share > 0.98
    assert one.speed == pytest.approx(1, abs=0.002)
    assert not one.is_part


@pytest.mark.parametrize("speed", [0.65, 0.93, 1.07, 1.5])
def test_a_track_at_another_speed_is_related_and_its_speed_measured(speed: float) -> None:
    (one,) = found(version(SONG, speed, noise=0.6), OTHER, SONG)
    assert one.speed == pytest.approx(speed, abs=0.012)  # nothing depends on more
    assert min(one.share, one.related_share) > 0.9


def test_a_stem_that_is_less_similar_throughout_is_related() -> None:
    stem = version(SONG, noise=1.0)  # cosines of 0.7
    (one,) = found(stem, OTHER, SONG)
    assert one.share > 0.9


def test_an_edit_is_related_by_all_the_pieces_it_is_made_of() -> None:
    edit = pieces(part(SONG, 80, 115), part(SONG, 10, 45), part(OTHER, 0, 5))
    (one,) = found(edit, SONG)
    assert one.share == pytest.approx(70 / 75, abs=0.04)
    assert one.related_share == pytest.approx(70 / 120, abs=0.04)
    assert not one.is_part


def test_an_excerpt_is_a_part_whichever_of_the_two_came_first() -> None:
    excerpt = Reference(part(SONG, 40, 70))
    (one,) = found(excerpt, OTHER, SONG)
    assert (one.share, one.is_part) == (pytest.approx(1, abs=0.03), True)
    assert one.related_share == pytest.approx(0.25, abs=0.03)
    (other,) = found(SONG, OTHER, excerpt)
    assert (other.related_share, other.is_part) == (pytest.approx(1, abs=0.03), True)
    assert other.share == pytest.approx(0.25, abs=0.03)


def test_a_loop_played_over_and_over_is_related_to_the_loop() -> None:
    loop = Reference(part(SONG, 0, 30))
    (one,) = found(pieces(loop, loop, loop), loop)
    assert one.related_share == pytest.approx(1, abs=0.03)
    assert one.share > 0.6


def test_silence_counts_neither_for_nor_against() -> None:
    with_silence = pieces(part(SONG, 0, 60), np.zeros((120, broadcasts.DIMENSIONS), np.float32), part(SONG, 60, 120))
    (one,) = found(with_silence, SONG)
    assert one.share > 0.95
    assert one.related_share > 0.95


def test_a_jingle_in_two_encodings_is_related_but_a_jingle_within_a_longer_track_is_not() -> None:
    jingle = Reference(part(SONG, 3, 7))
    (one,) = found(version(jingle, noise=0.3), OTHER, jingle)
    assert min(one.share, one.related_share) > 0.8
    assert found(jingle, Reference(part(SONG, 0, 12))) == []


def test_the_most_alike_come_first() -> None:
    (first, second) = found(Reference(part(SONG, 0, 60)), pieces(part(SONG, 10, 50), part(OTHER, 0, 20)), SONG)
    assert (first.track, second.track) == (MASTER + 1, MASTER)


# What is not related


def test_other_music_is_not_related() -> None:
    assert found(SONG, *(broadcasts.track(seed, 240) for seed in range(10, 20))) == []


def test_music_that_is_slightly_similar_throughout_is_not_related() -> None:
    assert found(version(SONG, noise=2.0), SONG) == []  # cosines of 0.45


def test_a_common_part_that_is_short_or_less_than_half_does_not_relate_tracks() -> None:
    short = pieces(part(SONG, 0, 15), part(OTHER, 0, 5))
    assert found(short, SONG) == []
    third = pieces(part(SONG, 0, 40), part(OTHER, 0, 80))
    assert found(third, SONG) == []
    assert [each.track for each in found(pieces(part(SONG, 0, 65), part(OTHER, 0, 50)), SONG)] == [MASTER]


def test_the_same_segments_in_another_order_are_not_related() -> None:
    shuffled = SONG.vectors[np.random.default_rng(5).permutation(len(SONG.vectors))]
    assert found(Reference(shuffled), SONG) == []


def test_a_silent_track_has_no_related_tracks() -> None:
    silent = Reference(np.zeros((50, broadcasts.DIMENSIONS), np.float32))
    assert found(silent, SONG) == []
    hits = tuple(Hit(MASTER, i * HOP_SAMPLES, 1.0) for i in range(8))
    samples = [Segment(i * HOP_SAMPLES, SONG.vectors[i], hits) for i in range(60)]
    assert find_related(SONG, samples, {MASTER: silent}, CURVE) == []


# What is searched for, and what is compared


def test_a_long_track_is_sampled_and_a_short_one_used_whole() -> None:
    assert sample_segments(SONG) == list(range(0, 240, SAMPLE_EVERY))
    assert sample_segments(Reference(SONG.vectors[:20])) == list(range(20))
    gap = SONG.vectors.copy()
    gap[::2] = 0
    assert all(segment % 2 for segment in sample_segments(Reference(gap)))
    assert sample_segments(Reference(np.zeros((9, broadcasts.DIMENSIONS), np.float32))) == []


def test_tracks_hit_by_chance_are_not_candidates_and_neither_are_too_many() -> None:
    def with_hits(count: int, score: float, tracks: Sequence[int]) -> list[Segment]:
        hits = tuple(Hit(track, 0, score - track / 1000) for track in tracks)
        return [Segment(i * HOP_SAMPLES, SONG.vectors[i], hits) for i in range(count)]

    assert candidate_tracks(with_hits(2, 0.9, [1]), CURVE) == []
    assert candidate_tracks(with_hits(60, 0.4, [1]), CURVE) == []
    assert candidate_tracks(with_hits(3, 0.9, [2, 1]), CURVE) == [1, 2]
    assert candidate_tracks(with_hits(3, 0.9, range(1, 50)), CURVE) == list(range(1, MAX_CANDIDATES + 1))
    assert candidate_tracks([], CURVE) == []


def test_hits_without_the_index_are_those_of_a_search() -> None:
    hits = hits_in(SONG.vectors[[5, 9]], {1: OTHER, 2: SONG, 3: Reference(SONG.vectors[4:6])})
    assert [(one.track, one.position) for one in hits[0][:2]] in (
        [(2, 5 * HOP_SAMPLES), (3, HOP_SAMPLES)],
        [(3, HOP_SAMPLES), (2, 5 * HOP_SAMPLES)],
    )
    assert (hits[1][0].track, hits[1][0].position) == (2, 9 * HOP_SAMPLES)
    assert [one.score for one in hits[0]] == sorted((one.score for one in hits[0]), reverse=True)
    assert hits_in(NONE, {1: OTHER}) == []


JUNK = st.tuples(
    st.integers(0, 239),
    st.lists(
        st.builds(
            Hit,
            st.sampled_from([MASTER, 8, 9]),
            st.integers(-50, 2**24).map(lambda place: place * HOP_SAMPLES),
            st.floats(-2, 2) | st.just(float("nan")),
        ),
        max_size=6,
    ),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(JUNK, max_size=40))
def test_nonsensical_hits_never_raise_and_relate_no_tracks(junk: list[tuple[int, list[Hit]]]) -> None:
    samples = [Segment(place * HOP_SAMPLES, SONG.vectors[place], tuple(hits)) for place, hits in junk]
    candidate_tracks(samples, CURVE)
    assert find_related(SONG, samples, {MASTER: OTHER, 8: Reference(OTHER.vectors[:1])}, CURVE) == []


# Families


def test_tracks_related_through_others_are_one_family() -> None:
    relations = [FamilyRelation(1, 2, False), FamilyRelation(2, 3, False), FamilyRelation(8, 5, False)]
    assert group_families(relations) == [(1, 2, 3), (5, 8)]
    assert group_families([]) == []


def test_a_part_belongs_to_the_family_of_what_it_is_a_part_of() -> None:
    assert group_families([FamilyRelation(1, 2, False), FamilyRelation(2, 9, True)]) == [(1, 2, 9)]


def test_a_mix_is_in_a_family_with_all_that_is_in_it_but_joins_no_families() -> None:
    mix, other_mix = 50, 60
    in_one = [FamilyRelation(track, mix, True) for track in (1, 2, 3)]
    assert group_families([*in_one, FamilyRelation(1, 11, False)]) == [(1, 2, 3, 11, mix)]
    both = [*in_one, FamilyRelation(3, other_mix, True), FamilyRelation(4, other_mix, True)]
    # Track 3 is in both mixes, but does not connect the other tracks in one to those in the other.
    assert group_families(both) == [(1, 2, 3, mix), (3, 4, other_mix), (3, mix, other_mix)]
