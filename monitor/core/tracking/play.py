"""A play: an interval of a stream in which a track is heard."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.core.alignment.alignment import SAME_ALIGNMENT_SAMPLES, Alignment
from monitor.core.segments import HOP_SAMPLES

# No station plays this much faster or slower: an alignment that keeps moving is a false one.
MAX_DRIFT = 0.1


@dataclass(frozen=True, slots=True)
class Play:
    """An interval of a stream aligned with an interval of a track.

    start, end: stream clock of the first matching sample, and just after the last one.
    track_start, track_end: positions in the track there, in samples.
    speed: of the alignment at its end, along which the play would continue.
    score_sum, scored: the sum and the number of the exact cosines along the alignment.
    llr: log-likelihood ratio of its segments (monitor/core/likelihood.py).
    bridged: samples within the play in which the track was not heard.
    is_ambiguous: another position in the same track would fit as well.
    """

    id: uuid.UUID
    track: int
    start: int
    end: int
    track_start: int
    track_end: int
    speed: float
    score_sum: float
    scored: int
    llr: float
    bridged: int = 0
    is_ambiguous: bool = False

    @property
    def score(self) -> float:
        """Mean exact cosine."""
        return self.score_sum / self.scored

    @property
    def alignment(self) -> Alignment:
        """The alignment along which the play would continue."""
        return Alignment(self.end, self.track_end, self.speed)

    @property
    def mean_speed(self) -> float:
        """Playback speed over the whole play, relative to the catalog's recording."""
        if self.end - self.start < 2 * HOP_SAMPLES:
            return self.speed
        return (self.track_end - self.track_start) / (self.end - self.start)


# Gives a play its ID, by its track and the stream clock at which it first started.
PlayId = Callable[[int, int], uuid.UUID]


def cut_start(play: Play, start: int) -> Play:
    """The play without the part before `start`."""
    start = max(start, play.start)
    return replace(play, start=start, track_start=max(0, round(play.alignment.position_at(start))))


def cut_end(play: Play, end: int) -> Play:
    """The play without the part after `end`."""
    if play.end <= end:
        return play
    return replace(play, end=end, track_end=max(play.track_start, round(play.alignment.position_at(end))))


def is_continued_by(play: Play, alignment: Alignment) -> bool:
    """Whether an alignment of the play's track is near enough to the play's own to be the same one."""
    moved = alignment.position_at(play.end) - play.track_end
    drift = play.mean_speed + moved / (play.end - play.start) - 1
    return abs(moved) <= SAME_ALIGNMENT_SAMPLES and abs(drift) <= MAX_DRIFT
