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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.align import FIRST_SEGMENTS, Along, cosines, explained, fitted, followed, likeness
from monitor.core.evidence import Curve, suffix_sums
from monitor.core.match import Line, Play, Reference, Segment
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES
from monitor.core.thresholds import Thresholds
from monitor.core.votes import WINDOW_SAMPLES, Ballot, Proposal

Floats = NDArray[np.floating[Any]]
PlayId = Callable[[int, int], uuid.UUID]
References = Mapping[int, Reference]

# A reconnect finds its place on the clock anew, from network timing: a line this near is the same play.
SAME_LINE_SAMPLES = 2 * HOP_SAMPLES
# So much faster or slower no station plays: a line that is moved again and again is none.
DRIFT_MOST = 0.1
# A segment that lies a quarter outside of the track is about so much less alike than those within; more is no part.
# Chosen on `tune`: starts and ends are off by 0.2 s (median), to either side.
EDGE_SHARE = 0.72
EDGE_SEGMENTS = 2  # so many can lie partly outside
# A line that was chosen among a hundred to fit what was heard last fits by chance as well as one in a hundred does.
MOVE_COST = 4.6
# A line is followed every so many segments: a quarter of a per cent more or less is heard after some seconds.
FOLLOW_EVERY = 4
# A play this young may have begun on another repeat of the same music, or as another version: it is looked at again.
YOUNG_SAMPLES = 30 * HOP_SAMPLES
# A second track beside one on air may be found some tenths of a second later; half of the work is looking for it.
JUDGE_EVERY = 4
# In the clear the newest segment leaves no room for another track: two that are mixed are each less like the mixture.
PLAIN, PLAIN_LEAD = 0.8, 0.2
# Of two places of a track whose evidence differs by less, neither is more than a guess.
TWIN_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Step:
    """The plays on air after some segments, and those that opened and closed meanwhile (a short one did both).

    ended: plays that closed within what is remembered; no other play of their track reaches back into them.
    opened_at: stream clock at which there was enough to open a play.
    """

    open: tuple[Play, ...]
    ended: tuple[Play, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    opened_at: Mapping[uuid.UUID, int]


class Waits:
    """When a line that had too little evidence can have enough at the earliest: no segment brings more than so much.

    It only saves work. A segment less is waited for, as the line that fits best may be another one by then.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._needed, self._most = thresholds.open_evidence, thresholds.most_evidence
        self._until: dict[tuple[int, int], int] = {}

    def is_too_early(self, proposal: Proposal) -> bool:
        return proposal.line.instant < self._until.get(self._place(proposal), proposal.line.instant)

    def judged(self, proposal: Proposal, proof: float) -> None:
        """Remembers how much evidence there was."""
        segments = int((self._needed - proof) / self._most)
        if segments > 0:
            self._until[self._place(proposal)] = proposal.line.instant + segments * HOP_SAMPLES

    @staticmethod
    def _place(proposal: Proposal) -> tuple[int, int]:
        return proposal.track, round((proposal.line.position - proposal.line.instant) / (2 * SAME_LINE_SAMPLES))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line that has enough evidence of its own, from the segment `first` of what is remembered to the newest."""

    track: int
    along: Along
    first: int
    evidence: float
    is_ambiguous: bool = False

    @property
    def line(self) -> Line:
        return self.along.line


def propose(recent: Sequence[Segment], n_new: int, thresholds: Thresholds) -> list[list[Proposal]]:
    """The lines that each of the last `n_new` segments proposes, together with those before it."""
    if n_new == 0:
        return []
    ballot, proposals = Ballot(thresholds.curve), []
    first_new = len(recent) - n_new
    horizon = recent[first_new].start - WINDOW_SAMPLES  # what is older no ballot looks at
    for i, segment in enumerate(recent):
        if segment.start >= horizon:
            ballot.add(segment)
        if i >= first_new:
            proposals.append(ballot.proposals(segment, thresholds.vote_evidence))
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
) -> Step:
    """Takes the newest of the remembered segments in, as many as there are proposals' lists (see `propose`).

    play_id names a play by its track and first start.
    """
    opened_at: dict[uuid.UUID, int] = {}
    closed: list[Play] = []
    waits = Waits(thresholds)
    for end, proposed in enumerate(proposals, start=len(recent) - len(proposals) + 1):
        past = _remembered(recent[:end], thresholds)
        open_, newest = _extended(open_, past, references, thresholds)
        worthwhile = [proposal for proposal in proposed if not _is_idle(proposal, open_, newest, past[-1])]
        for candidate in _candidates(worthwhile, past, open_, references, thresholds, waits):
            before = {play.id for play in open_}
            open_, cut = _admitted(candidate, past, open_, (*ended, *closed), references, thresholds, play_id)
            opened_at |= {play.id: past[-1].start + SEGMENT_SAMPLES for play in open_ if play.id not in before}
            closed += cut
        open_, silent = expire(open_, past[-1].start + SEGMENT_SAMPLES, thresholds)
        closed += [_ended(play, past, references, thresholds) for play in silent]
    current = {play.id: play for play in (*open_, *closed)}
    horizon = recent[0].start if recent else 0
    ended = tuple(play for play in (*ended, *closed) if play.end >= horizon)
    return Step(open_, ended, tuple(current[play] for play in opened_at), tuple(closed), opened_at)


