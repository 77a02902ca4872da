"""A play in the truth, and a play that a system reported: the rows of the two tables.

`recording` and `track` are file names. start_s and end_s are seconds into the recording, track_start_s and track_end_s
seconds into the track. `speed` is seconds of the track per second of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Truth:
    """A play that really happened.

    snr_db: the level of the music relative to the sound over it; None in the clear.
    kind: a category of the author's choice.
    """

    recording: str
    track: str
    start_s: float
    end_s: float
    track_start_s: float
    track_end_s: float
    speed: float
    snr_db: float | None
    kind: str

    def position_s(self, instant_s: float) -> float:
        """The position in the track at an instant of the recording, extrapolated before and after the play."""
        return self.track_start_s + (instant_s - self.start_s) * self.speed


@dataclass(frozen=True, slots=True)
class Result:
    """A play that a system reported.

    reported_s: how much of the recording the system had processed when it first reported the play; None if unknown.
    """

    recording: str
    track: str
    start_s: float
    end_s: float
    track_start_s: float
    track_end_s: float
    speed: float
    score: float
    reported_s: float | None = None


def shared_s(one: Truth | Result, other: Truth | Result) -> float:
    """The duration of the overlap of two plays, in seconds."""
    return max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
