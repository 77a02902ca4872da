"""How audio arrives from sources of every kind, as the reader sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest.timeline import samples

T0 = samples(1_700_000_000)
TICK = samples(0.1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """`n` samples that arrive `at` samples after T0."""

    at: int
    n: int


def steady(since_s: float, until_s: float) -> Iterator[Arrival]:
    """A live source: each tenth of a second brings the audio of that time."""
    for at in range(samples(since_s) + TICK, samples(until_s) + 1, TICK):
        yield Arrival(at, TICK)


def burst(at_s: float, length_s: float) -> Iterator[Arrival]:
    """Past audio, at 100 times real time."""
    yield from (Arrival(samples(at_s + i * 0.01), samples(1)) for i in range(round(length_s)))


def lumps(since_s: float, until_s: float, length_s: float, first: int) -> Iterator[Arrival]:
    """HLS: some segments at once, then one after the other, each in pieces."""
    for i in range(round((until_s - since_s) / length_s)):
        for _ in range((first if i == 0 else 1) * round(length_s / 0.1)):
            yield Arrival(samples(since_s + i * length_s), TICK)


def file_at_full_speed(since_s: float, length_s: float) -> Iterator[Arrival]:
    """Not a live source: 300 times real time."""
    yield from (Arrival(samples(since_s + i / 3000), TICK) for i in range(round(length_s * 10)))


def ticked(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """The same, with the reader's ticks while nothing arrives."""
    now = 0
    for arrival in arrivals:
        while arrival.at - now > TICK:
            now += TICK
            yield Arrival(now, 0)
        now = arrival.at
        yield arrival
    for _ in range(10):
        now += TICK
        yield Arrival(now, 0)