def _remembered(segments: Sequence[Segment], thresholds: Thresholds) -> Sequence[Segment]:
    """Always as many, however many came at once."""
    horizon = segments[-1].start - thresholds.memory_samples
    return segments[bisect_left(segments, horizon, key=lambda segment: segment.start) :]


def expire(
    open_: tuple[Play, ...], heard_until: int, thresholds: Thresholds
) -> tuple[tuple[Play, ...], tuple[Play, ...]]:
    """The plays that are still on air at a stream clock, and those that have been silent for too long."""
    kept = tuple(play for play in open_ if heard_until - play.end <= thresholds.hole_samples)
    return kept, tuple(play for play in open_ if play not in kept)


def _ended(play: Play, past: Sequence[Segment], references: References, thresholds: Thresholds) -> Play:
    """The play up to where most speaks for it: what came after a hole, and ended too, must outweigh the hole."""
    if play.track not in references:
        return play
    heard = [segment for segment in past if play.start <= segment.start <= play.end - SEGMENT_SAMPLES]
    if not heard:
        return play
    weights = Along.of(references[play.track], heard, play.line).evidence(thresholds.curve)
    last = len(weights) - 1 - int(weights.cumsum()[::-1].argmax())
    end = until = heard[last].start + SEGMENT_SAMPLES
    bridged = play.bridged
    for segment, weight in zip(heard[last + 1 :], weights[last + 1 :], strict=True):
        if weight > 0:
            bridged -= max(0, segment.start - until)
            until = segment.start + SEGMENT_SAMPLES
    return replace(_until(play, end), bridged=max(0, bridged))


# Extending


def _extended(
    open_: tuple[Play, ...], past: Sequence[Segment], references: References, thresholds: Thresholds
) -> tuple[tuple[Play, ...], dict[uuid.UUID, float]]:
    """Each play with the newest segment, if that agrees with it; and the cosines of that segment, by play."""
    tails = {play.id: _tail(play, past) for play in open_}
    heard = {
        play.id: Along.of(references[play.track], tails[play.id], play.line)
        for play in open_
        if play.track in references
    }
    out = []
    for play in open_:
        if play.id in heard:
            own = heard[play.id]
            for other in open_:
                if other.id in heard and heard[other.id].scores[-1] > heard[play.id].scores[-1]:
                    own = own.less(_explained(own.line, play.track, other, tails[play.id], references))
            play = _with_tail(play, tails[play.id], heard[play.id].scores, own, past, references, thresholds)
        out.append(play)
    return tuple(out), {play: float(along.scores[-1]) for play, along in heard.items() if len(along.scores)}


def _tail(play: Play, past: Sequence[Segment]) -> Sequence[Segment]:
    """What was heard since the play's last agreement."""
    first = len(past)
    while first > 0 and past[first - 1].start > play.end - SEGMENT_SAMPLES:
        first -= 1
    return past[first:]


def _explained(line: Line, track: int, play: Play, segments: Sequence[Segment], references: References) -> Floats:
    """How much of the cosines along a line a play of another track, or of another place, would give by itself."""
    other = references[play.track]
    theirs = cosines(other, segments, [play.line])[0]
    alike = likeness(references[track], line, other, play.line, [segment.start for segment in segments])
    return explained(theirs, alike)


