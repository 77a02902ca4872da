"""The benchmark's scores and confidence intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.scoring import MISSED, Score, score, share, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_the_wilson_interval_matches_published_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_contains_the_share_and_is_symmetric(pair: tuple[int, int]) -> None:
    hits, n = pair
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low))


def test_without_queries_the_interval_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert str(share([])) == "-"


def test_a_share_counts_true_flags() -> None:
    assert (share([True, False, True]).hits, share([True, False, True]).n) == (2, 3)
    assert str(share([True] * 60)) == "100 (94-100)"


@pytest.mark.parametrize(
    ("answered_s", "expected"),
    [
        (30.0, Score(track=True, near=True, exact=True)),
        (30.25, Score(track=True, near=True, exact=True)),
        (29.6, Score(track=True, near=True, exact=False)),
        (30.6, Score(track=True, near=False, exact=False)),
    ],
)
def test_a_position_is_scored_by_its_distance(answered_s: float, expected: Score) -> None:
    assert score(True, answered_s, start_s=30.0, rate=1.0, length_s=5) == expected


def test_a_position_in_another_track_is_a_miss() -> None:
    assert score(False, 30.0, start_s=30.0, rate=1.0, length_s=5) == MISSED


@pytest.mark.parametrize("rate", [0.96, 1.04])
def test_at_another_speed_the_middle_counts(rate: float) -> None:
    """A query of 10 s at 4 % more speed is 0.4 s ahead at its end, so aligning its middle is right."""
    aligned_in_the_middle = 30.0 + 10 * (rate - 1) / 2
    assert score(True, aligned_in_the_middle, start_s=30.0, rate=rate, length_s=10).exact
    assert math.isclose(abs(aligned_in_the_middle - 30.0), 0.2)
    assert not score(True, aligned_in_the_middle - math.copysign(0.3, rate - 1), 30.0, rate, 10).exact
