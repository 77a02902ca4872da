"""Families: which tracks are near-identical to one another, in whole or in part. Pure.

Hits of some of a track's segments propose lines through other tracks, and the exact cosines along a line say how much
of the two is alike (design rule 1). Both are clean recordings, so that faint likeness over a whole track is none: it
is what music of one kind has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment import FINE, cosines
from monitor.core.likelihood import LlrCurve
from monitor.core.play import Alignment
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Hit, Segment

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

SAMPLE_EVERY = 10  # audible segments: the shortest stretch that counts has four of them
MIN_SAMPLES = 16  # of a jingle, if it has so many segments
HITS_EACH = 8  # of a segment in one other track, where these are compared without the index
MAX_OTHERS = 16  # of a track are looked at closely: those with most votes
MIN_VOTERS = 3  # segments on one line, and as much evidence: fewer are found by chance

# Editors stretch to fit a slot, and the vectors bear that: of 7 tracks stretched to 60 and to 160 % all were found. The
# usual speeds come first.
SPEEDS = tuple(sorted((1 + percent / 100 for percent in range(-40, 61)), key=lambda speed: abs(speed - 1)))
SPEED_SHARE = 0.9  # of its votes count, where a line is at another speed than 1: a hundred of these are tried
VOTE_BIN = 4  # hops: what 1 % of speed adds up to over three minutes
MAX_LINES = 4  # an edit has pieces of its original at several places

# Where a stretch is alike: each segment with its neighbours has on average a fifth of the evidence of an identical
# one. Measured on the `train` and `tune` splits, which have other music's lines well beneath it.
ALIKE_SHARE = 0.2
NEIGHBOURS = 9  # segments: a stem is silent for a beat or two, a chance likeness lasts no longer
STRETCH_SEGMENTS = 40  # 20 s on one line
HALF = 0.5  # of the shorter track
WHOLE = 0.8  # of both, if they are shorter than a stretch: a jingle in two encodings, which may end a segment apart


@dataclass(frozen=True, slots=True)
class RelatedTrack:
    """A track that a new one is near-identical to.

    share: of the new track's audible segments that this one has, too; kin_share: of this one's that the new one has.
    speed: how many times as fast as this one the new one runs, along their longest common stretch.
    """

    track: int
    share: float
    kin_share: float
    speed: float

    @property
    def is_part(self) -> bool:
        """Whether one is only a part of the other, which may hold other music as well."""
        return min(self.share, self.kin_share) < HALF


@dataclass(frozen=True, slots=True)
class FamilyRelation:
    """Two tracks that are kin; is_part as of Kin."""

    track: int
    kin: int
    is_part: bool


def sample(reference: Reference) -> list[int]:
    """The segments of a track, by number, whose hits are enough to find its kin."""
    audible = np.flatnonzero(reference.is_sound)
    every = max(1, min(SAMPLE_EVERY, len(audible) // MIN_SAMPLES))
    return [int(segment) for segment in audible[::every]]


def hits_in(vectors: NDArray[np.float32], others: Mapping[int, Reference]) -> list[tuple[Hit, ...]]:
    """Hits of vectors (n, dimensions) in tracks that no index holds yet: the best few in each, best first."""
    found: list[list[Hit]] = [[] for _ in vectors]
    for track, other in others.items():
        scores = vectors @ other.vectors.T
        n_best = min(HITS_EACH, len(other.vectors))
        best = np.argpartition(-scores, n_best - 1, axis=1)[:, :n_best]
        for hits, row, segments in zip(found, scores, best, strict=True):
            hits += [Hit(track, int(segment) * HOP_SAMPLES, float(row[segment])) for segment in segments]
    return [tuple(sorted(hits, key=lambda hit: -hit.score)) for hits in found]


def candidate_tracks(samples: Sequence[Segment], curve: LlrCurve) -> list[int]:
    """The tracks that have enough hits to be kin, most first."""
    votes: defaultdict[int, list[float]] = defaultdict(list)
    for segment in samples:
        best: dict[int, float] = {}
        for hit in segment.hits:
            best[hit.track] = max(hit.score, best.get(hit.track, hit.score))
        for track, worth in zip(best, curve(np.array(list(best.values()))), strict=True):
            if worth >= _alike_llr(curve):
                votes[track].append(float(worth))
    enough = {track: sum(each) for track, each in votes.items() if len(each) >= MIN_VOTERS}
    return sorted(enough, key=lambda track: (-enough[track], track))[:MAX_OTHERS]


def find_related(
    new: Reference, samples: Sequence[Segment], others: Mapping[int, Reference], curve: LlrCurve
) -> list[RelatedTrack]:
    """Those of the other tracks that a new one is near-identical to, most alike first.

    samples: some of the new track's segments (see `sample`), with their hits in other tracks.
    """
    whole = [Segment(i * HOP_SAMPLES, vector if new.is_sound[i] else None) for i, vector in enumerate(new.vectors)]
    found = []
    for track, other in others.items():
        hits = [(each.start, hit.position, hit.score) for each in samples for hit in each.hits if hit.track == track]
        relative = _kin(track, whole, other, np.array(hits).reshape(-1, 3), curve)
        if relative is not None:
            found.append(relative)
    return sorted(found, key=lambda each: (-max(each.share, each.kin_share), each.track))


def families(links: Iterable[FamilyRelation]) -> list[tuple[int, ...]]:
    """The families of two and more, each in the order of its tracks; those of the oldest tracks first.

    Kin in whole, and what is kin of these in whole, are one family. A part is in the family of what it is a part of,
    and the other way round, but leads no further: an hour's mix does not make one family of all that is in it. So a
    track may be in several.
    """
    whole: defaultdict[int, set[int]] = defaultdict(set)
    part: defaultdict[int, set[int]] = defaultdict(set)
    for link in links:
        near = part if link.is_part else whole
        near[link.track].add(link.kin)
        near[link.kin].add(link.track)
    cores: dict[int, frozenset[int]] = {}
    for track in sorted({*whole, *part}):
        if track not in cores:
            core = _reached(track, whole)
            cores |= dict.fromkeys(core, core)
    groups = {core: core.union(*(cores[other] for track in core for other in part[track])) for core in cores.values()}
    kept = [group for group in groups.values() if not any(group < groups[cores[track]] for track in group)]
    return sorted({tuple(sorted(group)) for group in kept})


def _reached(track: int, near: Mapping[int, set[int]]) -> frozenset[int]:
    reached, left = {track}, [track]
    while left:
        new = near.get(left.pop(), set()) - reached
        reached |= new
        left += new
    return frozenset(reached)


# One track beside another


def _kin(track: int, whole: Sequence[Segment], other: Reference, hits: Floats, curve: LlrCurve) -> RelatedTrack | None:
    """hits: start of the segment in the one track, position in the other, cosine: (n, 3)."""
    audible = sum(segment.vector is not None for segment in whole)
    here, there = np.zeros(len(whole), np.bool_), np.zeros(len(other.vectors), np.bool_)
    minimum = min(STRETCH_SEGMENTS, WHOLE * audible)
    longest, speed = 0, 1.0
    for _ in range(MAX_LINES):
        hits = hits[~here[(hits[:, 0] // HOP_SAMPLES).astype(np.int64)]]
        voted = _voted(hits, curve)
        if voted is None:
            break
        line = _fitted(other, whole, *voted, curve)
        alike = _alike(cosines(other, whole, [line])[0], curve) & ~here
        n_alike = int(alike.sum())
        if n_alike < minimum:
            break
        if n_alike > longest:
            longest, speed = n_alike, line.speed
        here |= alike
        _mark(there, alike, line)
    if longest == 0:
        return None
    share = float(here.sum()) / audible
    kin_share = float((there & (other.is_sound > 0)).sum() / other.is_sound.sum())
    is_long = longest >= STRETCH_SEGMENTS and max(share, kin_share) >= HALF
    is_kin = is_long or min(share, kin_share) >= WHOLE
    return RelatedTrack(track, share, kin_share, speed) if is_kin else None


def _voted(hits: Floats, curve: LlrCurve) -> tuple[Alignment, Floats] | None:
    """The line that most evidence lies on, and the starts of the segments that it is from."""
    if len(hits) < MIN_VOTERS:
        return None
    starts, positions = hits[:, 0], hits[:, 1]
    worths = np.maximum(curve(hits[:, 2]), 0)
    _, voters = np.unique(starts, return_inverse=True)
    best, found = 0.0, None
    for speed, shift in product(SPEEDS, (0.0, 0.5)):  # what two bins share is in one of the shifted bins
        offsets = (positions - speed * starts) / HOP_SAMPLES
        bins = np.floor(offsets / VOTE_BIN + shift).astype(np.int64)
        bins -= bins.min()
        votes = _votes(bins, voters, worths)
        fullest = int(votes.argmax())
        weighed = float(votes[fullest]) * (1 if speed == 1 else SPEED_SHARE)
        if weighed > best:
            best, found = weighed, (speed, bins == fullest)
    if found is None or best < MIN_VOTERS or len(set(voters[found[1]])) < MIN_VOTERS:
        return None
    speed, is_there = found
    middle = round(float(np.median(starts[is_there])))
    offset = float(np.median((positions - speed * starts)[is_there]))
    return Alignment(middle, offset + speed * middle, speed), starts[is_there]


def _votes(bins: NDArray[np.int64], voters: NDArray[np.int64], worths: Floats) -> Floats:
    """Evidence by bin; each segment votes once in it, with its best hit."""
    keys = bins * (int(voters.max()) + 1) + voters
    order = np.lexsort((-worths, keys))
    is_first = np.diff(keys[order], prepend=-1) != 0
    once = order[is_first]
    return np.bincount(bins[once], worths[once]).astype(np.float64)


def _fitted(other: Reference, whole: Sequence[Segment], line: Alignment, starts: Floats, curve: LlrCurve) -> Alignment:
    """The line near a voted one along which the tracks are most alike, from its first voter to its last."""
    first, last = int(starts.min()) // HOP_SAMPLES, int(starts.max()) // HOP_SAMPLES
    for every, speeds, steps in (
        (SAMPLE_EVERY, np.linspace(-0.0075, 0.0075, 7), range(-20, 21, 4)),
        (2, np.linspace(-0.002, 0.002, 9), range(-2, 3)),
    ):
        lines = [
            Alignment(line.instant, line.position + step * FINE, line.speed + change)
            for change, step in product(speeds.tolist(), steps)
        ]
        llr = curve(cosines(other, whole[first : last + 1 : every], lines)).sum(axis=1)
        line = lines[int(llr.argmax())]
    return line


def _alike(along: Floats, curve: LlrCurve) -> Bools:
    """Which segments are alike, by their cosines along a line and those of their neighbours."""
    known = ~np.isnan(along)
    reach = NEIGHBOURS // 2
    sums = np.convolve(np.pad(curve(along), reach), np.ones(NEIGHBOURS), "valid")
    counts = np.convolve(np.pad(known.astype(np.float64), reach), np.ones(NEIGHBOURS), "valid")
    alike: Bools = known & (sums >= _alike_llr(curve) * counts)
    return alike


def _alike_llr(curve: LlrCurve) -> float:
    return ALIKE_SHARE * float(curve(np.ones(1))[0])


def _mark(there: Bools, alike: Bools, line: Alignment) -> None:
    """Sets what the alike segments are beside in the other track, which may have more or fewer segments."""
    edges = np.flatnonzero(np.diff(alike, prepend=False, append=False))
    for first, end in edges.reshape(-1, 2):
        low, high = line.at(int(first) * HOP_SAMPLES), line.at(int(end - 1) * HOP_SAMPLES)
        there[max(0, round(low / HOP_SAMPLES)) : max(0, round(high / HOP_SAMPLES) + 1)] = True
