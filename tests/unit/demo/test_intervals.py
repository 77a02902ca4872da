"""Interval arithmetic against counting on a grid."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.demo.intervals import common, measure, union

intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def cells(some):
    return {cell for start, end in some for cell in range(start, end)}


@given(intervals)
def test_a_union_has_the_same_seconds_once(some):
    assert measure(some) == len(cells(some))
    merged = union(some)
    assert all(a[1] < b[0] for a, b in pairwise(merged))


@given(intervals, intervals)
def test_common_seconds_are_in_both(some, others):
    assert measure(common(some, others)) == len(cells(some) & cells(others))
