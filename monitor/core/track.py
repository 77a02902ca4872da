"""The tracker: from a stream's segments to plays that open, extend and close. A pure function of the last minute.

Every segment is decided on alone and in order, so that any cutting of a stream into batches gives the same plays:
    1. extend    each play on air by the segment, if it agrees with the track at its place on the play's line
    2. propose   lines that the hits of the last segments vote for
    3. judge     each line by the exact cosines of the last segments: the best of a track, none far behind another's
    4. open      a play, from where the evidence begins; or move one of that track to a line that fits it better
    5. close     plays that have not agreed for too long
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.core.align import exact, fine_offsets, votes
from monitor.core.match import Play, Reference, Segment
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES
from monitor.core.thresholds import Thresholds

# A reconnect finds its place on the clock anew, from network timing: a line this near is the same play.
SAME_LINE_SAMPLES = 2 * HOP_SAMPLES
# Of a run's segments so many must be audible on both sides.
HEARD_SHARE = 0.75
# Lines of one track that are looked at: a looping track has many, and any of them will do.
LINES_MOST = 4

PlayId = Callable[[int, int], uuid.UUID]
References = Mapping[int, Reference]


@dataclass(frozen=True, slots=True)
class Step:
    """The plays on air after some segments, and those that opened and closed meanwhile (a short one did both)."""

    open: tuple[Play, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through a track that the newest segments lie on, with the best mean over one of the runs."""

    track: int
    offset: int
    score: float
    segments: int


def tracks_needed(recent: Sequence[Segment], open_: Iterable[Play], thresholds: Thresholds) -> set[int]:
    """Tracks whose exact vectors `advance` may look at."""
    return {play.track for play in open_} | votes(recent, thresholds.least_votes).keys()


