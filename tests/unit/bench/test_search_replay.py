"""The replay that measures searching less: it searches what its policy says, and finds what the tracker finds."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Hit
from monitor.detect.fingerprint import NeuralDetector
from tests.bench.search_replay import Policy, Recording, replay

N_UNKNOWN, N_PLAYED = 40, 60
TRACK = 7


def random_vectors(n: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, 128)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


REFERENCE = Reference(random_vectors(N_PLAYED, 1))
VECTORS = np.concatenate([random_vectors(N_UNKNOWN, 2), REFERENCE.vectors])
N_SEGMENTS = len(VECTORS)
RECORDING = Recording(
    "one.flac", N_SEGMENTS / 2, VECTORS, np.ones(N_SEGMENTS, np.bool_), np.full(N_SEGMENTS, np.nan, np.float32)
)


def get_hits(i: int) -> tuple[Hit, ...]:
    """The exact search over a catalog of one track, if it returned similar vectors only."""
    return (Hit(TRACK, (i - N_UNKNOWN) * HOP_SAMPLES, 1.0),) if i >= N_UNKNOWN else ()


def replayed(policy: Policy):
    return replay(
        RECORDING, get_hits, lambda tracks: dict.fromkeys(tracks, REFERENCE), NeuralDetector.thresholds, policy
    )


@pytest.mark.parametrize(
    ("policy", "at_least", "at_most"),
    [
        (Policy("all"), N_SEGMENTS, N_SEGMENTS),
        (Policy("stride", 2), N_SEGMENTS // 2, N_SEGMENTS // 2),
        (Policy("near, but nothing is", 2, near_llr=1e9), N_SEGMENTS // 2, N_SEGMENTS // 2),
        (Policy("near: also the other segments of an opening", 2, near_llr=6), 51, 55),
        (Policy("on air", on_air_stride=4), 50, 62),
        (Policy("locked", locked_cosine=0.8), 45, 58),
        (Policy("all together", 2, 4, 6, 0.8), 24, 40),
    ],
    ids=lambda value: value.name if isinstance(value, Policy) else "",
)
def test_a_policy_searches_its_share_and_the_play_is_found(policy: Policy, at_least: int, at_most: int) -> None:
    found = replayed(policy)
    assert found.n_audible == N_SEGMENTS
    assert at_least <= found.n_searched <= at_most
    (play,) = found.plays
    assert play.track == TRACK
    assert abs(play.start - N_UNKNOWN * HOP_SAMPLES) <= HOP_SAMPLES
    assert play.id in found.reported


def test_no_play_is_found_without_hits() -> None:
    assert replayed(Policy("none", top_k=0)).plays == ()
