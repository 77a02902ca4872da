"""Explains a moment of a stream: which alignments with tracks were in question, and what became of each.

The plays are the tracker's own. Any other alignment is judged as the tracker judges it, at the moment when its LLR is
largest. The tracker's limits do not apply here, to show by how much the alignment was refused.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from monitor.core.alignment.alignment import SAME_ALIGNMENT_SAMPLES, Alignment
from monitor.core.alignment.cosines import explained_similarity, track_similarity
from monitor.core.alignment.cross_similarity import best_alignments, cross_similarity
from monitor.core.alignment.fitting import FIRST_FIT_SEGMENTS, fit_alignment
from monitor.core.alignment.scores import AlignmentScores
from monitor.core.likelihood import LlrCurve
from monitor.core.reference import Reference, References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.candidates import first_segment, in_any_play
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import advance, propose

# The tracker does not examine alignments with so few votes. The best of them are examined here, to report that.
MIN_VOTES = 0.05
MAX_WEAK_PROPOSALS = 40
MAX_HYPOTHESES = 8
MAX_POSITIONS = 2  # in one track, unless it was requested: a track that repeats itself would hide the others
# A requested track is searched for at all positions, with the newest eight seconds, every four seconds.
SEARCH_EVERY_SEGMENTS = FIRST_FIT_SEGMENTS // 2


class Verdict(StrEnum):
    """The outcome of a hypothesis: the first reason against it."""

    PLAY = "play"
    LLR_TOO_LOW = "llr_too_low"
    EXPLAINED = "explained_by_another_play"
    TOO_FEW_HITS = "too_few_hits"
    NOT_ADMITTED = "not_admitted"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An alignment with a track, and how strongly it is supported.

    start, end: stream clock of the interval with the largest LLR; of a play, its own interval.
    votes: largest votes of the hits along the alignment at any moment.
    llr: exact, by the tests that open plays.
    llr_left: the part of it that no other play of the same sound explains.
    cosine: mean over the segments that were compared.
    local_context: mean similarity to the surroundings of their positions in the track.
    weight: share of their LLR that counts; less than 1 where the track hardly changes.
    n_compared: segments that were compared.
    explained_by: track of the play that explains most of the same sound.
    """

    track: int
    verdict: Verdict
    alignment: Alignment
    start: int
    end: int
    votes: float
    llr: float
    llr_left: float
    cosine: float
    local_context: float
    weight: float
    n_compared: int
    explained_by: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The hypotheses considered in the interval [begin, end) of a stream clock.

    n_segments: segments that lie in it, at least partly.
    n_silent: of these, silent ones, which are never searched.
    hypotheses: plays first, then by LLR.
    """

    begin: int
    end: int
    n_segments: int
    n_silent: int
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A proposed alignment, judged at the moment of the last of the segments `past`.

    first: index of the segment in which the track is first heard.
    """

    track: int
    scores: AlignmentScores
    past: Sequence[Segment]
    first: int
    votes: float
    llr: float

    @property
    def alignment(self) -> Alignment:
        return self.scores.alignment

    @property
    def start(self) -> int:
        return self.past[self.first].start

    @property
    def end(self) -> int:
        return self.past[-1].start + SEGMENT_SAMPLES

    def is_about(self, begin: int, end: int) -> bool:
        """Whether some of the sound that it explains lies in the interval [begin, end)."""
        compared = zip(self.past[self.first :], ~np.isnan(self.scores.cosines[self.first :]), strict=True)
        return any(heard and _overlaps(one.start, one.start + SEGMENT_SAMPLES, begin, end) for one, heard in compared)


def tracks_in_question(
    segments: Sequence[Segment], thresholds: Thresholds, begin: int, end: int, track: int | None = None
) -> set[int]:
    """Tracks whose references `explain` uses."""
    strong = {one.track for proposed in propose(segments, len(segments), thresholds) for one in proposed}
    weak = {one.track for _, one in _proposed(segments, thresholds, begin, track)}
    return strong | weak | ({track} if track is not None else set())