def advance(
    recent: Sequence[Segment],
    n_new: int,
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> Step:
    """Takes the last `n_new` of the remembered segments in; `play_id` names a play by its track and first start."""
    opened: dict[uuid.UUID, Play] = {}
    closed: list[Play] = []
    for end in range(len(recent) - n_new + 1, len(recent) + 1):
        past = recent[:end]
        open_ = tuple(_extended(play, past, references, thresholds) for play in open_)
        for line in _lines(past, open_, references, thresholds):
            open_, new, replaced = _admit(line, past, open_, references, thresholds, play_id)
            closed += replaced
            opened |= {play.id: play for play in new}
        open_, ended = expire(open_, past[-1].start + SEGMENT_SAMPLES, thresholds)
        closed += ended
    current = {play.id: play for play in (*open_, *closed)}
    return Step(open_, tuple(current[play] for play in opened), tuple(closed))


def expire(
    open_: tuple[Play, ...], heard_until: int, thresholds: Thresholds
) -> tuple[tuple[Play, ...], tuple[Play, ...]]:
    """The plays that are still on air at a stream clock, and those that have been silent for too long."""
    kept = tuple(play for play in open_ if heard_until - play.end <= thresholds.hole_samples)
    return kept, tuple(play for play in open_ if play not in kept)


def _extended(play: Play, past: Sequence[Segment], references: References, thresholds: Thresholds) -> Play:
    """The play with the newest segment, if that agrees; segments of a hole before it then count too."""
    reference = references.get(play.track)
    if reference is None or not _agrees(reference, past[-1:], play.offset, thresholds):
        return play
    unscored = [s for s in past[-_hole_segments(thresholds) :] if s.start > play.end - SEGMENT_SAMPLES]
    return _with_scores(play, reference, unscored)


def _with_scores(play: Play, reference: Reference, segments: Sequence[Segment]) -> Play:
    scores = exact(reference, segments, [play.offset])[0]
    heard = scores[~np.isnan(scores)]
    return replace(
        play,
        end=segments[-1].start + SEGMENT_SAMPLES,
        score_sum=play.score_sum + float(heard.sum()),
        scored=play.scored + len(heard),
    )


def _agrees(reference: Reference, segments: Sequence[Segment], offset: int, thresholds: Thresholds) -> bool:
    return bool((exact(reference, segments, [offset]) >= thresholds.keep_score).all())


def _hole_segments(thresholds: Thresholds) -> int:
    """How many segments back the last agreement of a play on air can lie."""
    return thresholds.hole_samples // HOP_SAMPLES + 3


def _lines(
    past: Sequence[Segment], open_: tuple[Play, ...], references: References, thresholds: Thresholds
) -> list[Line]:
    """Lines that are good enough to be plays, at most one a track, best first."""
    newest = past[-thresholds.longest_run :]
    proposed = votes(newest, thresholds.least_votes)
    lines = [
        line
        for track, offsets in proposed.items()
        if (reference := references.get(track)) is not None
        and (line := _best(track, reference, newest, offsets[:LINES_MOST], thresholds)) is not None
    ]
    if not lines:  # most of the time: nothing new to compare the plays on air with
        return []
    rivals = {*((line.track, line.offset) for line in lines), *((play.track, play.offset) for play in open_)}
    scores = {rival: exact(references[rival[0]], newest, [rival[1]]) for rival in rivals if rival[0] in references}
    kept = [line for line in lines if not _outdone(line, scores, thresholds.lead)]
    return sorted(kept, key=lambda line: (-line.score, line.track))


def _best(
    track: int, reference: Reference, newest: Sequence[Segment], offsets: Sequence[int], thresholds: Thresholds
) -> Line | None:
    """The track's best line over the longest of the runs that it passes."""
    fine = sorted({fine for offset in offsets for fine in fine_offsets(offset)})
    scores = exact(reference, newest, fine)
    passing: list[Line] = []
    for run in thresholds.runs:
        means = _means(scores, run.segments)
        best = int(means.argmax())
        if means[best] >= run.score:
            passing.append(Line(track, fine[best], float(means[best]), run.segments))
    return max(passing, key=lambda line: line.segments, default=None)


def _means(scores: NDArray[np.float32], segments: int) -> NDArray[np.float32]:
    """Mean of each row's last scores; -1 where too few of them are heard."""
    last = scores[:, -segments:]
    heard = ~np.isnan(last)
    n_heard = heard.sum(axis=1)
    sums = np.where(heard, last, 0).sum(axis=1)
    means: NDArray[np.float32] = np.where(n_heard >= HEARD_SHARE * segments, sums / np.maximum(n_heard, 1), -1)
    return means


def _outdone(line: Line, scores: Mapping[tuple[int, int], NDArray[np.float32]], lead: float) -> bool:
    """Whether another track fits the same segments far better."""
    return any(
        track != line.track and _means(rival, line.segments)[0] >= line.score + lead
        for (track, _), rival in scores.items()
    )


def _admit(
    line: Line,
    past: Sequence[Segment],
    open_: tuple[Play, ...],
    references: References,
    thresholds: Thresholds,
    play_id: PlayId,
) -> tuple[tuple[Play, ...], list[Play], list[Play]]:
    """The plays on air once the line is among them, what opened and what it took the place of."""
    same = [play for play in open_ if play.track == line.track]
    reference = references[line.track]
    for play in same:
        moved, is_on_air = play, play.end == past[-1].start + SEGMENT_SAMPLES
        if abs(play.offset - line.offset) > SAME_LINE_SAMPLES:
            moved = _corrected(play, line, past, reference)
        elif not is_on_air:
            moved = _extended(replace(play, offset=line.offset), past, references, thresholds)
        if is_on_air or moved is not play:
            return tuple(moved if other is play else other for other in open_), [], []
    earliest = max((play.end for play in same), default=past[0].start)
    new = _opened(line, reference, [s for s in past if s.start >= earliest - HOP_SAMPLES], thresholds, play_id)
    if new is None:
        return open_, [], []
    return (*(play for play in open_ if play not in same), new), [new], same


def _corrected(play: Play, line: Line, past: Sequence[Segment], reference: Reference) -> Play:
    """The play on another line of its track, if that fits all that was heard of it better: repeats look alike at first.

    A play that began before what is remembered stays where it is.
    """
    heard = [segment for segment in past if segment.start >= play.start]
    if heard[0].start != play.start:
        return play
    present, other = _means(exact(reference, heard, [play.offset, line.offset]), len(heard))
    if other <= present:
        return play
    return _with_scores(replace(play, offset=line.offset, score_sum=0.0, scored=0), reference, heard)


def _opened(
    line: Line, reference: Reference, past: Sequence[Segment], thresholds: Thresholds, play_id: PlayId
) -> Play | None:
    """A play from the first segment that agrees without too long a hole up to the last one that does."""
    agreeing = np.flatnonzero(exact(reference, past, [line.offset])[0] >= thresholds.keep_score).tolist()
    if not agreeing:
        return None
    starts = [past[i].start for i in agreeing]
    holes = np.flatnonzero(np.diff(starts) > thresholds.hole_samples)
    first, last = agreeing[holes[-1] + 1 if len(holes) else 0], agreeing[-1]
    begins = past[first].start
    empty = Play(play_id(line.track, begins), line.track, begins, begins, line.offset, 0.0, 0)
    play = _with_scores(empty, reference, past[first : last + 1])
    return play if play.scored else None
