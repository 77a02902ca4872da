"""Scores reported plays against the truth, in seconds, as BAF does (Cortes et al., ISMIR 2022). Pure.

Per (recording, track), the timeline is cut at every boundary of truth and results. Each piece is a true positive, a
false positive or a false negative, without any tolerance. A result belongs to the play of its track that it overlaps
most. A result that overlaps no play is a false play.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from monitor.evaluation.errors import EvaluationError
from monitor.evaluation.plays import Result, Truth, shared_s
from monitor.evaluation.report import LONG_S, Deviation, Latency, Report, Row, Seconds

Played = TypeVar("Played", Truth, Result)

NO_FAMILIES: Mapping[str, str] = MappingProxyType({})
CLEAR = "clear"
# Each band starts at its bound, inclusive, and ends at the bound of the band before it.
BANDS_DB = ((0.0, ">0 dB"), (-6.0, "0 to -6 dB"), (-12.0, "-6 to -12 dB"), (-18.0, "-12 to -18 dB"))
BELOW = "below -18 dB"
BANDS = (CLEAR, *(name for _, name in BANDS_DB), BELOW)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the timeline between two adjacent boundaries.

    plays: the plays it counts for; empty if only false plays reported it.
    """

    length_s: float
    plays: tuple[Truth, ...]
    was_played: bool
    was_reported: bool


