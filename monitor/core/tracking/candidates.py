"""Finds candidates: proposed alignments with enough LLR of their own to be new plays."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.core.alignment.alignment import SAME_ALIGNMENT_SAMPLES, Alignment
from monitor.core.alignment.fitting import fit_alignment
from monitor.core.alignment.scores import AlignmentScores
from monitor.core.arrays import Bools
from monitor.core.reference import References
from monitor.core.segment_arrays import SegmentArrays
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.hough_votes import Proposal
from monitor.core.tracking.play import Play

# A play this young may have begun on another repeat of the same music, or as another version: it is examined again.
YOUNG_SAMPLES = 30 * HOP_SAMPLES
# While a play is on air, proposals are examined only every so many segments. A second track is found a few tenths of a
# second later, and half of the work is saved.
EXAMINE_EVERY_SEGMENTS = 4
# If the newest segment is this similar to a play's track, a track whose hit is lower by the lead cannot be heard, too.
# Of two tracks that are mixed, each is less similar to the mixture.
CLEAR_COSINE, CLEAR_LEAD = 0.8, 0.2
# If one of two positions in a track has this share of the other's LLR, neither is more than a guess.
AMBIGUOUS_SHARE = 0.9


class CandidateCooldown:
    """Skips an alignment that had too little LLR until it can have enough: each segment adds only a limited amount.

    It only saves work. The wait is one segment shorter, as another alignment may be the best one by then.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        """Derives the waits from the LLR that opens a play and from the largest that a segment can add."""
        self._open_llr, self._max_segment_llr = thresholds.open_llr, thresholds.max_segment_llr
        self._until: dict[tuple[int, int], int] = {}

    def is_active(self, proposal: Proposal) -> bool:
        """Whether it is too early to examine a proposal again."""
        instant = proposal.alignment.instant
        return instant < self._until.get(self._key(proposal), instant)

    def record(self, proposal: Proposal, llr: float) -> None:
        """Records the LLR that a proposal had."""
        n_segments = int((self._open_llr - llr) / self._max_segment_llr)
        if n_segments > 0:
            self._until[self._key(proposal)] = proposal.alignment.instant + n_segments * HOP_SAMPLES

    @staticmethod
    def _key(proposal: Proposal) -> tuple[int, int]:
        offset = proposal.alignment.position - proposal.alignment.instant
        return proposal.track, round(offset / (2 * SAME_ALIGNMENT_SAMPLES))


@dataclass(frozen=True, slots=True)
class Candidate:
    """An alignment with enough LLR of its own to be a play.

    scores: of all remembered segments; the track is heard from the one at index `first` to the newest.
    llr: of these segments.
    is_ambiguous: another position in the same track has about as much.
    """

    track: int
    scores: AlignmentScores
    first: int
    llr: float
    is_ambiguous: bool = False

    @property
    def alignment(self) -> Alignment:
        """The alignment that fits best."""
        return self.scores.alignment


def find_candidates(
    proposed: Sequence[Proposal],
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    cooldown: CandidateCooldown,
) -> list[Candidate]:
    """The proposals that have enough LLR to open a play, largest first.

    Args:
        proposed: by the newest segment.
        past: the remembered segments, oldest first.
        open_: the plays on air.
        references: by track; proposals of other tracks are ignored.
        cooldown: of this stream; it is updated.
    """
    found = []
    for proposal in proposed:
        reference = references.get(proposal.track)
        if reference is None or cooldown.is_active(proposal):
            continue
        scores = fit_alignment(reference, past, proposal.alignment, thresholds.tracking_curve, thresholds.resume_llr)
        if scores is None:
            cooldown.record(proposal, 0.0)
            continue
        scores = scores.ignore_deficit(in_any_play(past, (play for play in open_ if play.track != proposal.track)))
        llr = scores.best_llr(thresholds)
        cooldown.record(proposal, _llr_without_deficit(scores, thresholds) if scores.similarity_deficit.any() else llr)
        if llr >= thresholds.open_llr:
            found.append(Candidate(proposal.track, scores, first_segment(scores, thresholds), llr))
    marked = [replace(candidate, is_ambiguous=_is_ambiguous(candidate, found)) for candidate in found]
    return sorted(marked, key=lambda candidate: (-candidate.llr, candidate.track))


def _llr_without_deficit(scores: AlignmentScores, thresholds: Thresholds) -> float:
    """The LLR if cosines to come make up for the similarity deficit."""
    return scores.ignore_deficit(np.ones(len(scores.cosines), np.bool_)).best_llr(thresholds)


def in_any_play(segments: Sequence[Segment], plays: Iterable[Play]) -> Bools:
    """Whether each segment starts within one of the plays: bool (len(segments),)."""
    starts = SegmentArrays.of(segments).starts
    is_played = np.zeros(len(segments), np.bool_)
    for play in plays:
        is_played |= (starts >= play.start) & (starts < play.end)
    return is_played


def _is_ambiguous(candidate: Candidate, found: Sequence[Candidate]) -> bool:
    """Whether another position in the same track has about as much LLR."""
    return any(
        other.track == candidate.track
        and other.alignment.distance_to(candidate.alignment) > SAME_ALIGNMENT_SAMPLES
        and other.llr >= AMBIGUOUS_SHARE * candidate.llr
        for other in found
    )


def first_segment(scores: AlignmentScores, thresholds: Thresholds) -> int:
    """Index of the segment in which the track is first heard, counted backward from the newest."""
    return scores.best_suffix(thresholds.tracking_curve, thresholds)[0]


def is_redundant(
    proposal: Proposal, open_: tuple[Play, ...], newest: Mapping[uuid.UUID, float], segment: Segment
) -> bool:
    """Whether a play on air makes it unnecessary to examine a proposal.

    It does for all but every fourth segment. It also does if the proposal is the play's own alignment, or another
    position in the track of a play that is no longer young. The last case is a newest segment that is clearly the
    play's and far less similar to the proposal.

    Args:
        newest: cosine of the newest segment along each open play's alignment, by play.
        segment: the newest segment.
    """
    for play in open_:
        if play.end != segment.start + SEGMENT_SAMPLES:
            continue
        if segment.start // HOP_SAMPLES % EXAMINE_EVERY_SEGMENTS:
            return True
        is_old = play.end - play.start > YOUNG_SAMPLES
        if proposal.track == play.track:
            if is_old or play.alignment.distance_to(proposal.alignment) <= SAME_ALIGNMENT_SAMPLES:
                return True
        elif newest.get(play.id, 0.0) >= max(CLEAR_COSINE, proposal.score + CLEAR_LEAD):
            return True
    return False
