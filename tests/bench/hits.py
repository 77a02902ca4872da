"""Joins the hits of systems that only look up windows into plays: hits on one alignment become one play. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.evaluation.plays import Result

# Other systems time their hits to about 0.1 s. At 4 % more speed, an alignment has moved by 0.4 s at the next window,
# 10 s later. In looped music, a place one beat away is a different one.
ALIGNMENT_S = 0.5
MIN_FITTED_S = 10.0  # over shorter stretches, a fitted speed is noise


@dataclass(frozen=True, slots=True)
class Hit:
    """A stretch of a recording that a window's lookup aligned with a track. heard_s: the end of the window."""

    recording: str
    track: str
    start_s: float
    end_s: float
    track_start_s: float
    score: float
    heard_s: float


def windows(duration_s: float, length_s: float, hop_s: float) -> Iterator[tuple[float, float]]:
    """The starts and ends of overlapping windows, in seconds. The last one ends with the recording."""
    n = max(0, int(np.ceil((duration_s - length_s) / hop_s))) + 1
    for i in range(n):
        yield i * hop_s, min(i * hop_s + length_s, duration_s)


def best(hits: Iterable[Hit]) -> list[Hit]:
    """Keeps only the hit with the highest score of each window; the others are mostly wrong."""
    of_windows: dict[tuple[str, float], Hit] = {}
    for hit in hits:
        window = hit.recording, hit.heard_s
        if window not in of_windows or hit.score > of_windows[window].score:
            of_windows[window] = hit
    return list(of_windows.values())


def plays(hits: Iterable[Hit], minimum: float, bridge_s: float) -> list[Result]:
    """The plays that a system would report from the hits of windows.

    minimum: hits with a lower score are ignored.
    bridge_s: hits on one alignment at most this far apart are one play, as a lookup in between may have failed.
    """
    lines: dict[tuple[str, str], list[list[Hit]]] = defaultdict(list)
    for hit in sorted(hits, key=lambda hit: (hit.recording, hit.start_s, hit.end_s)):
        if hit.score < minimum:
            continue
        of_track = lines[hit.recording, hit.track]
        near = [line for line in of_track if _goes_on(line, hit, bridge_s)]
        if near:
            min(near, key=lambda line: _off_s(line[-1], hit)).append(hit)
        else:
            of_track.append([hit])
    found = [_play(line) for of_track in lines.values() for line in of_track]
    return sorted(found, key=lambda play: (play.recording, play.start_s, play.track))


def _goes_on(line: Sequence[Hit], hit: Hit, bridge_s: float) -> bool:
    end_s = max(before.end_s for before in line)
    return hit.start_s <= end_s + bridge_s and _off_s(line[-1], hit) <= ALIGNMENT_S


def _off_s(before: Hit, hit: Hit) -> float:
    return abs((hit.track_start_s - hit.start_s) - (before.track_start_s - before.start_s))


def _play(line: Sequence[Hit]) -> Result:
    first, last = line[0], max(line, key=lambda hit: hit.end_s)
    start_s, end_s = first.start_s, last.end_s
    speed = 1.0
    if last.start_s - start_s >= MIN_FITTED_S:
        speed = max(0.5, (last.track_start_s - first.track_start_s) / (last.start_s - start_s))
    return Result(
        recording=first.recording,
        track=first.track,
        start_s=start_s,
        end_s=end_s,
        track_start_s=first.track_start_s,
        track_end_s=first.track_start_s + (end_s - start_s) * speed,
        speed=speed,
        score=max(hit.score for hit in line),
        reported_s=min(hit.heard_s for hit in line),
    )
