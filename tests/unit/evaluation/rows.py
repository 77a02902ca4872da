"""Shorthands for plays and results, and Hypothesis strategies for them, with times on a grid so that edges coincide."""

from __future__ import annotations

from hypothesis import strategies as st

from monitor.evaluation.plays import Result, Truth

RECORDINGS = {"a.wav": 3600.0, "b.wav": 7200.0, "c.wav": 1800.0}


def play(
    start_s: float,
    end_s: float,
    track: str = "x.ogg",
    *,
    recording: str = "a.wav",
    at_s: float = 0.0,
    speed: float = 1.0,
    snr_db: float | None = None,
    kind: str = "music",
) -> Truth:
    return Truth(recording, track, start_s, end_s, at_s, at_s + (end_s - start_s) * speed, speed, snr_db, kind)


def result(
    start_s: float,
    end_s: float,
    track: str = "x.ogg",
    *,
    recording: str = "a.wav",
    at_s: float = 0.0,
    reported_s: float | None = None,
) -> Result:
    return Result(recording, track, start_s, end_s, at_s, at_s + end_s - start_s, 1.0, 0.8, reported_s)


def as_result(truth: Truth) -> Result:
    """The result of a perfect system for a play."""
    place = (truth.start_s, truth.end_s, truth.track_start_s, truth.track_end_s, truth.speed)
    return Result(truth.recording, truth.track, *place, score=1.0)


def as_play(found: Result) -> Truth:
    """The play for which a result is perfect."""
    place = (found.start_s, found.end_s, found.track_start_s, found.track_end_s, found.speed)
    return Truth(found.recording, found.track, *place, snr_db=None, kind="music")


def _instants() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))


_WHERE = st.tuples(st.sampled_from(sorted(RECORDINGS)), st.sampled_from(["x.ogg", "y.ogg"]), _instants())

plays = st.lists(
    st.builds(
        lambda where, snr_db, kind: play(*where[2], where[1], recording=where[0], snr_db=snr_db, kind=kind),
        _WHERE,
        st.sampled_from([None, 3.0, -6.0, -9.0, -18.0, -20.0]),
        st.sampled_from(["music", "bed"]),
    ),
    max_size=8,
    unique_by=lambda row: (row.recording, row.track, row.start_s, row.end_s),
)
results = st.lists(_WHERE.map(lambda where: result(*where[2], where[1], recording=where[0])), max_size=8)
