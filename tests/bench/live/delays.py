"""How far streams are behind the air, and whether they stay close enough. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.live.programs import Play

LIMIT_S = 2.0  # 95 % of a stream's windows are stored within this time
SHARE = 0.95
GROWTH_S = 1.0  # a stream whose delay grows by more than this, from the first to the last third, does not keep up
SAME_PLACE_S = 3.0  # a match belongs to a play that it overlaps, give or take this
MIN_HEARD_S = 10.0  # a play that was on the air this long should have been found


@dataclass
class StreamDelays:
    """One stream: when each of its windows was stored, and how long after its end that was."""

    window_s: float
    position_s: float | None = None
    samples: list[tuple[float, float]] = field(default_factory=list)  # (when, delay), in seconds

    def reached(self, position_s: float, now_s: float) -> None:
        """Takes the position (since the Unix epoch) up to which the stream is stored now."""
        if self.position_s is not None:
            self._add(position_s, now_s)
        self.position_s = position_s

    def end(self, now_s: float) -> None:
        """Counts windows that ended and are not stored yet, each as if it were as late as the oldest of them is now."""
        if self.position_s is not None:
            oldest_s = now_s - (self.position_s + self.window_s)
            n_overdue = int((now_s - LIMIT_S - self.position_s) / self.window_s)
            self.samples += [(now_s, oldest_s)] * n_overdue

    def _add(self, position_s: float, now_s: float) -> None:
        assert self.position_s is not None
        ends_s = position_s
        found = []
        while ends_s > self.position_s + 1e-3:
            found.append((now_s, now_s - ends_s))
            ends_s -= self.window_s
        self.samples += reversed(found)

    @property
    def growth_s(self) -> float:
        """By how much the median delay of the last third exceeds that of the first."""
        delays = [delay for _, delay in self.samples]
        third = len(delays) // 3
        return statistics.median(delays[-third:]) - statistics.median(delays[:third]) if third else 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether 95 % of its windows are stored within the limit, and its delay does not grow."""
        if not self.samples:
            return False
        return percentile([delay for _, delay in self.samples], SHARE) <= LIMIT_S and self.growth_s <= GROWTH_S


@dataclass(frozen=True, slots=True)
class Match:
    """A match of a stream: the name of the track's file, and times in seconds since the Unix epoch."""

    source: str
    start_s: float
    end_s: float
    opened_s: float


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; NaN if there are none."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum; empty if there are no values."""
    if not values:
        return {}
    facts = {"median": statistics.median(values), "p95": percentile(values, SHARE), "max": max(values)}
    return {name: round(value, 2) for name, value in facts.items()}


def opened_after_s(
    plays: Mapping[int, Sequence[Play]], matches: Mapping[int, Sequence[Match]], from_s: float, until_s: float
) -> list[float | None]:
    """For each play that began after `from_s` and should have been found by `until_s`: seconds until its match.

    None for a play without a match.
    """
    found: list[float | None] = []
    for stream, on_stream in plays.items():
        for play in on_stream:
            if play.start_s >= from_s and min(play.end_s, until_s) - play.start_s >= MIN_HEARD_S:
                opened_s = [
                    match.opened_s
                    for match in matches.get(stream, ())
                    if belongs(match, play) and match.opened_s <= until_s
                ]
                found.append(min(opened_s) - play.start_s if opened_s else None)
    return found


def belongs(match: Match, play: Play) -> bool:
    """Whether a match names what a play plays, at its time."""
    if match.source.rsplit("/", 1)[-1] != play.source.rsplit("/", 1)[-1]:
        return False
    return match.start_s < play.end_s + SAME_PLACE_S and match.end_s > play.start_s - SAME_PLACE_S


def strays(plays: Mapping[int, Sequence[Play]], matches: Mapping[int, Sequence[Match]]) -> list[Match]:
    """Matches that belong to no play: of unregistered music, or naming another version of the track."""
    return [
        match
        for stream, of_stream in matches.items()
        for match in of_stream
        if not any(belongs(match, play) for play in plays.get(stream, ()))
    ]
