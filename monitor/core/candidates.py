"""Finds alignments that may be new plays. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment import AlignmentScores, fit_alignment
from monitor.core.hough_votes import Proposal
from monitor.core.play import SAME_LINE_SAMPLES, Alignment, Play
from monitor.core.reference import References
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds

# A play this young may have begun on another repeat of the same music, or as another version: it is looked at again.
YOUNG_SAMPLES = 30 * HOP_SAMPLES
# A second track beside one on air may be found some tenths of a second later; half of the work is looking for it.
JUDGE_EVERY = 4
# In the clear the newest segment leaves no room for another track: two that are mixed are each less like the mixture.
PLAIN, PLAIN_LEAD = 0.8, 0.2
# Of two places of a track whose evidence differs by less, neither is more than a guess.
TWIN_SHARE = 0.9


class CandidateCooldown:
    """When a line that had too little evidence can have enough at the earliest: no segment brings more than so much.

    It only saves work. A segment less is waited for, as the line that fits best may be another one by then.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._needed, self._max = thresholds.open_llr, thresholds.max_llr
        self._until: dict[tuple[int, int], int] = {}

    def is_too_early(self, proposal: Proposal) -> bool:
        return proposal.line.instant < self._until.get(self._place(proposal), proposal.line.instant)

    def judged(self, proposal: Proposal, proof: float) -> None:
        """Remembers how much evidence there was."""
        segments = int((self._needed - proof) / self._max)
        if segments > 0:
            self._until[self._place(proposal)] = proposal.line.instant + segments * HOP_SAMPLES

    @staticmethod
    def _place(proposal: Proposal) -> tuple[int, int]:
        return proposal.track, round((proposal.line.position - proposal.line.instant) / (2 * SAME_LINE_SAMPLES))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line that has enough evidence of its own, from the segment `first` of what is remembered to the newest."""

    track: int
    along: AlignmentScores
    first: int
    llr: float
    is_ambiguous: bool = False

    @property
    def line(self) -> Alignment:
        return self.along.line


# Judging what is proposed


def find_candidates(
    proposed: Sequence[Proposal],
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    waits: CandidateCooldown,
) -> list[Candidate]:
    """The proposals that have enough evidence, most first."""
    found = []
    for proposal in proposed:
        reference = references.get(proposal.track)
        if reference is None or waits.is_too_early(proposal):
            continue
        along = fit_alignment(reference, past, proposal.line, thresholds.curve, thresholds.resume_llr)
        if along is None:
            waits.judged(proposal, 0.0)
            continue
        along = along.ignore_deficit(in_any_play(past, (play for play in open_ if play.track != proposal.track)))
        proof = along.best_llr(thresholds)
        # Cosines to come may make up for what fell short of the foreseen ones.
        everywhere = np.ones(len(past), np.bool_)
        waits.judged(
            proposal, along.ignore_deficit(everywhere).best_llr(thresholds) if along.similarity_deficit.any() else proof
        )
        if proof >= thresholds.open_llr:
            found.append(Candidate(proposal.track, along, first_segment(along, thresholds), proof))
    marked = [replace(candidate, is_ambiguous=_has_twin(candidate, found)) for candidate in found]
    return sorted(marked, key=lambda candidate: (-candidate.llr, candidate.track))


def in_any_play(segments: Sequence[Segment], plays: Iterable[Play]) -> NDArray[np.bool_]:
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
        and other.llr >= TWIN_SHARE * candidate.llr
        for other in found
    )


def first_segment(along: AlignmentScores, thresholds: Thresholds) -> int:
    """Where the track was heard first, on the way back from the newest segment."""
    return along.stretch(thresholds.curve, thresholds)[0]


def is_idle(proposal: Proposal, open_: tuple[Play, ...], newest: Mapping[uuid.UUID, float], segment: Segment) -> bool:
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
