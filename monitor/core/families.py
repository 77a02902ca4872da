"""Families: which tracks are near-identical to one another, in whole or in part.

Hits of some of a track's segments propose alignments with other tracks. The exact cosines along these show how much of
the two is alike. Both are clean recordings, so weak similarity over a whole track is not enough: music of the same kind
has that, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.cosines import cosines
from monitor.core.alignment.fitting import POSITION_STEP_SAMPLES
from monitor.core.arrays import Bools, Floats, Ints
from monitor.core.likelihood import LlrCurve
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, Hit, Segment

SAMPLE_EVERY = 10  # audible segments: the shortest common part that counts has four of them
MIN_SAMPLES = 16  # of a jingle, if it has that many segments
MAX_HITS = 8  # of a segment in one other track, in a search without the index
MAX_CANDIDATES = 16  # other tracks that are compared with one: those with the most votes
MIN_VOTERS = 3  # segments along one alignment, and their votes: fewer occur by chance

# Editors stretch music to fit a slot, and the vectors tolerate it: 7 of 7 tracks were found at 60 % of their speed, and
# 7 of 7 at 160 %. The most likely speeds come first.
SPEEDS = tuple(sorted((1 + percent / 100 for percent in range(-40, 61)), key=lambda speed: abs(speed - 1)))
OTHER_SPEED_SHARE = 0.9  # of the votes count at another speed than 1, as a hundred of these are tried
VOTE_BIN_HOPS = 4  # what 1 % of speed adds up to in three minutes
MAX_ALIGNMENTS = 4  # an edit has pieces of its original at several positions

# Segments are alike if they and their neighbors have, on average, this share of the LLR of identical ones. Measured on
# the `train` and `tune` splits, in which other music stays well below it.
ALIKE_SHARE = 0.2
NEIGHBORHOOD_SEGMENTS = 9  # a stem is silent for a beat or two; similarity by chance does not last as long
MIN_COMMON_SEGMENTS = 40  # 20 s along one alignment
MIN_SHARE = 0.5  # of the shorter track
MIN_SHORT_SHARE = 0.8  # of both, if shorter than MIN_COMMON_SEGMENTS: encodings of a jingle may end a segment apart


@dataclass(frozen=True, slots=True)
class RelatedTrack:
    """A track that a new one is near-identical to.

    share: of the new track's audible segments, those that this track has as well.
    related_share: of this track's audible segments, those that the new track has as well.
    speed: of the new track relative to this one, along their longest common part.
    """

    track: int
    share: float
    related_share: float
    speed: float

    @property
    def is_part(self) -> bool:
        """Whether one of the two is only a part of the other, which may contain other music as well."""
        return min(self.share, self.related_share) < MIN_SHARE


@dataclass(frozen=True, slots=True)
class FamilyRelation:
    """Two tracks that are near-identical. is_part: one is only a part of the other (`RelatedTrack.is_part`)."""

    track: int
    related: int
    is_part: bool


def sample_segments(reference: Reference) -> list[int]:
    """Indices of the segments of a track whose hits suffice to find its related tracks."""
    audible = np.flatnonzero(reference.is_sound)
    every = max(1, min(SAMPLE_EVERY, len(audible) // MIN_SAMPLES))
    return [int(segment) for segment in audible[::every]]


def hits_in(vectors: NDArray[np.float32], others: Mapping[int, Reference]) -> list[tuple[Hit, ...]]:
    """Searches tracks that are not in the index yet.

    Args:
        vectors: float32 (n, dimensions).
        others: by track.

    Returns:
        For each vector the MAX_HITS best hits in each track, best first.
    """
    found: list[list[Hit]] = [[] for _ in vectors]
    for track, other in others.items():
        scores = vectors @ other.vectors.T
        n_best = min(MAX_HITS, len(other))
        best = np.argpartition(-scores, n_best - 1, axis=1)[:, :n_best]
        for hits, row, segments in zip(found, scores, best, strict=True):
            hits += [Hit(track, int(segment) * HOP_SAMPLES, float(row[segment])) for segment in segments]
    return [tuple(sorted(hits, key=lambda hit: -hit.score)) for hits in found]


def candidate_tracks(samples: Sequence[Segment], curve: LlrCurve) -> list[int]:
    """The tracks with enough hits to be related, most votes first, at most MAX_CANDIDATES."""
    votes: defaultdict[int, list[float]] = defaultdict(list)
    for segment in samples:
        best: dict[int, float] = {}
        for hit in segment.hits:
            best[hit.track] = max(hit.score, best.get(hit.track, hit.score))
        for track, llr in zip(best, curve(np.array(list(best.values()))), strict=True):
            if llr >= _min_alike_llr(curve):
                votes[track].append(float(llr))
    enough = {track: sum(each) for track, each in votes.items() if len(each) >= MIN_VOTERS}
    return sorted(enough, key=lambda track: (-enough[track], track))[:MAX_CANDIDATES]


def find_related(
    new: Reference, samples: Sequence[Segment], others: Mapping[int, Reference], curve: LlrCurve
) -> list[RelatedTrack]:
    """The other tracks that a new one is near-identical to, most alike first.

    Args:
        samples: segments of the new track (see `sample_segments`) with their hits in other tracks.
        others: by track.
        curve: LLR of a segment by its cosine, against music that resembles the track.
    """
    whole = [Segment(i * HOP_SAMPLES, vector if new.is_sound[i] else None) for i, vector in enumerate(new.vectors)]
    found = []
    for track, other in others.items():
        hits = [(each.start, hit.position, hit.score) for each in samples for hit in each.hits if hit.track == track]
        related = _related(track, whole, other, np.array(hits).reshape(-1, 3), curve)
        if related is not None:
            found.append(related)
    return sorted(found, key=lambda each: (-max(each.share, each.related_share), each.track))


def group_families(relations: Iterable[FamilyRelation]) -> list[tuple[int, ...]]:
    """The families of two tracks or more, each in the order of its tracks; those of the lowest track first.

    Tracks that are related in whole, directly or through others, are one family. A part and the whole that contains it
    belong to each other's family, but a part joins no families. So an hour's mix does not make one family of all tracks
    in it. A track may therefore be in several families.
    """
    whole: defaultdict[int, set[int]] = defaultdict(set)
    part: defaultdict[int, set[int]] = defaultdict(set)
    for relation in relations:
        near = part if relation.is_part else whole
        near[relation.track].add(relation.related)
        near[relation.related].add(relation.track)
    cores: dict[int, frozenset[int]] = {}
    for track in sorted({*whole, *part}):
        if track not in cores:
            core = _reachable(track, whole)
            cores |= dict.fromkeys(core, core)
    groups = {core: core.union(*(cores[other] for track in core for other in part[track])) for core in cores.values()}
    kept = [group for group in groups.values() if not any(group < groups[cores[track]] for track in group)]
    return sorted({tuple(sorted(group)) for group in kept})


def _reachable(track: int, near: Mapping[int, set[int]]) -> frozenset[int]:
    reached, left = {track}, [track]
    while left:
        new = near.get(left.pop(), set()) - reached
        reached |= new
        left += new
    return frozenset(reached)


def _related(
    track: int, whole: Sequence[Segment], other: Reference, hits: Floats, curve: LlrCurve
) -> RelatedTrack | None:
    """Compares a track with another one, along one alignment after another.

    Args:
        track: the other one.
        whole: all segments of the one track.
        hits: start of the segment in the one track, position in the other, cosine: float64 (n, 3).
    """
    audible = sum(segment.vector is not None for segment in whole)
    here, there = np.zeros(len(whole), np.bool_), np.zeros(len(other), np.bool_)
    minimum = min(MIN_COMMON_SEGMENTS, MIN_SHORT_SHARE * audible)
    longest, speed = 0, 1.0
    for _ in range(MAX_ALIGNMENTS):
        hits = hits[~here[(hits[:, 0] // HOP_SAMPLES).astype(np.int64)]]
        voted = _most_voted(hits, curve)
        if voted is None:
            break
        alignment = _fit(other, whole, *voted, curve)
        alike = _alike(cosines(other, whole, [alignment])[0], curve) & ~here
        n_alike = int(alike.sum())
        if n_alike < minimum:
            break
        if n_alike > longest:
            longest, speed = n_alike, alignment.speed
        here |= alike
        _mark(there, alike, alignment)
    if longest == 0:
        return None
    share = float(here.sum()) / audible
    related_share = float((there & (other.is_sound > 0)).sum() / other.is_sound.sum())
    is_long = longest >= MIN_COMMON_SEGMENTS and max(share, related_share) >= MIN_SHARE
    is_related = is_long or min(share, related_share) >= MIN_SHORT_SHARE
    return RelatedTrack(track, share, related_share, speed) if is_related else None


def _most_voted(hits: Floats, curve: LlrCurve) -> tuple[Alignment, Floats] | None:
    """The alignment with the most votes, and the starts of the segments that vote for it: a Hough transform."""
    if len(hits) < MIN_VOTERS:
        return None
    starts, positions = hits[:, 0], hits[:, 1]
    llrs = np.maximum(curve(hits[:, 2]), 0)
    _, voters = np.unique(starts, return_inverse=True)
    best, found = 0.0, None
    for speed, shift in product(SPEEDS, (0.0, 0.5)):  # hits that two bins share are in one of the shifted bins
        offsets = (positions - speed * starts) / HOP_SAMPLES
        bins = np.floor(offsets / VOTE_BIN_HOPS + shift).astype(np.int64)
        bins -= bins.min()
        votes = _votes(bins, voters, llrs)
        fullest = int(votes.argmax())
        weighted = float(votes[fullest]) * (1 if speed == 1 else OTHER_SPEED_SHARE)
        if weighted > best:
            best, found = weighted, (speed, bins == fullest)
    if found is None or best < MIN_VOTERS or len(set(voters[found[1]])) < MIN_VOTERS:
        return None
    speed, is_in_bin = found
    middle = round(float(np.median(starts[is_in_bin])))
    offset = float(np.median((positions - speed * starts)[is_in_bin]))
    return Alignment(middle, offset + speed * middle, speed), starts[is_in_bin]


def _votes(bins: Ints, voters: Ints, llrs: Floats) -> Floats:
    """Sum of the LLRs in each bin, float64. Each voter, a segment, has one vote in a bin: its best hit."""
    keys = bins * (int(voters.max()) + 1) + voters
    order = np.lexsort((-llrs, keys))
    is_first = np.diff(keys[order], prepend=-1) != 0
    once = order[is_first]
    return np.bincount(bins[once], llrs[once]).astype(np.float64)


def _fit(
    other: Reference, whole: Sequence[Segment], alignment: Alignment, starts: Floats, curve: LlrCurve
) -> Alignment:
    """The alignment near a voted one with the largest LLR, from the first of its voters to the last."""
    first, last = int(starts.min()) // HOP_SAMPLES, int(starts.max()) // HOP_SAMPLES
    for every, changes, steps in (
        (SAMPLE_EVERY, np.linspace(-0.0075, 0.0075, 7), range(-20, 21, 4)),
        (2, np.linspace(-0.002, 0.002, 9), range(-2, 3)),
    ):
        alignments = [
            Alignment(alignment.instant, alignment.position + step * POSITION_STEP_SAMPLES, alignment.speed + change)
            for change, step in product(changes.tolist(), steps)
        ]
        llrs = curve(cosines(other, whole[first : last + 1 : every], alignments)).sum(axis=1)
        alignment = alignments[int(llrs.argmax())]
    return alignment


def _alike(along: Floats, curve: LlrCurve) -> Bools:
    """Which segments are alike, bool (n,), by their cosines along an alignment and those of their neighbors."""
    known = ~np.isnan(along)
    reach = NEIGHBORHOOD_SEGMENTS // 2
    sums = np.convolve(np.pad(curve(along), reach), np.ones(NEIGHBORHOOD_SEGMENTS), "valid")
    counts = np.convolve(np.pad(known.astype(np.float64), reach), np.ones(NEIGHBORHOOD_SEGMENTS), "valid")
    alike: Bools = known & (sums >= _min_alike_llr(curve) * counts)
    return alike


def _min_alike_llr(curve: LlrCurve) -> float:
    return ALIKE_SHARE * float(curve(np.ones(1))[0])


def _mark(there: Bools, alike: Bools, alignment: Alignment) -> None:
    """Marks in `there` the other track's segments beside alike ones; at another speed their number differs."""
    edges = np.flatnonzero(np.diff(alike, prepend=False, append=False))
    for first, end in edges.reshape(-1, 2):
        low, high = (alignment.position_at(int(i) * HOP_SAMPLES) for i in (first, end - 1))
        there[max(0, round(low / HOP_SAMPLES)) : max(0, round(high / HOP_SAMPLES) + 1)] = True