def _with_tail(
    play: Play,
    tail: Sequence[Segment],
    scores: Floats,
    own: Along,
    past: Sequence[Segment],
    references: References,
    thresholds: Thresholds,
) -> Play:
    """The play up to the newest segment, if that agrees: by `scores`, of which `own` is what no other explains."""
    if np.isnan(scores[-1]):
        return play
    is_next = len(tail) == 1 and scores[-1] >= EDGE_SHARE * play.score
    least = 0.0 if is_next else thresholds.resume_evidence
    openings = own.openings(thresholds)
    tests = [own.evidence(thresholds.curve), *openings[1:]]
    agreeing = (first for weights in tests if (first := _agrees_from(weights, least)) is not None)
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
        evidence=play.evidence + max(float(values[first:].sum()) for values in openings),
        bridged=play.bridged + max(0, tail[first].start - play.end),
    )
    if longer.scored // FOLLOW_EVERY == play.scored // FOLLOW_EVERY:
        return longer
    return _followed(longer, past, references[play.track])


def _agrees_from(weights: Floats, least: float) -> int | None:
    """From where on most speaks for the play up to the newest segment; None if that does not, or all too little."""
    sums = suffix_sums(weights)
    first = int(sums.argmax())
    return first if weights[-1] > 0 and sums[first] >= least else None


def _followed(play: Play, past: Sequence[Segment], reference: Reference) -> Play:
    last = [segment for segment in past[-FIRST_SEGMENTS:] if segment.start >= play.start]
    line = followed(reference, last, play.line)
    return replace(play, track_end=round(line.position), speed=line.speed) if _goes_on(play, line) else play


# Judging what is proposed


def _candidates(
    proposed: Sequence[Proposal],
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    waits: Waits,
) -> list[Candidate]:
    """The proposals that have enough evidence, most first."""
    found = []
    for proposal in proposed:
        reference = references.get(proposal.track)
        if reference is None or waits.is_too_early(proposal):
            continue
        along = fitted(reference, past, proposal.line, thresholds.curve, thresholds.resume_evidence)
        if along is None:
            waits.judged(proposal, 0.0)
            continue
        along = along.beside(played(past, (play for play in open_ if play.track != proposal.track)))
        proof = along.proof(thresholds)
        # Cosines to come may make up for what fell short of the foreseen ones.
        everywhere = np.ones(len(past), np.bool_)
        waits.judged(proposal, along.beside(everywhere).proof(thresholds) if along.shortfall.any() else proof)
        if proof >= thresholds.open_evidence:
            found.append(Candidate(proposal.track, along, _first(along, thresholds), proof))
    marked = [replace(candidate, is_ambiguous=_has_twin(candidate, found)) for candidate in found]
    return sorted(marked, key=lambda candidate: (-candidate.evidence, candidate.track))


def played(segments: Sequence[Segment], plays: Iterable[Play]) -> NDArray[np.bool_]:
    """Whether each of the segments is in one of the plays."""
    starts, is_played = np.array([segment.start for segment in segments], np.int64), np.zeros(len(segments), np.bool_)
    for play in plays:
        is_played |= (starts >= play.start) & (starts < play.end)
    return is_played


def _has_twin(candidate: Candidate, found: Sequence[Candidate]) -> bool:
    """Whether another place of the same track has about as much evidence."""
    return any(
        other.track == candidate.track
        and other.line.distance(candidate.line) > SAME_LINE_SAMPLES
        and other.evidence >= TWIN_SHARE * candidate.evidence
        for other in found
    )


def _first(along: Along, thresholds: Thresholds) -> int:
    """Where the track was heard first, on the way back from the newest segment."""
    return along.stretch(thresholds.curve, thresholds)[0]


def _is_idle(proposal: Proposal, open_: tuple[Play, ...], newest: Mapping[uuid.UUID, float], segment: Segment) -> bool:
    """Whether a play on air leaves nothing to find out about a proposal.

    While one is on air, only every so many segments are looked at. It is where that play is, or another place of the
    track of one that is no longer young; or the newest segment is plainly the play's, and far less like what is
    proposed.
    """
    for play in open_:
        if play.end != segment.start + SEGMENT_SAMPLES:
            continue
        if segment.start // HOP_SAMPLES % JUDGE_EVERY:
            return True
        is_old = play.end - play.start > YOUNG_SAMPLES
        if proposal.track == play.track:
            if is_old or play.line.distance(proposal.line) <= SAME_LINE_SAMPLES:
                return True
        elif newest.get(play.id, 0.0) >= max(PLAIN, proposal.score + PLAIN_LEAD):
            return True
    return False


