"""LLR curves, and the suffixes over which LLRs add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.likelihood import LlrCurve, best_suffix, suffix_sums

CURVE = LlrCurve((0.0, 0.5, 1.0), (-1.0, 0.0, 4.0))


def ages(n: int) -> np.ndarray:
    """Ages of consecutive values."""
    return np.arange(n - 1.0, -1.0, -1.0)


def test_a_curve_is_linear_between_its_knots_constant_beyond_and_zero_for_nan() -> None:
    assert CURVE(np.array([-1.0, 0.25, 0.75, 2.0, np.nan])).tolist() == [-1.0, -0.5, 2.0, 4.0, 0.0]


def test_suffix_sums_include_the_last_value() -> None:
    assert suffix_sums(np.array([[1.0, 2.0, 3.0]])).tolist() == [[6.0, 5.0, 3.0]]


@given(st.lists(st.floats(-2, 4), min_size=1, max_size=60))
def test_without_limits_the_best_suffix_has_the_largest_sum(values: list[float]) -> None:
    first, total = best_suffix(np.array(values), ages(len(values)), 1e9, 1000)
    sums = suffix_sums(np.array(values))
    assert total == pytest.approx(sums.max())
    assert sums[first] == pytest.approx(sums.max())


def test_a_suffix_does_not_reach_over_a_large_drop_or_a_long_one() -> None:
    values = np.array([9.0] * 5 + [-1.0] * 6 + [3.0] * 4)
    assert best_suffix(values, ages(15), 10.0, 100) == (0, 51.0)
    assert best_suffix(values, ages(15), 5.0, 100) == (11, 12.0)
    assert best_suffix(values, ages(15), 10.0, 5) == (11, 12.0)


def test_a_suffix_does_not_reach_over_a_long_silence() -> None:
    values = np.array([2.0] * 5 + [0.0] * 8 + [3.0] * 4)
    assert best_suffix(values, ages(17), 10.0, 8) == (0, 22.0)
    assert best_suffix(values, ages(17), 10.0, 7) == (13, 12.0)


def test_a_suffix_does_not_reach_over_a_long_gap_without_values() -> None:
    values, gap = np.array([2.0] * 5 + [3.0] * 4), np.array([1.0] * 5 + [0.0] * 4)
    assert best_suffix(values, ages(9) + 8 * gap, 10.0, 8) == (0, 22.0)
    assert best_suffix(values, ages(9) + 9 * gap, 10.0, 8) == (5, 12.0)
