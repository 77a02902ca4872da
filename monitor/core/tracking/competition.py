"""Decides what a candidate does to the plays on air: it opens beside them, replaces some of them, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.core.alignment.cosines import explained_similarity, track_similarity
from monitor.core.alignment.scores import AlignmentScores
from monitor.core.arrays import Bools, Floats
from monitor.core.likelihood import LlrCurve, suffix_sums
from monitor.core.reference import References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.candidates import Candidate, first_segment
from monitor.core.tracking.extension import EDGE_SHARE, extend_plays
from monitor.core.tracking.play import Play, PlayId, cut_end, cut_start, is_continued_by

MAX_EDGE_SEGMENTS = 2  # that lie partly outside the track
# The best of a hundred alignments fits by chance as well as one in a hundred does: ln(100).
REALIGN_COST_LLR = 4.6


def resolve_candidate(
    candidate: Candidate,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    ended: Sequence[Play],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> tuple[tuple[Play, ...], list[Play]]:
    """Compares a candidate with the plays on air that explain the same sound.

    Args:
        past: the remembered segments, oldest first.
        open_: the plays on air.
        ended: plays that ended within the remembered time. No play of their track may reach back into them.

    Returns:
        The plays on air afterward, and the plays that it ended.
    """
    for play in open_:
        if play.track == candidate.track and play.track in references and is_continued_by(play, candidate.alignment):
            is_on_air = play.end == past[-1].start + SEGMENT_SAMPLES
            return open_ if is_on_air else realign(play, candidate, past, open_, references, thresholds), []
    left, weaker = _compete(candidate, past, open_, references, thresholds)
    others = (play for play in (*ended, *open_) if play.track == candidate.track and play not in weaker)
    earliest = max((play.end for play in others), default=past[0].start)
    left = left.mask(np.array([segment.start < earliest - HOP_SAMPLES for segment in past]))
    llr = left.best_llr(thresholds)
    if llr < thresholds.open_llr:
        return open_, []
    new = _open(candidate, first_segment(left, thresholds), llr, earliest, past, play_id)
    while any(play.id == new.id for play in (*open_, *ended)):  # of a play that turned out to be of another track
        new = replace(new, id=play_id(new.track, new.id.int % HOP_SAMPLES))
    return replace_plays(new, weaker, open_)


def _compete(
    candidate: Candidate,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
) -> tuple[AlignmentScores, list[Play]]:
    """The candidate's scores without what stronger plays explain, and the weaker plays, which it explains."""
    left, weaker = candidate.scores, []
    for play in open_:
        if play.track not in references:
            continue
        is_same_track = play.track == candidate.track
        rival = CompetingPlay.of(play, candidate, past, references)
        if rival.is_weaker and (is_same_track or rival.llr(thresholds.tracking_curve) < thresholds.resume_llr):
            weaker.append(play)
        elif is_same_track:
            left = left.mask(rival.is_compared)
        elif not rival.is_weaker:
            left = left.subtract(rival.explained)
    return left, weaker


@dataclass(frozen=True, slots=True)
class CompetingPlay:
    """A play on air compared with a candidate for the same sound, over the segments that both explain.

    own, theirs: scores of the candidate and of the play.
    similarity: cosines of the two tracks with each other there, float32 (n,).
    """

    own: AlignmentScores
    theirs: AlignmentScores
    similarity: Floats

    @classmethod
    def of(cls, play: Play, candidate: Candidate, past: Sequence[Segment], references: References) -> CompetingPlay:
        """Compares a play with a candidate over the remembered segments."""
        starts = [segment.start for segment in past]
        apart = np.array([start < play.start or i < candidate.first for i, start in enumerate(starts)])
        theirs = AlignmentScores.of(references[play.track], past, play.alignment).mask(apart)
        similarity = track_similarity(
            references[candidate.track], candidate.alignment, references[play.track], play.alignment, starts
        )
        return cls(candidate.scores, theirs, similarity)

    @property
    def is_compared(self) -> Bools:
        """Which segments both explain, bool (n,)."""
        return ~np.isnan(self.theirs.cosines)

    @property
    def is_weaker(self) -> bool:
        """Whether the play fits less well than the candidate."""
        return float(np.nansum(self.own.cosines - self.theirs.cosines)) > 0

    @property
    def explained(self) -> Floats:
        """The part of the candidate's cosines that the play accounts for, (n,)."""
        return explained_similarity(self.theirs.cosines, self.similarity)

    def llr(self, curve: LlrCurve) -> float:
        """The play's LLR without what the candidate accounts for."""
        left = self.theirs.subtract(explained_similarity(self.own.cosines, self.similarity))
        return float(suffix_sums(left.llrs(curve)).max(initial=0.0))


def replace_plays(new: Play, weaker: Sequence[Play], open_: tuple[Play, ...]) -> tuple[tuple[Play, ...], list[Play]]:
    """Replaces the weaker plays whose sound a new play explains.

    If some of these began with it, it takes over the ID of one of them: of a play of its own track, as both cannot have
    been heard, or else of the last one. Weaker plays that began earlier end where it starts.

    Returns:
        The plays on air afterward, and the plays that ended.
    """
    begun = [play for play in weaker if play.start >= new.start - SEGMENT_SAMPLES]
    taken_over = max(begun, key=lambda play: (play.track == new.track, play.start), default=None)
    cut = []
    for play in weaker:
        if play.start < new.start and play is not taken_over:
            cut.append(cut_end(play, new.start))
        elif play is not taken_over:
            cut.append(play)
            new = cut_start(new, play.end) if play.track == new.track else new
    if taken_over is not None:
        new = replace(new, id=taken_over.id)
    return (*(play for play in open_ if play not in weaker), new), cut


def realign(
    play: Play,
    candidate: Candidate,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
) -> tuple[Play, ...]:
    """Moves a play to the candidate's alignment, close to its own, if that extends it. Returns the plays on air."""
    alignment = candidate.alignment
    moved = replace(play, track_end=round(alignment.position_at(play.end)), speed=alignment.speed)
    stricter = replace(thresholds, resume_llr=thresholds.resume_llr + REALIGN_COST_LLR)
    (extended,), _ = extend_plays((moved,), past, references, stricter)
    return open_ if extended is moved else tuple(extended if other is play else other for other in open_)


def _open(
    candidate: Candidate, first: int, llr: float, earliest: int, past: Sequence[Segment], play_id: PlayId
) -> Play:
    """Opens a play from the first segment that lies within the track to the newest."""
    cosines = candidate.scores.cosines
    typical = float(np.nanmedian(cosines[first:]))
    for _ in range(MAX_EDGE_SEGMENTS):
        if first + 1 < len(past) and not cosines[first] >= EDGE_SHARE * typical:
            first += 1
    heard = cosines[first:][~np.isnan(cosines[first:])]
    alignment = candidate.alignment
    start, end = max(earliest, past[first].start), past[-1].start + SEGMENT_SAMPLES
    return Play(
        id=play_id(candidate.track, start),
        track=candidate.track,
        start=start,
        end=end,
        track_start=max(0, round(alignment.position_at(start))),
        track_end=round(alignment.position_at(end)),
        speed=alignment.speed,
        score_sum=float(heard.sum()),
        scored=len(heard),
        llr=llr,
        is_ambiguous=candidate.is_ambiguous,
    )
