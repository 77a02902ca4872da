"""The values that matching works on. Instants are stream clock samples, positions are samples into the track."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.core.segments import HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Alignment:
    """A way through a track: at stream clock `instant` it is at `position`, and `speed` times as fast as the stream."""

    instant: int
    position: float
    speed: float = 1.0

    def at(self, instant: int) -> float:
        """Position at another instant."""
        return self.position + self.speed * (instant - self.instant)

    def distance(self, other: Alignment) -> float:
        """How far from another line it is in the track, at this line's instant: samples."""
        return abs(other.at(self.instant) - self.position)


@dataclass(frozen=True, slots=True)
class Play:
    """An interval of a stream aligned with an interval of a track.

    start, end: stream clock of the first and just behind the last matching sample.
    track_start, track_end: positions there; speed: of the line at its end, on which the play would go on.
    score_sum, scored: sum of the exact cosines along the line and how many segments they are from.
    evidence: what the segments say for the play, less what they say against it (monitor/core/likelihood.py).
    bridged: samples within the play in which the track was not heard.
    is_ambiguous: another place of the same track would fit as well.
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
        """Mean exact cosine along the aligned run."""
        return self.score_sum / self.scored

    @property
    def line(self) -> Alignment:
        """Where the track would go on."""
        return Alignment(self.end, self.track_end, self.speed)

    @property
    def mean_speed(self) -> float:
        """How many times as fast as in the catalog the track is played, over the whole play."""
        if self.end - self.start < 2 * HOP_SAMPLES:
            return self.speed
        return (self.track_end - self.track_start) / (self.end - self.start)


PlayId = Callable[[int, int], uuid.UUID]

# A reconnect finds its place on the clock anew, from network timing: a line this near is the same play.
SAME_LINE_SAMPLES = 2 * HOP_SAMPLES
# So much faster or slower no station plays: a line that is moved again and again is none.
MAX_DRIFT = 0.1


def cut_start(play: Play, start: int) -> Play:
    """The play without what is before."""
    start = max(start, play.start)
    return replace(play, start=start, track_start=max(0, round(play.line.at(start))))


def cut_end(play: Play, end: int) -> Play:
    """The play without what is after."""
    if play.end <= end:
        return play
    return replace(play, end=end, track_end=max(play.track_start, round(play.line.at(end))))


def is_continued_by(play: Play, line: Alignment) -> bool:
    """Whether a line of the play's track is near enough to the play's own to be the same one."""
    moved = line.at(play.end) - play.track_end
    drift = play.mean_speed + moved / (play.end - play.start) - 1
    return abs(moved) <= SAME_LINE_SAMPLES and abs(drift) <= MAX_DRIFT
