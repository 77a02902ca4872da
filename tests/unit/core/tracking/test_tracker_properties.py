"""Whatever a stream does, the tracker never raises, and its plays are possible, however the stream is cut."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Hit, Segment
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import advance, propose, tracks_needed
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, silence, track, unknown

T = NeuralDetector.thresholds
FIRST = 1_000_000
REMEMBERED = 120
LOOP = track(21, 12)
CATALOG = {
    1: track(11, 90),
    2: track(12, 40),
    3: Reference(np.vstack([LOOP.vectors] * 5)),  # any position is as good as another
    4: Reference(np.repeat(track(13, 1).vectors, 60, axis=0)),  # a drone
    5: Reference(np.zeros((20, 32), np.float32)),  # silence
    6: Reference(np.empty((0, 32), np.float32)),
}
PIECES = st.one_of(
    st.tuples(st.just("track"), st.sampled_from([1, 2, 3, 4]), st.integers(0, 30), st.integers(4, 40), st.floats(0, 1)),
    st.tuples(st.just("unknown"), st.integers(100, 105), st.just(0), st.integers(1, 25), st.just(0.0)),
    st.tuples(st.just("silence"), st.just(0), st.just(0), st.integers(1, 25), st.just(0.0)),
)


def _id(number: int, start: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{number}/{start}")


def _program(pieces: list[tuple[str, int, int, int, float]]) -> list[Segment]:
    vectors: list[np.ndarray | None] = []
    for kind, number, place, length, noise in pieces:
        if kind == "track":
            known = len(CATALOG[number].vectors)
            places = [min(place + i, known - 1) for i in range(length)]
            vectors += heard(CATALOG[number], places, noise, seed=length)
        elif kind == "unknown":
            vectors += unknown(length, number)
        else:
            vectors += silence(length)
    return broadcast(vectors, {n: CATALOG[n] for n in (1, 2, 3, 4)}, FIRST)


def _listen(segments: list[Segment], cuts: list[int], gone: frozenset[int] = frozenset()) -> list[Play]:
    open_: tuple[Play, ...] = ()
    ended: tuple[Play, ...] = ()
    closed: list[Play] = []
    edges = sorted({0, *(cut for cut in cuts if cut < len(segments)), len(segments)})
    for begin, end in itertools.pairwise(edges):
        recent = segments[max(0, begin - REMEMBERED) : end]
        proposals = propose(recent, end - begin, T)
        references = {n: CATALOG[n] for n in tracks_needed(proposals, open_) if n in CATALOG and n not in gone}
        update = advance(recent, proposals, open_, ended, references, T, _id)
        open_, ended = update.open, update.ended
        closed += update.closed
        assert len({play.id for play in update.open}) == len(update.open)
    return [*closed, *open_]


def _rounded(plays: list[Play]) -> list[Play]:
    """Plays in order, without the last digits: sums over other batches are rounded differently."""
    rounded = [
        replace(play, score_sum=round(play.score_sum, 3), llr=round(play.llr, 2), speed=round(play.speed, 6))
        for play in plays
    ]
    return sorted(rounded, key=str)


def _check(plays: list[Play], segments: list[Segment]) -> None:
    first, last = segments[0].start, segments[-1].start + SEGMENT_SAMPLES
    for play in plays:
        assert first <= play.start < play.end <= last
        assert 0 <= play.track_start <= play.track_end
        assert play.scored > 0
        assert 0 <= play.bridged < play.end - play.start
        assert np.isfinite([play.score, play.llr, play.speed]).all()
    by_track = sorted(plays, key=lambda play: (play.track, play.start))
    for one, other in itertools.pairwise(by_track):
        assert one.track != other.track or one.end <= other.start, "a play overlaps another of its track"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, min_size=1, max_size=6), st.lists(st.integers(1, 200), max_size=12))
def test_plays_are_possible_and_any_cutting_gives_the_same(
    pieces: list[tuple[str, int, int, int, float]], cuts: list[int]
) -> None:
    segments = _program(pieces)
    whole = _listen(segments, [])
    _check(whole, segments)
    assert _rounded(_listen(segments, cuts)) == _rounded(whole)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, min_size=1, max_size=5), st.data())
def test_no_input_raises(pieces: list[tuple[str, int, int, int, float]], data: st.DataObject) -> None:
    """NaN vectors, vectors of another model, hits in deleted tracks, missing windows, a clock that jumps."""
    spoilt, shift = [], 0
    for segment in _program(pieces):
        what = data.draw(st.sampled_from(["ok"] * 12 + ["nan", "size", "gone", "lost", "leap", "far"]))
        if what == "lost":
            continue
        if what == "leap":
            shift += data.draw(st.sampled_from([1, 777, 3 * HOP_SAMPLES, 60 * 32_000, 86_400 * 32_000]))
        vector, hits = segment.vector, segment.hits
        if what == "nan" and vector is not None:
            vector = np.full_like(vector, np.nan)
        if what == "size" and vector is not None:
            vector = vector[:7]
        if what == "gone":
            hits = (*hits, Hit(999, 5 * HOP_SAMPLES, 0.99), Hit(6, 0, 0.99), Hit(5, 0, 0.99))
        if what == "far":
            hits = (*hits, Hit(1, 10**12, 0.99), Hit(2, 0, float("nan")))
        spoilt.append(Segment(segment.start + shift, vector, hits))
    if not spoilt:
        return
    gone = data.draw(st.frozensets(st.sampled_from([1, 2, 3]), max_size=1))
    _check(_listen(spoilt, data.draw(st.lists(st.integers(1, 100), max_size=4)), gone), spoilt)
