"""Extends the plays on air along their alignments by the newest segment."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.cosines import cosines, explained_similarity, track_similarity
from monitor.core.alignment.fitting import FIRST_FIT_SEGMENTS, refine_alignment
from monitor.core.alignment.scores import AlignmentScores
from monitor.core.arrays import Floats
from monitor.core.likelihood import suffix_sums
from monitor.core.reference import Reference, References
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.play import Play, is_continued_by

# A segment with a quarter outside the track has about this share of the cosine of those within. With more outside, it
# is not part of the play. Chosen on `tune`: starts and ends are off by 0.2 s (median), in either direction.
EDGE_SHARE = 0.72
# An alignment is refined every so many segments: a quarter of a percent of speed takes some seconds to show.
REFINE_EVERY_SEGMENTS = 4


def extend_plays(
    open_: tuple[Play, ...], past: Sequence[Segment], references: References, thresholds: Thresholds
) -> tuple[tuple[Play, ...], dict[uuid.UUID, float]]:
    """Extends each play by the newest segment, if that agrees with it.

    Args:
        open_: the plays on air.
        past: the remembered segments, oldest first.

    Returns:
        The plays, and the cosine of the newest segment along each play's alignment, by play.
    """
    past = SegmentArrays.of(past)
    tails = {play.id: _tail(play, past) for play in open_}
    scores = {
        play.id: AlignmentScores.of(references[play.track], tails[play.id], play.alignment)
        for play in open_
        if play.track in references
    }
    extended = []
    for play in open_:
        if play.id in scores:
            own = scores[play.id]
            for other in open_:
                if other.id in scores and scores[other.id].cosines[-1] > scores[play.id].cosines[-1]:
                    own = own.subtract(_explained(own.alignment, play.track, other, tails[play.id], references))
            play = _extend(play, tails[play.id], scores[play.id].cosines, own, past, references, thresholds)
        extended.append(play)
    return tuple(extended), {play: float(each.cosines[-1]) for play, each in scores.items() if len(each.cosines)}


def _tail(play: Play, past: SegmentArrays) -> SegmentArrays:
    """The segments since the play's end."""
    return past[int(past.starts.searchsorted(play.end - SEGMENT_SAMPLES, side="right")) :]


def _explained(alignment: Alignment, track: int, play: Play, segments: SegmentArrays, references: References) -> Floats:
    """The part of a track's cosines along an alignment that a play of another track, or position, accounts for."""
    other = references[play.track]
    theirs = cosines(other, segments, [play.alignment])[0]
    similarity = track_similarity(references[track], alignment, other, play.alignment, segments.starts)
    return explained_similarity(theirs, similarity)


def _extend(
    play: Play,
    tail: SegmentArrays,
    scores: Floats,
    own: AlignmentScores,
    past: SegmentArrays,
    references: References,
    thresholds: Thresholds,
) -> Play:
    """Extends a play to the newest segment if that agrees with it; otherwise returns it unchanged.

    Args:
        tail: the segments since the play's end.
        scores: their cosines, (n,).
        own: their scores without what other plays account for.
    """
    if np.isnan(scores[-1]):
        return play
    is_next = len(tail) == 1 and scores[-1] >= EDGE_SHARE * play.score
    min_llr = 0.0 if is_next else thresholds.resume_llr
    openings = own.opening_llrs(thresholds)
    tests = [own.llrs(thresholds.tracking_curve), *openings[1:]]
    agreeing = (first for llrs in tests if (first := _first_agreeing(llrs, min_llr)) is not None)
    if (first := next(agreeing, None)) is None:
        return play
    heard = scores[first:][~np.isnan(scores[first:])]
    end = tail[-1].start + SEGMENT_SAMPLES
    extended = replace(
        play,
        end=end,
        track_end=round(play.alignment.position_at(end)),
        score_sum=play.score_sum + float(heard.sum()),
        scored=play.scored + len(heard),
        llr=play.llr + max(float(llrs[first:].sum()) for llrs in openings),
        bridged=play.bridged + max(0, tail[first].start - play.end),
    )
    if extended.scored // REFINE_EVERY_SEGMENTS == play.scored // REFINE_EVERY_SEGMENTS:
        return extended
    return _refine(extended, past, references[play.track])


def _first_agreeing(llrs: Floats, min_llr: float) -> int | None:
    """First of the segments up to the newest with the largest sum; None if it is too small, or the newest disagrees."""
    sums = suffix_sums(llrs)
    first = int(sums.argmax())
    return first if llrs[-1] > 0 and sums[first] >= min_llr else None


def _refine(play: Play, past: SegmentArrays, reference: Reference) -> Play:
    """The play with its alignment refined by the newest segments, if it still is the same alignment."""
    newest = past[-FIRST_FIT_SEGMENTS:]
    newest = newest[int(newest.starts.searchsorted(play.start)) :]
    refined = refine_alignment(reference, newest, play.alignment)
    if not is_continued_by(play, refined):
        return play
    return replace(play, track_end=round(refined.position), speed=refined.speed)
