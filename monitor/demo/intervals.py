"""Set operations on lists of time intervals, in seconds. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[float, float]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same seconds as disjoint intervals, in order, without empty ones."""
    merged: list[Interval] = []
    for start, end in sorted(i for i in intervals if i[1] > i[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def common(some: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """The seconds that are in both lists."""
    others = union(others)
    return union((max(a, c), min(b, d)) for a, b in union(some) for c, d in others)


def measure(intervals: Iterable[Interval]) -> float:
    """The total length in seconds."""
    return sum(end - start for start, end in union(intervals))
