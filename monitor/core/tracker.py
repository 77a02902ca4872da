"""The tracker: from a stream's segments to plays that open, extend and close. A pure function of the last minute.

Every segment is decided on alone and in order, so that any cutting of a stream into batches gives the same plays:
    1. extend    each play on air by the segment, if it agrees with the track at its place on the play's line
    2. judge     each line that the segment's hits propose, by the exact cosines of what is remembered
    3. compare   what is left of its evidence where other plays explain the same sound
    4. open      a play; or move one to the line, or the track, that fits all that was heard of it better
    5. close     plays that have not agreed for too long
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.core.alignment import AlignmentScores
from monitor.core.candidates import CandidateCooldown, find_candidates, is_idle
from monitor.core.competition import resolve_candidate
from monitor.core.extension import extend_plays
from monitor.core.hough_votes import WINDOW_SAMPLES, Proposal, VoteAccumulator
from monitor.core.play import Play, PlayId, cut_end
from monitor.core.reference import References
from monitor.core.segments import SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class TrackerUpdate:
    """The plays on air after some segments, and those that opened and closed meanwhile (a short one did both).

    ended: plays that closed within what is remembered; no other play of their track reaches back into them.
    opened_at: stream clock at which there was enough to open a play.
    """

    open: tuple[Play, ...]
    ended: tuple[Play, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    opened_at: Mapping[uuid.UUID, int]


def propose(recent: Sequence[Segment], n_new: int, thresholds: Thresholds) -> list[list[Proposal]]:
    """The lines that each of the last `n_new` segments proposes, together with those before it."""
    if n_new == 0:
        return []
    ballot, proposals = VoteAccumulator(thresholds.curve), []
    first_new = len(recent) - n_new
    horizon = recent[first_new].start - WINDOW_SAMPLES  # what is older no ballot looks at
    for i, segment in enumerate(recent):
        if segment.start >= horizon:
            ballot.add(segment)
        if i >= first_new:
            proposals.append(ballot.proposals(segment, thresholds.vote_llr))
    return proposals


def tracks_needed(proposals: Iterable[Sequence[Proposal]], open_: Iterable[Play]) -> set[int]:
    """Tracks whose exact vectors `advance` may look at."""
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
    """Takes the newest of the remembered segments in, as many as there are proposals' lists (see `propose`).

    play_id names a play by its track and first start.
    """
    opened_at: dict[uuid.UUID, int] = {}
    closed: list[Play] = []
    waits = CandidateCooldown(thresholds)
    for end, proposed in enumerate(proposals, start=len(recent) - len(proposals) + 1):
        past = _remembered(recent[:end], thresholds)
        open_, newest = extend_plays(open_, past, references, thresholds)
        worthwhile = [proposal for proposal in proposed if not is_idle(proposal, open_, newest, past[-1])]
        for candidate in find_candidates(worthwhile, past, open_, references, thresholds, waits):
            before = {play.id for play in open_}
            open_, cut = resolve_candidate(candidate, past, open_, (*ended, *closed), references, thresholds, play_id)
            opened_at |= {play.id: past[-1].start + SEGMENT_SAMPLES for play in open_ if play.id not in before}
            closed += cut
        open_, silent = expire(open_, past[-1].start + SEGMENT_SAMPLES, thresholds)
        closed += [_ended(play, past, references, thresholds) for play in silent]
    current = {play.id: play for play in (*open_, *closed)}
    horizon = recent[0].start if recent else 0
    ended = tuple(play for play in (*ended, *closed) if play.end >= horizon)
    return TrackerUpdate(open_, ended, tuple(current[play] for play in opened_at), tuple(closed), opened_at)


def _remembered(segments: Sequence[Segment], thresholds: Thresholds) -> Sequence[Segment]:
    """Always as many, however many came at once."""
    horizon = segments[-1].start - thresholds.memory_samples
    return segments[bisect_left(segments, horizon, key=lambda segment: segment.start) :]


def expire(
    open_: tuple[Play, ...], heard_until: int, thresholds: Thresholds
) -> tuple[tuple[Play, ...], tuple[Play, ...]]:
    """The plays that are still on air at a stream clock, and those that have been silent for too long."""
    kept = tuple(play for play in open_ if heard_until - play.end <= thresholds.max_gap_samples)
    return kept, tuple(play for play in open_ if play not in kept)


def _ended(play: Play, past: Sequence[Segment], references: References, thresholds: Thresholds) -> Play:
    """The play up to where most speaks for it: what came after a hole, and ended too, must outweigh the hole."""
    if play.track not in references:
        return play
    heard = [segment for segment in past if play.start <= segment.start <= play.end - SEGMENT_SAMPLES]
    if not heard:
        return play
    weights = AlignmentScores.of(references[play.track], heard, play.line).llr(thresholds.curve)
    last = len(weights) - 1 - int(weights.cumsum()[::-1].argmax())
    end = until = heard[last].start + SEGMENT_SAMPLES
    bridged = play.bridged
    for segment, weight in zip(heard[last + 1 :], weights[last + 1 :], strict=True):
        if weight > 0:
            bridged -= max(0, segment.start - until)
            until = segment.start + SEGMENT_SAMPLES
    return replace(cut_end(play, end), bridged=max(0, bridged))
