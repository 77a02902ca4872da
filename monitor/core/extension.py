"""Extends an open play along its alignment, and finds where it ends. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.core.alignment import (
    FIRST_SEGMENTS,
    AlignmentScores,
    cosines,
    explained_similarity,
    refine_alignment,
    track_similarity,
)
from monitor.core.likelihood import suffix_sums
from monitor.core.play import Alignment, Play, is_continued_by
from monitor.core.reference import Floats, Reference, References
from monitor.core.segments import SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds

# A segment that lies a quarter outside of the track is about so much less alike than those within; more is no part.
# Chosen on `tune`: starts and ends are off by 0.2 s (median), to either side.
EDGE_SHARE = 0.72
# A line is followed every so many segments: a quarter of a per cent more or less is heard after some seconds.
FOLLOW_EVERY = 4


# Extending


def extend_plays(
    open_: tuple[Play, ...], past: Sequence[Segment], references: References, thresholds: Thresholds
) -> tuple[tuple[Play, ...], dict[uuid.UUID, float]]:
    """Each play with the newest segment, if that agrees with it; and the cosines of that segment, by play."""
    tails = {play.id: _tail(play, past) for play in open_}
    heard = {
        play.id: AlignmentScores.of(references[play.track], tails[play.id], play.line)
        for play in open_
        if play.track in references
    }
    out = []
    for play in open_:
        if play.id in heard:
            own = heard[play.id]
            for other in open_:
                if other.id in heard and heard[other.id].scores[-1] > heard[play.id].scores[-1]:
                    own = own.subtract(_explained(own.line, play.track, other, tails[play.id], references))
            play = _with_tail(play, tails[play.id], heard[play.id].scores, own, past, references, thresholds)
        out.append(play)
    return tuple(out), {play: float(along.scores[-1]) for play, along in heard.items() if len(along.scores)}


def _tail(play: Play, past: Sequence[Segment]) -> Sequence[Segment]:
    """What was heard since the play's last agreement."""
    first = len(past)
    while first > 0 and past[first - 1].start > play.end - SEGMENT_SAMPLES:
        first -= 1
    return past[first:]


def _explained(line: Alignment, track: int, play: Play, segments: Sequence[Segment], references: References) -> Floats:
    """How much of the cosines along a line a play of another track, or of another place, would give by itself."""
    other = references[play.track]
    theirs = cosines(other, segments, [play.line])[0]
    alike = track_similarity(references[track], line, other, play.line, [segment.start for segment in segments])
    return explained_similarity(theirs, alike)


def _with_tail(
    play: Play,
    tail: Sequence[Segment],
    scores: Floats,
    own: AlignmentScores,
    past: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
) -> Play:
    """The play up to the newest segment, if that agrees: by `scores`, of which `own` is what no other explains."""
    if np.isnan(scores[-1]):
        return play
    is_next = len(tail) == 1 and scores[-1] >= EDGE_SHARE * play.score
    minimum = 0.0 if is_next else thresholds.resume_llr
    openings = own.opening_llrs(thresholds)
    tests = [own.llr(thresholds.curve), *openings[1:]]
    agreeing = (first for weights in tests if (first := _agrees_from(weights, minimum)) is not None)
    if (first := next(agreeing, None)) is None:
        return play
    heard = scores[first:][~np.isnan(scores[first:])]
    end = tail[-1].start + SEGMENT_SAMPLES
    longer = replace(
        play,
        end=end,
        track_end=round(play.line.at(end)),
        score_sum=play.score_sum + float(heard.sum()),
        scored=play.scored + len(heard),
        llr=play.llr + max(float(values[first:].sum()) for values in openings),
        bridged=play.bridged + max(0, tail[first].start - play.end),
    )
    if longer.scored // FOLLOW_EVERY == play.scored // FOLLOW_EVERY:
        return longer
    return _followed(longer, past, references[play.track])


def _agrees_from(weights: Floats, minimum: float) -> int | None:
    """From where on most speaks for the play up to the newest segment; None if that does not, or all too little."""
    sums = suffix_sums(weights)
    first = int(sums.argmax())
    return first if weights[-1] > 0 and sums[first] >= minimum else None


def _followed(play: Play, past: Sequence[Segment], reference: Reference) -> Play:
    last = [segment for segment in past[-FIRST_SEGMENTS:] if segment.start >= play.start]
    line = refine_alignment(reference, last, play.line)
    return replace(play, track_end=round(line.position), speed=line.speed) if is_continued_by(play, line) else play