def explain(
    segments: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
    begin: int,
    end: int,
    track: int | None = None,
) -> Explanation:
    """Explains the interval [begin, end) of a stream clock.

    Args:
        segments: with their hits, from what the tracker would remember before `begin` to a longest gap after `end`.
        references: of the tracks that `tracks_in_question` names.
        track: explain only alignments with this track, at any position in it, whether hits propose them or not.
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
    found += [_of_judged(one, plays, references, thresholds) for one in _distinct(judged, here)]
    found.sort(key=lambda each: (each.verdict is not Verdict.PLAY, -each.llr, each.track))
    shown = found if track is not None else _limit_positions(found)
    n_silent = sum(segment.vector is None for segment in asked)
    return Explanation(begin, end, len(asked), n_silent, tuple(shown[:MAX_HYPOTHESES]))


def _overlaps(start: int, stop: int, begin: int, end: int) -> bool:
    return start < end and stop > begin


def _plays(segments: Sequence[Segment], references: References, thresholds: Thresholds) -> tuple[Play, ...]:
    """The plays that the tracker finds."""
    proposals = propose(segments, len(segments), thresholds)
    update = advance(segments, proposals, (), (), references, thresholds, _play_id)
    return (*update.closed, *update.open)


def _play_id(track: int, start: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{track}/{start}")


def _proposed(
    segments: Sequence[Segment], thresholds: Thresholds, begin: int, track: int | None
) -> list[tuple[int, Proposal]]:
    """Proposals of the segments starting at `begin`, each with the segment's index; only the best of the weak ones."""
    if track is not None:
        segments = [replace(one, hits=tuple(hit for hit in one.hits if hit.track == track)) for one in segments]
    first = _first_reaching(segments, begin)
    everything = propose(segments, len(segments) - first, replace(thresholds, vote_llr=MIN_VOTES))
    found = [(i, proposal) for i, proposed in enumerate(everything, start=first) for proposal in proposed]
    found.sort(key=lambda each: -each[1].votes)
    n_strong = sum(proposal.votes >= thresholds.vote_llr for _, proposal in found)
    return found[: n_strong + MAX_WEAK_PROPOSALS]


def _first_reaching(segments: Sequence[Segment], begin: int) -> int:
    """Index of the first segment that reaches beyond `begin`."""
    return bisect_left(segments, begin - SEGMENT_SAMPLES + 1, key=lambda segment: segment.start)


def _moments(
    segments: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
    begin: int,
    end: int,
    track: int | None,
) -> Iterator[tuple[Sequence[Segment], Proposal]]:
    """The proposals in question, each with the segments that were remembered when it was made."""
    in_question = _proposed(segments, thresholds, begin, track)
    if track is not None and track in references:
        in_question += _search(segments, references[track], track, thresholds.tracking_curve, begin, end)
    for i, proposal in in_question:
        horizon = segments[i].start - thresholds.memory_samples
        yield segments[bisect_left(segments, horizon, key=lambda segment: segment.start) : i + 1], proposal


def _search(
    segments: Sequence[Segment], reference: Reference, track: int, curve: LlrCurve, begin: int, end: int
) -> Iterator[tuple[int, Proposal]]:
    """The alignments with one track that fit best in the interval [begin, end), regardless of the hits."""
    first = _first_reaching(segments, begin)
    last = bisect_left(segments, end, key=lambda segment: segment.start) - 1
    for newest in range(min(last + SEARCH_EVERY_SEGMENTS, len(segments) - 1), first - 1, -SEARCH_EVERY_SEGMENTS):
        heard = segments[max(0, newest - FIRST_FIT_SEGMENTS + 1) : newest + 1]
        for hops in best_alignments(curve(cross_similarity(reference, heard))):
            yield newest, Proposal(track, Alignment(segments[newest].start, hops * HOP_SAMPLES), 0.0, 0.0)


def _judge(
    past: Sequence[Segment],
    proposal: Proposal,
    plays: Iterable[Play],
    references: References,
    thresholds: Thresholds,
) -> _Judged | None:
    """Judges a proposal; None without a reference, or if no segment can be compared."""
    reference = references.get(proposal.track)
    if reference is None:
        return None
    scores = fit_alignment(reference, past, proposal.alignment, thresholds.tracking_curve, -np.inf)
    if scores is None:
        return None
    scores = scores.ignore_deficit(in_any_play(past, (play for play in plays if play.track != proposal.track)))
    first = first_segment(scores, thresholds)
    llr = scores.best_llr(thresholds)
    if np.isnan(scores.cosines[first:]).all():
        return None
    return _Judged(proposal.track, scores, past, first, proposal.votes, llr)


def _distinct(judged: Iterable[_Judged], plays: Iterable[Play]) -> list[_Judged]:
    """One for each alignment, judged where its LLR is largest; none for alignments of plays."""
    kept: list[_Judged] = []
    for one in sorted(judged, key=lambda each: -each.llr):
        if any(_is_on(one, play.track, play.alignment) for play in plays):
            continue
        same = next((i for i, other in enumerate(kept) if _is_on(one, other.track, other.alignment)), None)
        if same is None:
            kept.append(one)
        else:
            kept[same] = replace(kept[same], votes=max(kept[same].votes, one.votes))
    return kept


