"""Votes: which places of which tracks are worth a closer look, by the hits of the last seconds. Pure.

A hit of the newest segment is a candidate when hits of earlier segments lie on a way through its track that leads to
it, at whatever speed a station may play.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

from monitor.core.likelihood import LlrCurve
from monitor.core.play import Alignment
from monitor.core.segments import HOP_SAMPLES, Hit, Segment

WINDOW_SAMPLES = 40 * HOP_SAMPLES  # 20 s: one hit in seven segments is enough to be seen
# A segment between two of the track's may find either, in both of the hits that are compared.
SLACK_SAMPLES = 2 * HOP_SAMPLES
FASTEST = 0.08  # more or less than the track's own speed
MAX_PROPOSALS = 4  # of one segment: a looping track has many places, and any of them will do


@dataclass(frozen=True, slots=True)
class Proposal:
    """A line worth judging, how much evidence the hits on it have, and the newest one's inner product."""

    track: int
    line: Alignment
    votes: float
    score: float


class VoteAccumulator:
    """The hits of the last seconds, by track. Filled segment by segment, in order."""

    def __init__(self, curve: LlrCurve) -> None:
        self._curve = curve
        self._hits: defaultdict[int, deque[tuple[int, int, float]]] = defaultdict(deque)

    def add(self, segment: Segment) -> None:
        """Takes a segment's hits in."""
        worths = self._curve(np.array([hit.score for hit in segment.hits])).tolist()
        for hit, worth in zip(segment.hits, worths, strict=True):
            self._hits[hit.track].append((segment.start, hit.position, max(0.0, worth)))

    def proposals(self, newest: Segment, minimum: float) -> list[Proposal]:
        """Lines through the newest segment's hits with at least so much evidence, most first."""
        found: list[Proposal] = []
        for hit in newest.hits:
            if any(_is_near(hit, other) for other in found):
                continue
            votes = self._support(hit, newest.start)
            if votes >= minimum:
                found.append(Proposal(hit.track, Alignment(newest.start, hit.position), votes, hit.score))
        found.sort(key=lambda proposal: (-proposal.votes, proposal.track, proposal.line.position))
        return found[:MAX_PROPOSALS]

    def _support(self, hit: Hit, start: int) -> float:
        hits = self._hits[hit.track]
        while hits and hits[0][0] < start - WINDOW_SAMPLES:
            hits.popleft()
        best: dict[int, float] = {}
        away = hit.position - start
        for then, position, worth in hits:
            if abs(away - position + then) <= SLACK_SAMPLES + FASTEST * (start - then) and worth >= best.get(then, 0.0):
                best[then] = worth
        # One segment's hits prove nothing about time.
        return sum(best.values()) if len(best) > 1 else 0.0


def _is_near(hit: Hit, other: Proposal) -> bool:
    return hit.track == other.track and abs(hit.position - other.line.position) <= SLACK_SAMPLES
