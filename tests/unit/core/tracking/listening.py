"""Runs the tracker over broadcasts of made-up tracks."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence

from monitor.core.reference import Reference
from monitor.core.segments import Segment
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import TrackerUpdate, advance, propose, tracks_needed
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import track

T = NeuralDetector.thresholds
CATALOG = {1: track(1, 200), 2: track(2, 200), 3: track(3, 60)}
FIRST = 1_000_000
REMEMBERED = 120


def play_id(number: int, start: int) -> uuid.UUID:
    """The ID of a play of a track."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{number}/{start}")


def places(first: float, n: int) -> list[float]:
    """Positions in hops of consecutive segments."""
    return [first + i for i in range(n)]


def listen(
    segments: Sequence[Segment],
    cuts: Sequence[int] = (),
    catalog: dict[int, Reference] = CATALOG,
    open_: tuple[Play, ...] = (),
) -> tuple[list[Play], list[TrackerUpdate]]:
    """All plays of a broadcast in the order of their ends, and the updates of its batches, cut at the given indices."""
    closed: list[Play] = []
    ended: tuple[Play, ...] = ()
    updates = []
    edges = [0, *sorted(set(cuts)), len(segments)]
    for begin, end in itertools.pairwise(edges):
        recent = segments[max(0, begin - REMEMBERED) : end]
        proposals = propose(recent, end - begin, T)
        needed = tracks_needed(proposals, open_)
        update = advance(recent, proposals, open_, ended, {n: catalog[n] for n in needed if n in catalog}, T, play_id)
        open_, ended = update.open, update.ended
        closed += update.closed
        updates.append(update)
    return [*closed, *open_], updates


def seconds(samples: int) -> float:
    """Seconds since the first segment of a broadcast."""
    return (samples - FIRST) / 32_000
