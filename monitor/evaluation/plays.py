"""One play as the truth has it, and as a system reported it: the rows of the two tables.

`recording` and `track` are file names; start_s and end_s are seconds into the recording, track_start_s and track_end_s
into the track; `speed` is seconds of the track that pass in one of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Truth:
    """What was played. `snr_db` is music against what is over it, None in the clear; `kind` is the maker's own word."""

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
        """Where in the track it is at an instant of the recording, its line drawn on before and behind it."""
        return self.track_start_s + (instant_s - self.start_s) * self.speed


@dataclass(frozen=True, slots=True)
class Result:
    """What a system reported; `reported_s` says, where known, how much of the recording it had heard when it did."""

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
    """How long both last at once, in seconds."""
    return max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
