"""Chooses the segments of a stream that are worth a search. The others keep their vectors, which decide as before.

Measured by `make bench-search` on the tune programs: half of the segments are searched, and the same plays are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.alignment.cosines import cosines
from monitor.core.arrays import Bools
from monitor.core.reference import References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.tracking.candidates import CLEAR_COSINE, YOUNG_SAMPLES
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play

# Segments on this stride are always searched: by themselves they lose three plays of 137, all under voices.
STRIDE = 2
# While a play is on air, proposals are examined on this stride only (EXAMINE_EVERY_SEGMENTS).
ON_AIR_STRIDE = 4
# A segment that is clearly the track of a play that is no longer young needs no search: as soon as another sound
# begins, its cosine is lower. With 0.6 and 5 s, versions with the same beginning were not told apart later on.
EXPLAINED_COSINE = CLEAR_COSINE
SETTLED_SAMPLES = YOUNG_SAMPLES
# Decisions of so many segments are made at once, with the plays as they were before: a window of the usual length.
CHUNK_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Which new segments to search, each bool (n,): now, or only if a track may have begun."""

    now: Bools
    later: Bools


def search_plan(
    segments: Sequence[Segment], open_: Iterable[Play], references: References, *, heard_until: int | None
) -> SearchPlan:
    """Divides new segments into those that are worth a search, those that may be, and those that a play explains.

    Args:
        segments: the new segments, without hits.
        open_: the plays before them.
        references: of the plays' tracks.
        heard_until: stream clock of the end of the segment before them.
    """
    open_ = tuple(open_)
    stride = ON_AIR_STRIDE if any(play.end == heard_until for play in open_) else STRIDE
    is_on_stride = np.array([_is_on(stride, segment) for segment in segments], np.bool_)
    is_explained = np.zeros(len(segments), np.bool_)
    for play in open_:
        if play.track in references and play.end - play.start > SETTLED_SAMPLES:
            along = cosines(references[play.track], segments, [play.alignment])[0]
            is_explained |= np.nan_to_num(along) >= EXPLAINED_COSINE
    return SearchPlan(is_on_stride & ~is_explained, ~is_on_stride & ~is_explained)


def is_worth_another_look(
    segments: Sequence[Segment],
    proposals: Sequence[Sequence[Proposal]],
    open_: Iterable[Play],
    *,
    is_near: bool = False,
) -> Bools:
    """Whether a track without an open play may have begun at the last segment on the stride that was searched.

    Args:
        segments: the new segments.
        proposals: of each of them. Only those on the stride count, so that the others depend on them alone.
        open_: the plays before them.
        is_near: whether one may have begun before them.

    Returns:
        For each segment, bool (len(segments),).
    """
    known = {play.track for play in open_}
    is_worth = np.zeros(len(segments), np.bool_)
    for i, segment in enumerate(segments):
        if _is_on(STRIDE, segment) and segment.hits:
            is_near = any(proposal.track not in known for proposal in proposals[i])
        is_worth[i] = is_near
    return is_worth


def heard_until(segments: Sequence[Segment]) -> int | None:
    """Stream clock of the end of the newest segment; None if there is none."""
    return segments[-1].start + SEGMENT_SAMPLES if segments else None


def _is_on(stride: int, segment: Segment) -> bool:
    return segment.start // HOP_SAMPLES % stride == 0


def chunks(segments: Sequence[Segment], origin: int) -> Iterator[Sequence[Segment]]:
    """Cuts segments where windows of the usual length end, so that decisions do not depend on how they arrive.

    Args:
        segments: without gaps, oldest first.
        origin: stream clock at which their session began.
    """
    first = 0
    for i, segment in enumerate(segments, start=1):
        n_until = (segment.start - origin) // HOP_SAMPLES + 1
        if i == len(segments) or (n_until + 1) % CHUNK_SEGMENTS == 0:  # a window's last segment ends in the next one
            yield segments[first:i]
            first = i
