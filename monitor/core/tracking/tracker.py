"""The tracker: from a stream's segments to plays that open, extend and close. A pure function of the last minute.

Every segment is decided on its own and in order, so that a stream gives the same plays however it is cut into batches:
    1. extend    each play on air, if the segment agrees with the track along the play's alignment
    2. examine   each alignment that the segment's hits propose, by the exact cosines of the remembered segments
    3. compare   it with the plays that explain the same sound, by the LLR that is left
    4. open      a play, or move one to the alignment or track that fits all of its sound better
    5. close     plays that no segment has agreed with for too long
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.core.alignment.scores import AlignmentScores
from monitor.core.reference import References
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.candidates import CandidateCooldown, find_candidates, is_redundant
from monitor.core.tracking.competition import resolve_candidate
from monitor.core.tracking.extension import extend_plays
from monitor.core.tracking.hough_votes import WINDOW_SAMPLES, HitVotes, Proposal
from monitor.core.tracking.play import Play, PlayId, cut_end


@dataclass(frozen=True, slots=True)
class TrackerUpdate:
    """The plays after some segments.

    open: on air.
    ended: closed within the remembered time. No other play of their track reaches back into them.
    opened, closed: by these segments. A short play may be in both.
    opened_at: stream clock at which there was enough LLR to open a play, by play.
    """

    open: tuple[Play, ...]
    ended: tuple[Play, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    opened_at: Mapping[uuid.UUID, int]

    def followed_by(self, later: TrackerUpdate) -> TrackerUpdate:
        """Both updates as one."""
        now = {play.id: play for play in (*self.opened, *later.opened, *later.open, *later.closed)}
        closed = {play.id: play for play in (*self.closed, *later.closed)}
        opened_at = {**later.opened_at, **self.opened_at}
        opened = tuple(now[play] for play in {**self.opened_at, **later.opened_at})
        return TrackerUpdate(later.open, later.ended, opened, tuple(closed.values()), opened_at)


def propose(recent: Sequence[Segment], n_new: int, thresholds: Thresholds) -> list[list[Proposal]]:
    """The alignments that each of the last `n_new` segments proposes, together with the preceding segments."""
    if n_new == 0:
        return []
    newest = recent[-n_new:]
    horizon = newest[0].start - WINDOW_SAMPLES  # older hits have no vote
    votes = HitVotes([segment for segment in recent if segment.start >= horizon], thresholds.tracking_curve)
    return [votes.proposals(segment, thresholds.vote_llr) for segment in newest]


def tracks_needed(proposals: Iterable[Sequence[Proposal]], open_: Iterable[Play]) -> set[int]:
    """Tracks whose references `advance` may use."""
    return {proposal.track for proposed in proposals for proposal in proposed} | {play.track for play in open_}


def advance(
    recent: Sequence[Segment],
    proposals: Sequence[Sequence[Proposal]],
    open_: tuple[Play, ...],
    ended: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> TrackerUpdate:
    """Decides on the newest segments, one for each list of proposals.

    Args:
        recent: the remembered segments and the new ones, oldest first.
        proposals: of each new segment (see `propose`).
        open_, ended: of the last update.
        references: of the tracks that `tracks_needed` names. Plays of missing tracks are not extended.
        play_id: gives a play its ID.
    """
    opened_at: dict[uuid.UUID, int] = {}
    closed: list[Play] = []
    cooldown = CandidateCooldown(thresholds)
    segments = SegmentArrays.of(recent)
    for end, proposed in enumerate(proposals, start=len(recent) - len(proposals) + 1):
        past = _remembered(segments[:end], thresholds)
        open_, newest = extend_plays(open_, past, references, thresholds)
        worthwhile = [proposal for proposal in proposed if not is_redundant(proposal, open_, newest, past[-1])]
        for candidate in find_candidates(worthwhile, past, open_, references, thresholds, cooldown):
            before = {play.id for play in open_}
            open_, cut = resolve_candidate(candidate, past, open_, (*ended, *closed), references, thresholds, play_id)
            opened_at |= {play.id: past[-1].start + SEGMENT_SAMPLES for play in open_ if play.id not in before}
            closed += cut
        open_, expired = expire(open_, past[-1].start + SEGMENT_SAMPLES, thresholds)
        closed += [_trim_end(play, past, references, thresholds) for play in expired]
    current = {play.id: play for play in (*open_, *closed)}
    horizon = recent[0].start if recent else 0
    ended = tuple(play for play in (*ended, *closed) if play.end >= horizon)
    return TrackerUpdate(open_, ended, tuple(current[play] for play in opened_at), tuple(closed), opened_at)


def _remembered(segments: SegmentArrays, thresholds: Thresholds) -> SegmentArrays:
    """The segments that a decision on the last one may use, however many come in one batch."""
    horizon = segments[-1].start - thresholds.memory_samples
    return segments[int(segments.starts.searchsorted(horizon)) :]


def expire(
    open_: tuple[Play, ...], heard_until: int, thresholds: Thresholds
) -> tuple[tuple[Play, ...], tuple[Play, ...]]:
    """Splits the plays at a stream clock value: those still on air, and those not heard for longer than a gap."""
    kept = tuple(play for play in open_ if heard_until - play.end <= thresholds.max_gap_samples)
    return kept, tuple(play for play in open_ if play not in kept)


def _trim_end(play: Play, past: Sequence[Segment], references: References, thresholds: Thresholds) -> Play:
    """Ends a play where its LLR is largest: a part after a gap must outweigh the gap."""
    if play.track not in references:
        return play
    heard = [segment for segment in past if play.start <= segment.start <= play.end - SEGMENT_SAMPLES]
    if not heard:
        return play
    llrs = AlignmentScores.of(references[play.track], heard, play.alignment).llrs(thresholds.tracking_curve)
    last = len(llrs) - 1 - int(llrs.cumsum()[::-1].argmax())
    end = until = heard[last].start + SEGMENT_SAMPLES
    bridged = play.bridged
    for segment, llr in zip(heard[last + 1 :], llrs[last + 1 :], strict=True):
        if llr > 0:
            bridged -= max(0, segment.start - until)
            until = segment.start + SEGMENT_SAMPLES
    return replace(cut_end(play, end), bridged=max(0, bridged))