# Admitting it beside the plays on air, or in the place of one


def _admitted(
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
        if is_same and _goes_on(play, candidate.line):
            is_on_air = play.end == past[-1].start + SEGMENT_SAMPLES
            return open_ if is_on_air else _moved(play, candidate, past, open_, references, thresholds), []
        rival = _Rival.of(play, candidate, past, references)
        if rival.is_weaker and (is_same or rival.evidence(thresholds.curve) < thresholds.resume_evidence):
            weaker.append(play)
        elif is_same:
            left = left.without(rival.is_there)
        elif not rival.is_weaker:
            left = left.less(rival.explains)
    others = (play for play in (*ended, *open_) if play.track == candidate.track and play not in weaker)
    earliest = max((play.end for play in others), default=past[0].start)
    left = left.without(np.array([segment.start < earliest - HOP_SAMPLES for segment in past]))
    proof = left.proof(thresholds)
    if proof < thresholds.open_evidence:
        return open_, []
    new = _opened(candidate, _first(left, thresholds), proof, earliest, past, play_id)
    while any(play.id == new.id for play in (*open_, *ended)):  # of a play that turned out to be another track's
        new = replace(new, id=play_id(new.track, new.id.int % HOP_SAMPLES))
    return _in_place(new, weaker, open_)


@dataclass(frozen=True, slots=True)
class _Rival:
    """A play on air beside a candidate for the same sound, over what both are about.

    own, theirs: the candidate and the play; alike: cosines of the two tracks with each other there.
    """

    own: Along
    theirs: Along
    alike: Floats

    @classmethod
    def of(cls, play: Play, candidate: Candidate, past: Sequence[Segment], references: References) -> _Rival:
        starts = [segment.start for segment in past]
        apart = np.array([start < play.start or i < candidate.first for i, start in enumerate(starts)])
        theirs = Along.of(references[play.track], past, play.line).without(apart)
        alike = likeness(references[candidate.track], candidate.line, references[play.track], play.line, starts)
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
        return explained(self.theirs.scores, self.alike)

    def evidence(self, curve: Curve) -> float:
        """The play's, without what the candidate would give by itself."""
        left = self.theirs.less(explained(self.own.scores, self.alike))
        return float(suffix_sums(left.evidence(curve)).max(initial=0.0))


def _in_place(new: Play, weaker: Sequence[Play], open_: tuple[Play, ...]) -> tuple[tuple[Play, ...], list[Play]]:
    """The new play, in the place of those that it explains: of those that began with it one is the same, better named.

    If one is of its own track it is that, as they cannot both have been there; else the last.
    """
    begun = [play for play in weaker if play.start >= new.start - SEGMENT_SAMPLES]
    taken = max(begun, key=lambda play: (play.track == new.track, play.start), default=None)
    cut = []
    for play in weaker:
        if play.start < new.start and play is not taken:
            cut.append(_until(play, new.start))
        elif play is not taken:
            cut.append(play)
            new = _from(new, play.end) if play.track == new.track else new
    if taken is not None:
        new = replace(new, id=taken.id)
    return (*(play for play in open_ if play not in weaker), new), cut


def _from(play: Play, start: int) -> Play:
    """The play without what is before."""
    start = max(start, play.start)
    return replace(play, start=start, track_start=max(0, round(play.line.at(start))))


def _until(play: Play, end: int) -> Play:
    """The play without what is after."""
    if play.end <= end:
        return play
    return replace(play, end=end, track_end=max(play.track_start, round(play.line.at(end))))


def _goes_on(play: Play, line: Line) -> bool:
    """Whether a line of the play's track is near enough to the play's own to be the same one."""
    moved = line.at(play.end) - play.track_end
    drift = play.mean_speed + moved / (play.end - play.start) - 1
    return abs(moved) <= SAME_LINE_SAMPLES and abs(drift) <= DRIFT_MOST


def _moved(
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
    stricter = replace(thresholds, resume_evidence=thresholds.resume_evidence + MOVE_COST)
    (longer,), _ = _extended((there,), past, references, stricter)
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
        evidence=proof,
        is_ambiguous=candidate.is_ambiguous,
    )
