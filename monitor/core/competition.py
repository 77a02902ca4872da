"""Decides what a new play does to those that are open: beside, instead, or not at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment import AlignmentScores, explained_similarity, track_similarity
from monitor.core.candidates import Candidate, first_segment
from monitor.core.extension import EDGE_SHARE, extend_plays
from monitor.core.likelihood import LlrCurve, suffix_sums
from monitor.core.play import Play, PlayId, cut_end, cut_start, is_continued_by
from monitor.core.reference import Floats, References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds

EDGE_SEGMENTS = 2  # so many can lie partly outside
# A line that was chosen among a hundred to fit what was heard last fits by chance as well as one in a hundred does.
MOVE_COST = 4.6


# Admitting it beside the plays on air, or in the place of one


def resolve_candidate(
    candidate: Candidate,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    ended: Sequence[Play],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> tuple[tuple[Play, ...], list[Play]]:
    """The plays on air once the candidate is judged beside them, and those that it has put an end to."""
    left, weaker = candidate.along, []
    for play in open_:
        if play.track not in references:
            continue
        is_same = play.track == candidate.track
        if is_same and is_continued_by(play, candidate.line):
            is_on_air = play.end == past[-1].start + SEGMENT_SAMPLES
            return open_ if is_on_air else realign(play, candidate, past, open_, references, thresholds), []
        rival = CompetingPlay.of(play, candidate, past, references)
        if rival.is_weaker and (is_same or rival.llr(thresholds.curve) < thresholds.resume_llr):
            weaker.append(play)
        elif is_same:
            left = left.without(rival.is_there)
        elif not rival.is_weaker:
            left = left.subtract(rival.explains)
    others = (play for play in (*ended, *open_) if play.track == candidate.track and play not in weaker)
    earliest = max((play.end for play in others), default=past[0].start)
    left = left.without(np.array([segment.start < earliest - HOP_SAMPLES for segment in past]))
    proof = left.best_llr(thresholds)
    if proof < thresholds.open_llr:
        return open_, []
    new = _opened(candidate, first_segment(left, thresholds), proof, earliest, past, play_id)
    while any(play.id == new.id for play in (*open_, *ended)):  # of a play that turned out to be another track's
        new = replace(new, id=play_id(new.track, new.id.int % HOP_SAMPLES))
    return replace_plays(new, weaker, open_)


@dataclass(frozen=True, slots=True)
class CompetingPlay:
    """A play on air beside a candidate for the same sound, over what both are about.

    own, theirs: the candidate and the play; alike: cosines of the two tracks with each other there.
    """

    own: AlignmentScores
    theirs: AlignmentScores
    alike: Floats

    @classmethod
    def of(cls, play: Play, candidate: Candidate, past: Sequence[Segment], references: References) -> CompetingPlay:
        starts = [segment.start for segment in past]
        apart = np.array([start < play.start or i < candidate.first for i, start in enumerate(starts)])
        theirs = AlignmentScores.of(references[play.track], past, play.line).without(apart)
        alike = track_similarity(references[candidate.track], candidate.line, references[play.track], play.line, starts)
        return cls(candidate.along, theirs, alike)

    @property
    def is_there(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.theirs.scores)

    @property
    def is_weaker(self) -> bool:
        """Whether the candidate fits better than the play."""
        return float(np.nansum(self.own.scores - self.theirs.scores)) > 0

    @property
    def explains(self) -> Floats:
        """What of the candidate's cosines the play would give by itself."""
        return explained_similarity(self.theirs.scores, self.alike)

    def llr(self, curve: LlrCurve) -> float:
        """The play's, without what the candidate would give by itself."""
        left = self.theirs.subtract(explained_similarity(self.own.scores, self.alike))
        return float(suffix_sums(left.llr(curve)).max(initial=0.0))


def replace_plays(new: Play, weaker: Sequence[Play], open_: tuple[Play, ...]) -> tuple[tuple[Play, ...], list[Play]]:
    """The new play, in the place of those that it explains: of those that began with it one is the same, better named.

    If one is of its own track it is that, as they cannot both have been there; else the last.
    """
    begun = [play for play in weaker if play.start >= new.start - SEGMENT_SAMPLES]
    taken = max(begun, key=lambda play: (play.track == new.track, play.start), default=None)
    cut = []
    for play in weaker:
        if play.start < new.start and play is not taken:
            cut.append(cut_end(play, new.start))
        elif play is not taken:
            cut.append(play)
            new = cut_start(new, play.end) if play.track == new.track else new
    if taken is not None:
        new = replace(new, id=taken.id)
    return (*(play for play in open_ if play not in weaker), new), cut


def realign(
    play: Play,
    candidate: Candidate,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
) -> tuple[Play, ...]:
    """The plays, this one on the candidate's line, which is a little beside its own, if it was heard there."""
    line = candidate.line
    there = replace(play, track_end=round(line.at(play.end)), speed=line.speed)
    stricter = replace(thresholds, resume_llr=thresholds.resume_llr + MOVE_COST)
    (longer,), _ = extend_plays((there,), past, references, stricter)
    return open_ if longer is there else tuple(longer if other is play else other for other in open_)


def _opened(
    candidate: Candidate, first: int, proof: float, earliest: int, past: Sequence[Segment], play_id: PlayId
) -> Play:
    """A play from the first segment that lies within the track to the newest."""
    scores = candidate.along.scores
    usual = float(np.nanmedian(scores[first:]))
    for _ in range(EDGE_SEGMENTS):
        if first + 1 < len(past) and not scores[first] >= EDGE_SHARE * usual:
            first += 1
    heard = scores[first:][~np.isnan(scores[first:])]
    start, end, line = max(earliest, past[first].start), past[-1].start + SEGMENT_SAMPLES, candidate.line
    return Play(
        id=play_id(candidate.track, start),
        track=candidate.track,
        start=start,
        end=end,
        track_start=max(0, round(line.at(start))),
        track_end=round(line.at(end)),
        speed=line.speed,
        score_sum=float(heard.sum()),
        scored=len(heard),
        llr=proof,
        is_ambiguous=candidate.is_ambiguous,
    )
