"""Replays recordings through the tracker, with prepared vectors and hits, while a policy decides what is searched."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.alignment.cosines import cosines
from monitor.core.reference import Reference
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES, Hit, Segment
from monitor.core.thresholds import Thresholds
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import advance, propose, tracks_needed
from monitor.matching.matcher import PLAY_NAMESPACE

GetReferences = Callable[[Collection[int]], Mapping[int, Reference]]
GetHits = Callable[[int], tuple[Hit, ...]]


@dataclass(frozen=True, slots=True)
class Recording:
    """The embeddings of a recording.

    vectors: float32 (n, dimensions); audible: bool (n,); expected_similarity: float32 (n,).
    """

    name: str
    duration_s: float
    vectors: NDArray[np.float32]
    audible: NDArray[np.bool_]
    expected_similarity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which segments are searched. It knows the earlier segments, and the segment's own vector.

    stride: every so many segments are searched.
    on_air_stride: replaces it while a play is on air. None: nothing does.
    near_llr: the others are searched as well if the last segment on the stride has a proposal with this many votes, of
        a track without an open play. None: they are not.
    locked_cosine: a segment is not searched if it is this similar to the track of an open play along its alignment.
        None: there is no such rule.
    locked_s: the least age of such a play.
    cell: what is known of open plays is their state before the first segment of each group of so many.
    is_near_at_once: whether `near_llr` is judged after each segment, or by cell as well.
    top_k: hits for each segment.
    """

    name: str
    stride: int = 1
    on_air_stride: int | None = None
    near_llr: float | None = None
    locked_cosine: float | None = None
    locked_s: float = 5.0
    cell: int = 1
    is_near_at_once: bool = True
    top_k: int = 10


@dataclass(frozen=True, slots=True)
class Replayed:
    """The plays of a recording, when each was first reported, and how many of its audible segments were searched."""

    plays: tuple[Play, ...]
    reported: Mapping[uuid.UUID, int]
    n_audible: int
    n_searched: int


@dataclass(frozen=True, slots=True)
class _State:
    """A stream's memory, and whether the last segment on the stride was near a track without an open play."""

    recent: tuple[Segment, ...] = ()
    open: tuple[Play, ...] = ()
    ended: tuple[Play, ...] = ()
    is_near: bool = False


def replay(
    recording: Recording, get_hits: GetHits, get_references: GetReferences, thresholds: Thresholds, policy: Policy
) -> Replayed:
    """Runs the tracker over a recording, one segment at a time.

    Args:
        recording: its embeddings.
        get_hits: the hits of a segment by its index, best first.
        get_references: the exact vectors of tracks.
        thresholds: of the detector.
        policy: what to search.
    """
    closed: list[Play] = []
    reported: dict[uuid.UUID, int] = {}
    state = known = _State()
    n_searched = 0
    for i, is_audible in enumerate(recording.audible.tolist()):
        if i % policy.cell == 0:
            known = state
        elif policy.is_near_at_once:
            known = replace(known, is_near=state.is_near)
        vector = recording.vectors[i] if is_audible else None
        segment = Segment(i * HOP_SAMPLES, vector, (), float(recording.expected_similarity[i]))
        if is_audible and _is_searched(segment, known, get_references, policy):
            n_searched += 1
            segment = replace(segment, hits=get_hits(i)[: policy.top_k])
        horizon = segment.start - thresholds.memory_samples
        recent = (*(one for one in state.recent if one.start >= horizon), segment)
        proposals = propose(recent, 1, thresholds)
        references = get_references(tracks_needed(proposals, state.open))
        update = advance(recent, proposals, state.open, state.ended, references, thresholds, _play_ids(recording.name))
        is_near = state.is_near
        if policy.near_llr is not None and i % _stride(known, policy) == 0:
            is_near = _is_near(recent, known.open if policy.cell > 1 else update.open, thresholds, policy.near_llr)
        state = _State(recent, update.open, update.ended, is_near)
        closed += update.closed
        reported |= update.opened_at
    return Replayed((*closed, *state.open), reported, int(recording.audible.sum()), n_searched)


def _play_ids(name: str) -> Callable[[int, int], uuid.UUID]:
    return lambda track, start: uuid.uuid5(PLAY_NAMESPACE, f"{name}/{track}/{start}")


def _is_searched(segment: Segment, known: _State, get_references: GetReferences, policy: Policy) -> bool:
    if policy.locked_cosine is not None and _is_locked(segment, known.open, get_references, policy):
        return False
    return known.is_near or segment.start // HOP_SAMPLES % _stride(known, policy) == 0


def _stride(known: _State, policy: Policy) -> int:
    if policy.on_air_stride is None or not known.recent:
        return policy.stride
    heard_until = known.recent[-1].start + SEGMENT_SAMPLES
    return policy.on_air_stride if any(play.end == heard_until for play in known.open) else policy.stride


def _is_near(recent: tuple[Segment, ...], open_: tuple[Play, ...], thresholds: Thresholds, near_llr: float) -> bool:
    proposed = propose(recent, 1, replace(thresholds, vote_llr=near_llr))[0]
    return not {proposal.track for proposal in proposed} <= {play.track for play in open_}


def _is_locked(segment: Segment, open_: tuple[Play, ...], get_references: GetReferences, policy: Policy) -> bool:
    old = [play for play in open_ if play.end - play.start >= policy.locked_s * SAMPLE_RATE_HZ]
    references = get_references({play.track for play in old})
    return any(
        bool(cosines(references[play.track], [segment], [play.alignment])[0, 0] >= policy.locked_cosine)
        for play in old
        if play.track in references
    )
