"""Votes of search hits for alignments: a Hough transform (Hough 1962; Duda and Hart 1972) over the last seconds.

Hits of the newest segment are the candidates. Earlier hits vote for one if a line leads from them to it through the
same track, at any speed that a station may play.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.alignment.alignment import MAX_SPEED_DEVIATION, Alignment
from monitor.core.arrays import Floats, Ints
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


class HitVotes:
    """The hits of a stream's last segments, as arrays in the order of the segments, and the votes among them."""

    def __init__(self, segments: Sequence[Segment], curve: LlrCurve) -> None:
        """Weights each hit by its LLR on this curve. `segments`: oldest first."""
        hits = [hit for segment in segments for hit in segment.hits]
        self._starts = np.array([segment.start for segment in segments], np.int64).repeat(
            [len(segment.hits) for segment in segments]
        )
        self._tracks = np.array([hit.track for hit in hits], np.int64)
        self._positions = np.array([hit.position for hit in hits], np.int64)
        self._llrs = np.maximum(curve(np.array([hit.score for hit in hits], np.float64)), 0.0)

    def proposals(self, newest: Segment, min_votes: float) -> list[Proposal]:
        """Alignments through the hits of a segment that have at least this many votes, most votes first.

        Later segments have no vote.
        """
        if not newest.hits:
            return []
        first, end = self._starts.searchsorted([newest.start - WINDOW_SAMPLES, newest.start + 1])
        voters = slice(first, end)
        starts, llrs = self._starts[voters], self._llrs[voters]
        votes = self._votes(newest, voters, starts, llrs)
        found: list[Proposal] = []
        for hit, sum_ in zip(newest.hits, votes, strict=True):
            if sum_ >= min_votes and not any(_is_near(hit, other) for other in found):
                found.append(Proposal(hit.track, Alignment(newest.start, hit.position), sum_, hit.score))
        found.sort(key=lambda proposal: (-proposal.votes, proposal.track, proposal.alignment.position))
        return found[:MAX_PROPOSALS]

    def _votes(self, newest: Segment, voters: slice, starts: Ints, llrs: Floats) -> list[float]:
        """For each hit of a segment, the sum of each segment's best hit that can lie on a line to it.

        0 if it is the only segment: the hits of a single segment say nothing about time.
        """
        tracks = np.array([[hit.track] for hit in newest.hits], np.int64)
        positions = np.array([[hit.position] for hit in newest.hits], np.int64)
        ages = newest.start - starts
        moved = positions - ages - self._positions[voters]
        is_voter = (self._tracks[voters] == tracks) & (np.abs(moved) <= TOLERANCE_SAMPLES + MAX_SPEED_DEVIATION * ages)
        bounds = np.flatnonzero(np.diff(starts, prepend=-1))  # where the hits of each segment begin
        best = np.maximum.reduceat(np.where(is_voter, llrs, -1.0), bounds, axis=1)
        n_segments = (best >= 0).sum(axis=1)
        # One after another, as floats add up differently in another order.
        sums = np.where(n_segments > 1, np.maximum(best, 0.0, out=best).cumsum(axis=1)[:, -1], 0.0)
        votes: list[float] = sums.tolist()
        return votes


def _is_near(hit: Hit, other: Proposal) -> bool:
    return hit.track == other.track and abs(hit.position - other.alignment.position) <= TOLERANCE_SAMPLES