def _is_on(judged: _Judged, track: int, alignment: Alignment) -> bool:
    """Whether its alignment is the same as another one, or crosses it, at a speed that fits less well."""
    first, last = (
        judged.alignment.position_at(instant) - alignment.position_at(instant) for instant in (judged.start, judged.end)
    )
    return judged.track == track and (min(abs(first), abs(last)) <= SAME_ALIGNMENT_SAMPLES or first * last < 0)


def _limit_positions(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """All plays, and a few other positions in each track."""
    kept: list[Hypothesis] = []
    for one in hypotheses:
        others = sum(other.track == one.track and other.verdict is not Verdict.PLAY for other in kept)
        if one.verdict is Verdict.PLAY or others < MAX_POSITIONS:
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
    scores = AlignmentScores.of(references[play.track], heard, play.alignment)
    return Hypothesis(
        track=play.track,
        verdict=Verdict.PLAY,
        alignment=Alignment(play.start, play.track_start, play.mean_speed),
        start=play.start,
        end=play.end,
        votes=max((one.votes for one in judged if _is_on(one, play.track, play.alignment)), default=0.0),
        llr=play.llr,
        llr_left=play.llr,
        cosine=play.score,
        local_context=_mean_local_context(scores),
        weight=_weight(scores, thresholds.opening_curve),
        n_compared=play.scored,
    )


def _of_judged(one: _Judged, plays: Iterable[Play], references: References, thresholds: Thresholds) -> Hypothesis:
    scores = one.scores.from_segment(one.first)
    llr_left, explained_by = _llr_left(one, plays, references, thresholds)
    return Hypothesis(
        track=one.track,
        verdict=_verdict(one, llr_left, thresholds),
        alignment=one.alignment,
        start=one.start,
        end=one.end,
        votes=one.votes,
        llr=one.llr,
        llr_left=llr_left,
        cosine=float(np.nanmean(scores.cosines)),
        local_context=_mean_local_context(scores),
        weight=_weight(scores, thresholds.opening_curve),
        n_compared=int((~np.isnan(scores.cosines)).sum()),
        explained_by=explained_by,
    )


def _verdict(one: _Judged, llr_left: float, thresholds: Thresholds) -> Verdict:
    if one.llr < thresholds.open_llr:
        return Verdict.LLR_TOO_LOW
    if llr_left < thresholds.open_llr:
        return Verdict.EXPLAINED
    return Verdict.TOO_FEW_HITS if one.votes < thresholds.vote_llr else Verdict.NOT_ADMITTED


def _mean_local_context(scores: AlignmentScores) -> float:
    compared = ~np.isnan(scores.cosines)
    return float(scores.local_context[compared].mean()) if compared.any() else 0.0


def _weight(scores: AlignmentScores, curve: LlrCurve) -> float:
    """Share of the LLR by cosine alone that is left after weighting by distinctiveness."""
    unweighted = float(np.abs(curve(scores.cosines)).sum())
    return float(np.abs(scores.llrs(curve)).sum()) / unweighted if unweighted else 1.0


def _llr_left(
    one: _Judged, plays: Iterable[Play], references: References, thresholds: Thresholds
) -> tuple[float, int | None]:
    """The LLR that is left beside plays that fit the same sound better, and the track whose play explains most."""
    left, explained = one.scores, {}
    for play in plays:
        apart = [i < one.first or not play.start <= segment.start < play.end for i, segment in enumerate(one.past)]
        theirs = AlignmentScores.of(references[play.track], one.past, play.alignment).mask(np.array(apart))
        both = ~np.isnan(theirs.cosines) & ~np.isnan(one.scores.cosines)
        if not both.any():
            continue
        before = left
        if play.track == one.track:  # a track is at one position at a time
            left = left.mask(both)
        elif (one.scores.cosines - theirs.cosines)[both].sum() <= 0:
            starts = [segment.start for segment in one.past]
            similarity = track_similarity(
                references[one.track], one.alignment, references[play.track], play.alignment, starts
            )
            left = left.subtract(explained_similarity(theirs.cosines, similarity))
        explained[play.track] = float(np.nansum(before.cosines) - np.nansum(left.cosines))
    most = max(explained, key=lambda track: explained[track], default=None)
    return max(0.0, left.best_llr(thresholds)), most if most and explained[most] > 0 else None
