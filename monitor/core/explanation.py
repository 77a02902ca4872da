"""Explains a moment of a stream: which lines through tracks were in question, and what became of each. Pure.

The plays are the tracker's own. A line that became none is judged as the tracker judges it, at the moment at which most
speaks for it, but without its limits: so that one sees by how much it was refused.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment import (
    FIRST_SEGMENTS,
    AlignmentScores,
    explained_similarity,
    fit_alignment,
    track_similarity,
)
from monitor.core.candidates import in_any_play
from monitor.core.hough_votes import Proposal
from monitor.core.likelihood import LlrCurve
from monitor.core.play import SAME_LINE_SAMPLES, Alignment, Play
from monitor.core.reference import Reference, References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.similarity import best_alignments, similarity
from monitor.core.thresholds import Thresholds
from monitor.core.tracker import advance, propose

Floats = NDArray[np.floating[Any]]

# The tracker would not look at lines with so few votes; the best of them are looked at here, to say so.
MIN_VOTES = 0.05
MAX_FAINT = 40
MAX_SHOWN = 8
MAX_PLACES = 2  # of a track that was not asked for: one that repeats itself would hide the others
# A track that is asked for is looked for at all of its places, with the sound of eight seconds, every four.
ANYWHERE_EVERY = FIRST_SEGMENTS // 2


class Verdict(StrEnum):
    """What became of a hypothesis: the first thing that stood against it."""

    PLAY = "play"
    TOO_LITTLE = "llr_too_low"
    EXPLAINED = "explained_by_another_play"
    FEW_HITS = "too_few_hits"
    NOT_ADMITTED = "not_admitted"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A line through a track, and how much speaks for it.

    start, end: stream clock of the stretch that speaks for it most, of a play: of the play. line: it lies on this one.
    votes: most evidence of hits on the line at any moment. evidence: exact, by the tests that open plays; left: of
    that, what is left beside the plays that explain the same sound. cosine: mean of the `compared` segments of the
    stretch; around: the same of the seconds around their places in the track; weight: how much of what these say
    counts, less than 1 where the track hardly changes. explained_by: the track of the play that explains most of it.
    """

    track: int
    verdict: Verdict
    line: Alignment
    start: int
    end: int
    votes: float
    llr: float
    left: float
    cosine: float
    local_context: float
    weight: float
    compared: int
    explained_by: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of the interval [begin, end) of a stream clock.

    segments: that lie in it, at least partly; silent: of these, how many were never searched.
    hypotheses: plays first, then by evidence.
    """

    begin: int
    end: int
    segments: int
    silent: int
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A proposed line at the moment of the newest of `past`; the track seems to be there from `first` of them on."""

    track: int
    along: AlignmentScores
    past: Sequence[Segment]
    first: int
    votes: float
    llr: float

    @property
    def line(self) -> Alignment:
        return self.along.line

    @property
    def start(self) -> int:
        return self.past[self.first].start

    @property
    def end(self) -> int:
        return self.past[-1].start + SEGMENT_SAMPLES

    def is_about(self, begin: int, end: int) -> bool:
        """Whether some of the sound that it explains lies in an interval."""
        there = zip(self.past[self.first :], ~np.isnan(self.along.scores[self.first :]), strict=True)
        return any(heard and _overlaps(one.start, one.start + SEGMENT_SAMPLES, begin, end) for one, heard in there)


def tracks_in_question(
    segments: Sequence[Segment], thresholds: Thresholds, begin: int, end: int, track: int | None = None
) -> set[int]:
    """Tracks whose exact vectors `explain` looks at."""
    strong = {one.track for proposed in propose(segments, len(segments), thresholds) for one in proposed}
    faint = {one.track for _, one in _proposed(segments, thresholds, begin, track)}
    return strong | faint | ({track} if track is not None else set())