@dataclass(frozen=True, slots=True)
class ScoredPlay:
    """A play with the results that overlap it, and those of them that belong to it, in order."""

    play: Truth
    overlapping: tuple[Result, ...]
    own: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The pieces, plays and false plays of one track (or family) in one recording."""

    pieces: tuple[Piece, ...]
    plays: tuple[ScoredPlay, ...]
    false: tuple[Result, ...]


def score(
    truth: Sequence[Truth],
    results: Sequence[Result],
    duration_s: Mapping[str, float],
    families: Mapping[str, str] = NO_FAMILIES,
) -> Report:
    """Scores the results for some recordings.

    duration_s: the duration of every recording, including those without plays.
    families: track -> family. Tracks of one family count as the same; a track without one is a family of its own.

    Raises:
        EvaluationError: truth or results name a recording that duration_s does not have.
    """
    check_recordings("truth", truth, duration_s)
    check_recordings("results", results, duration_s)
    groups = _groups(truth, results, families)
    pieces = [piece for group in groups for piece in group.pieces]
    plays = [play for group in groups for play in group.plays]
    false = tuple(result for group in groups for result in group.false)
    found = [each for each in plays if each.overlapping]
    with_play = {play.recording for play in truth}
    return Report(
        recordings=len(duration_s),
        duration_s=sum(duration_s.values()),
        all=Row("all", len(plays), len(found), _seconds(pieces)),
        long=_row("long", _is_long, plays, pieces),
        kinds=_rows(sorted({play.kind for play in truth}), lambda play: play.kind, plays, pieces),
        bands=_rows(BANDS, _band, plays, pieces),
        results=len(results),
        reports_per_found_play=_mean([max(1, len(each.own)) for each in found]),
        start=_deviation([min(r.start_s for r in each.own) - each.play.start_s for each in plays if each.own]),
        end=_deviation([max(r.end_s for r in each.own) - each.play.end_s for each in plays if each.own]),
        position=_deviation([off for each in plays if (off := _position_error_s(each)) is not None]),
        latency_clear=_latency([each for each in found if each.play.snr_db is None]),
        latency_covered=_latency([each for each in found if each.play.snr_db is not None]),
        missed=tuple(each.play for each in plays if not each.overlapping),
        false_plays=false,
        false_play_s=sum(piece.length_s for piece in pieces if not piece.plays),
        unknown_s=sum(length_s for recording, length_s in duration_s.items() if recording not in with_play),
        unknown_false_plays=sum(result.recording not in with_play for result in false),
    )


def check_recordings(table: str, rows: Iterable[Truth | Result], recordings: Collection[str]) -> None:
    """Checks that every row of a table names one of the recordings.

    Raises:
        EvaluationError: a row names another recording.
    """
    if unknown := sorted({row.recording for row in rows}.difference(recordings)):
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise EvaluationError(
            f"{table}: {unknown[0]}{more} is not among the recordings: add the recording or remove its rows"
        )


def _groups(truth: Sequence[Truth], results: Sequence[Result], families: Mapping[str, str]) -> list[Group]:
    plays, claims = _by_track(truth, families), _by_track(results, families)
    return [_group(plays.get(key, []), claims.get(key, [])) for key in sorted({*plays, *claims})]


def _by_track(rows: Sequence[Played], families: Mapping[str, str]) -> dict[tuple[str, str], list[Played]]:
    """Groups rows by recording and family, sorted by time."""
    found: dict[tuple[str, str], list[Played]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.start_s, row.end_s)):
        found[row.recording, families.get(row.track, row.track)].append(row)
    return found


def _group(plays: Sequence[Truth], results: Sequence[Result]) -> Group:
    claims = [(result, _play_of(result, plays)) for result in results]
    scored = tuple(
        ScoredPlay(
            play,
            tuple(result for result in results if shared_s(result, play)),
            tuple(result for result, owner in claims if owner is play),
        )
        for play in plays
    )
    return Group(tuple(_pieces(plays, claims)), scored, tuple(result for result, owner in claims if owner is None))


def _play_of(result: Result, plays: Sequence[Truth]) -> Truth | None:
    """The play that a result overlaps most; of two with equal overlap, the shorter one."""
    sharing = [play for play in plays if shared_s(result, play)]
    return max(sharing, key=lambda play: (shared_s(result, play), play.start_s - play.end_s), default=None)


def _pieces(plays: Sequence[Truth], claims: Sequence[tuple[Result, Truth | None]]) -> Iterator[Piece]:
    """The pieces of the timeline in which the track was played or reported."""
    rows: list[Truth | Result] = [*plays, *(result for result, _ in claims)]
    for start_s, end_s in pairwise(sorted({edge for row in rows for edge in (row.start_s, row.end_s)})):
        played = [play for play in plays if play.start_s <= start_s and end_s <= play.end_s]
        owners = [owner for result, owner in claims if result.start_s <= start_s and end_s <= result.end_s]
        if played or owners:
            counts_for = played or [owner for owner in owners if owner is not None]
            yield Piece(end_s - start_s, tuple(counts_for), bool(played), bool(owners))


def _seconds(pieces: Iterable[Piece]) -> Seconds:
    tp_s = fp_s = fn_s = 0.0
    for piece in pieces:
        if not piece.was_played:
            fp_s += piece.length_s
        elif piece.was_reported:
            tp_s += piece.length_s
        else:
            fn_s += piece.length_s
    return Seconds(tp_s, fp_s, fn_s)


def _rows(
    names: Iterable[str], name_of: Callable[[Truth], str], plays: Sequence[ScoredPlay], pieces: Sequence[Piece]
) -> tuple[Row, ...]:
    """A row per name, without names that no play has."""

    def row(name: str) -> Row:
        return _row(name, lambda play: name_of(play) == name, plays, pieces)

    return tuple(found for name in names if (found := row(name)).plays)


def _row(name: str, chosen: Callable[[Truth], bool], plays: Sequence[ScoredPlay], pieces: Sequence[Piece]) -> Row:
    """The row of the chosen plays. A piece of two simultaneous plays of one track may count in two rows."""
    those = [each for each in plays if chosen(each.play)]
    seconds = _seconds(piece for piece in pieces if any(map(chosen, piece.plays)))
    return Row(name, len(those), sum(bool(each.overlapping) for each in those), seconds)


def _is_long(play: Truth) -> bool:
    return play.end_s - play.start_s >= LONG_S


def _band(play: Truth) -> str:
    snr_db = play.snr_db
    if snr_db is None:
        return CLEAR
    if snr_db > 0:
        return BANDS_DB[0][1]
    return next((name for bound_db, name in BANDS_DB[1:] if snr_db >= bound_db), BELOW)


def _position_error_s(scored: ScoredPlay) -> float | None:
    """The error of the longest result that names the played track itself; positions in other versions differ."""
    same = [result for result in scored.own if result.track == scored.play.track]
    if not same:
        return None
    best = max(same, key=lambda result: shared_s(result, scored.play))
    return best.track_start_s - scored.play.position_s(best.start_s)


def _deviation(off_s: Sequence[float]) -> Deviation | None:
    if not off_s:
        return None
    size = np.abs(off_s)
    return Deviation(len(off_s), float(np.median(size)), float(np.percentile(size, 95)), float(np.median(off_s)))


def _latency(found: Sequence[ScoredPlay]) -> Latency | None:
    """The latency of the plays whose time of the first report is known."""
    late_s = [
        min(known) - each.play.start_s
        for each in found
        if (known := [result.reported_s for result in each.own if result.reported_s is not None])
    ]
    if not late_s:
        return None
    return Latency(len(late_s), float(np.median(late_s)), float(np.percentile(late_s, 95)))


def _mean(counts: Sequence[int]) -> float | None:
    return sum(counts) / len(counts) if counts else None
