"""Votes of search hits for alignments: a Hough transform (Hough 1962; Duda and Hart 1972) over the last seconds.

Hits of the newest segment are the candidates. Earlier hits vote for one if a line leads from them to it through the
same track, at any speed that a station may play.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

from monitor.core.alignment.alignment import MAX_SPEED_DEVIATION, Alignment
from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES, Hit, Segment

WINDOW_SAMPLES = 40 * HOP_SAMPLES  # 20 s, so that one hit in seven segments is enough
# A segment between two of the track's may hit either of them, and so may the one it is compared with.
TOLERANCE_SAMPLES = 2 * HOP_SAMPLES
MAX_PROPOSALS = 4  # per segment: a looping track has many alignments, and any of them will do


@dataclass(frozen=True, slots=True)
class Proposal:
    """An alignment worth examining.

    votes: sum of the LLRs of the hits along it.
    score: inner product of the newest hit.
    """

    track: int
    alignment: Alignment
    votes: float
    score: float


class VoteAccumulator:
    """The hits of the last seconds, by track. Takes a stream's segments in order."""

    def __init__(self, curve: LlrCurve) -> None:
        """Weights each hit by its LLR on this curve."""
        self._curve = curve
        self._hits: defaultdict[int, deque[tuple[int, int, float]]] = defaultdict(deque)

    def add(self, segment: Segment) -> None:
        """Adds the hits of a segment."""
        llrs = self._curve(np.array([hit.score for hit in segment.hits])).tolist()
        for hit, llr in zip(segment.hits, llrs, strict=True):
            self._hits[hit.track].append((segment.start, hit.position, max(0.0, llr)))

    def proposals(self, newest: Segment, min_votes: float) -> list[Proposal]:
        """Alignments through the hits of the newest segment that have at least this many votes, most votes first."""
        found: list[Proposal] = []
        for hit in newest.hits:
            if any(_is_near(hit, other) for other in found):
                continue
            votes = self._votes(hit, newest.start)
            if votes >= min_votes:
                found.append(Proposal(hit.track, Alignment(newest.start, hit.position), votes, hit.score))
        found.sort(key=lambda proposal: (-proposal.votes, proposal.track, proposal.alignment.position))
        return found[:MAX_PROPOSALS]

    def _votes(self, hit: Hit, start: int) -> float:
        """Sum of each segment's best hit that can lie on a line to this one; 0 if it is the only segment."""
        hits = self._hits[hit.track]
        while hits and hits[0][0] < start - WINDOW_SAMPLES:
            hits.popleft()
        best: dict[int, float] = {}
        offset = hit.position - start
        for then, position, llr in hits:
            tolerance = TOLERANCE_SAMPLES + MAX_SPEED_DEVIATION * (start - then)
            if abs(offset - position + then) <= tolerance and llr >= best.get(then, 0.0):
                best[then] = llr
        # The hits of a single segment say nothing about time.
        return sum(best.values()) if len(best) > 1 else 0.0


def _is_near(hit: Hit, other: Proposal) -> bool:
    return hit.track == other.track and abs(hit.position - other.alignment.position) <= TOLERANCE_SAMPLES