def explain(
    segments: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
    begin: int,
    end: int,
    track: int | None = None,
) -> Explanation:
    """What was in question in [begin, end) of a stream clock, and why it is a play or none.

    segments: with their hits, from what the tracker would remember before `begin` to a hole's length behind `end`.
    track: only lines through this one, and these wherever they lie in it, proposed by hits or not.
    """
    asked = [segment for segment in segments if _overlaps(segment.start, segment.start + SEGMENT_SAMPLES, begin, end)]
    plays = _plays(segments, references, thresholds)
    here = [play for play in plays if _overlaps(play.start, play.end, begin, end)]
    judged = [
        one
        for past, proposal in _moments(segments, references, thresholds, begin, end, track)
        if (one := _judge(past, proposal, plays, references, thresholds)) and one.is_about(begin, end)
    ]
    found = [_of_play(play, judged, segments, references, thresholds) for play in here if track in (None, play.track)]
    for one in _apart(judged, here):
        found.append(_of_line(one, plays, references, thresholds))
    found.sort(key=lambda each: (each.verdict is not Verdict.PLAY, -each.llr, each.track))
    shown = found if track is not None else _varied(found)
    silent = sum(segment.vector is None for segment in asked)
    return Explanation(begin, end, len(asked), silent, tuple(shown[:MAX_SHOWN]))


def _overlaps(start: int, stop: int, begin: int, end: int) -> bool:
    return start < end and stop > begin


def _plays(segments: Sequence[Segment], references: References, thresholds: Thresholds) -> tuple[Play, ...]:
    """What the tracker makes of it all."""
    proposals = propose(segments, len(segments), thresholds)
    step = advance(segments, proposals, (), (), references, thresholds, _play_id)
    return (*step.closed, *step.open)


def _play_id(track: int, start: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{track}/{start}")


# Lines in question, each with what had been heard when it was


def _proposed(
    segments: Sequence[Segment], thresholds: Thresholds, begin: int, track: int | None
) -> list[tuple[int, Proposal]]:
    """What the hits of the segments from `begin` on propose, with the segment's index; of faint ones, the best."""
    if track is not None:
        segments = [replace(one, hits=tuple(hit for hit in one.hits if hit.track == track)) for one in segments]
    first = bisect_left(segments, begin - SEGMENT_SAMPLES + 1, key=lambda segment: segment.start)
    everything = propose(segments, len(segments) - first, replace(thresholds, vote_llr=MIN_VOTES))
    found = [(i, proposal) for i, proposed in enumerate(everything, start=first) for proposal in proposed]
    found.sort(key=lambda each: -each[1].votes)
    n_strong = sum(proposal.votes >= thresholds.vote_llr for _, proposal in found)
    return found[: n_strong + MAX_FAINT]


def _moments(
    segments: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
    begin: int,
    end: int,
    track: int | None,
) -> Iterator[tuple[Sequence[Segment], Proposal]]:
    in_question = _proposed(segments, thresholds, begin, track)
    if track is not None and track in references:
        in_question += _anywhere(segments, references[track], track, thresholds.curve, begin, end)
    for i, proposal in in_question:
        horizon = segments[i].start - thresholds.memory_samples
        yield segments[bisect_left(segments, horizon, key=lambda segment: segment.start) : i + 1], proposal


def _anywhere(
    segments: Sequence[Segment], reference: Reference, track: int, curve: LlrCurve, begin: int, end: int
) -> Iterator[tuple[int, Proposal]]:
    """The places of a track that are most like the sound between two instants, whatever the hits say."""
    first = bisect_left(segments, begin - SEGMENT_SAMPLES + 1, key=lambda segment: segment.start)
    last = bisect_left(segments, end, key=lambda segment: segment.start) - 1
    for newest in range(min(last + ANYWHERE_EVERY, len(segments) - 1), first - 1, -ANYWHERE_EVERY):
        heard = segments[max(0, newest - FIRST_SEGMENTS + 1) : newest + 1]
        for place in best_alignments(curve(similarity(reference, heard))):
            yield newest, Proposal(track, Alignment(segments[newest].start, place * HOP_SAMPLES), 0.0, 0.0)


# Judging them


def _judge(
    past: Sequence[Segment],
    proposal: Proposal,
    plays: Iterable[Play],
    references: References,
    thresholds: Thresholds,
) -> _Judged | None:
    reference = references.get(proposal.track)
    along = None if reference is None else fit_alignment(reference, past, proposal.line, thresholds.curve, -np.inf)
    if along is None:
        return None
    along = along.ignore_deficit(in_any_play(past, (play for play in plays if play.track != proposal.track)))
    first, _ = along.stretch(thresholds.curve, thresholds)
    llr = along.best_llr(thresholds)
    if np.isnan(along.scores[first:]).all():
        return None
    return _Judged(proposal.track, along, past, first, proposal.votes, llr)


def _apart(judged: Iterable[_Judged], plays: Iterable[Play]) -> list[_Judged]:
    """One for each line, where most speaks for it; none for those that a play is on."""
    kept: list[_Judged] = []
    for one in sorted(judged, key=lambda each: -each.llr):
        if any(_is_on(one, play.track, play.line) for play in plays):
            continue
        same = next((i for i, other in enumerate(kept) if _is_on(one, other.track, other.line)), None)
        if same is None:
            kept.append(one)
        else:
            kept[same] = replace(kept[same], votes=max(kept[same].votes, one.votes))
    return kept


def _is_on(judged: _Judged, track: int, line: Alignment) -> bool:
    """Whether its line is another's, or the same at a speed that fits less well, which crosses it."""
    first, last = (judged.line.at(instant) - line.at(instant) for instant in (judged.start, judged.end))
    return judged.track == track and (min(abs(first), abs(last)) <= SAME_LINE_SAMPLES or first * last < 0)


def _varied(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """All plays, and a few places of each track."""
    kept: list[Hypothesis] = []
    for one in hypotheses:
        others = sum(other.track == one.track and other.verdict is not Verdict.PLAY for other in kept)
        if one.verdict is Verdict.PLAY or others < MAX_PLACES:
            kept.append(one)
    return kept


def _of_play(
    play: Play,
    judged: Iterable[_Judged],
    segments: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
) -> Hypothesis:
    heard = [segment for segment in segments if play.start <= segment.start < play.end]
    along = AlignmentScores.of(references[play.track], heard, play.line)
    return Hypothesis(
        track=play.track,
        verdict=Verdict.PLAY,
        line=Alignment(play.start, play.track_start, play.mean_speed),
        start=play.start,
        end=play.end,
        votes=max((one.votes for one in judged if _is_on(one, play.track, play.line)), default=0.0),
        llr=play.llr,
        left=play.llr,
        cosine=play.score,
        local_context=_around(along),
        weight=_weight(along, thresholds.opening),
        compared=play.scored,
    )


def _of_line(one: _Judged, plays: Iterable[Play], references: References, thresholds: Thresholds) -> Hypothesis:
    heard = one.along.since(one.first)
    left, by = _left(one, plays, references, thresholds)
    return Hypothesis(
        track=one.track,
        verdict=_verdict(one, left, thresholds),
        line=one.line,
        start=one.start,
        end=one.end,
        votes=one.votes,
        llr=one.llr,
        left=left,
        cosine=float(np.nanmean(heard.scores)),
        local_context=_around(heard),
        weight=_weight(heard, thresholds.opening),
        compared=int((~np.isnan(heard.scores)).sum()),
        explained_by=by,
    )


def _verdict(one: _Judged, left: float, thresholds: Thresholds) -> Verdict:
    if one.llr < thresholds.open_llr:
        return Verdict.TOO_LITTLE
    if left < thresholds.open_llr:
        return Verdict.EXPLAINED
    return Verdict.FEW_HITS if one.votes < thresholds.vote_llr else Verdict.NOT_ADMITTED


def _around(along: AlignmentScores) -> float:
    compared = ~np.isnan(along.scores)
    return float(along.local_context[compared].mean()) if compared.any() else 0.0


def _weight(along: AlignmentScores, curve: LlrCurve) -> float:
    in_full = float(np.abs(curve(along.scores)).sum())
    return float(np.abs(along.llr(curve)).sum()) / in_full if in_full else 1.0


def _left(
    one: _Judged, plays: Iterable[Play], references: References, thresholds: Thresholds
) -> tuple[float, int | None]:
    """The evidence that is left beside the plays that fit the same sound better, and whose play explains most."""
    left, taken = one.along, {}
    for play in plays:
        apart = [i < one.first or not play.start <= segment.start < play.end for i, segment in enumerate(one.past)]
        theirs = AlignmentScores.of(references[play.track], one.past, play.line).without(np.array(apart))
        both = ~np.isnan(theirs.scores) & ~np.isnan(one.along.scores)
        if not both.any():
            continue
        before = left
        if play.track == one.track:  # one place of a track at a time
            left = left.without(both)
        elif (one.along.scores - theirs.scores)[both].sum() <= 0:
            starts = [segment.start for segment in one.past]
            alike = track_similarity(references[one.track], one.line, references[play.track], play.line, starts)
            left = left.subtract(explained_similarity(theirs.scores, alike))
        taken[play.track] = float(np.nansum(before.scores) - np.nansum(left.scores))
    by = max(taken, key=lambda track: taken[track], default=None)
    return max(0.0, left.best_llr(thresholds)), by if by and taken[by] > 0 else None
