"""Compares what Airtrace reported with what the station broadcast. Pure; scores are in seconds, as in BAF.

Broadcast time is in seconds since the station went on the air. A reported match belongs to the play of its track that
it overlaps most. A match that overlaps no play of its track is a false claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.demo.intervals import Interval, common, measure
from monitor.demo.program import Item, Kind, Play, Program
from monitor.demo.reported import Reported, minutes, parse, printable

MAX_POSITION_S = 2.0  # beyond it, the report says so: a track that repeats itself may be found one repetition away


@dataclass(frozen=True, slots=True)
class Row:
    """A play, or an item without catalog music, and what was reported about it. Errors are reported minus true values.

    position_error_s: error of the position in the track at the reported start.
    claims: names of tracks that were wrongly reported there.
    """

    kind: str
    title: str
    start_s: float
    end_s: float
    known: bool
    found: bool = False
    start_error_s: float | None = None
    position_error_s: float | None = None
    reported_s: float | None = None
    score: float | None = None
    n_matches: int = 0
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The report in figures.

    clock_offset_s: median position error. An error that all plays share is delay.
    """

    plays: int
    found: int
    duplicates: int
    false_claims: int
    precision: float
    recall: float
    f1: float
    clock_offset_s: float | None
    worst_position_error_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What was broadcast, next to what was reported."""

    rows: tuple[Row, ...]
    summary: Summary

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Claim:
    """A reported match in broadcast time."""

    match: Reported
    start_s: float
    end_s: float

    @property
    def interval(self) -> Interval:
        return self.start_s, self.end_s


def compare(program: Program, matches: Iterable[Mapping[str, Any]], on_air_at: datetime) -> Report:
    """Compares matches, in the API's JSON, with the ground truth."""
    claims = [_claim(parse(match), on_air_at) for match in matches]
    truth = program.truth
    owners = {id(claim): _owner(claim, truth) for claim in claims}
    false = [claim for claim in claims if owners[id(claim)] is None]
    plays = {play: [claim for claim in claims if owners[id(claim)] is play] for play in truth}
    rows = [_play_row(play, found, program, false) for play, found in plays.items()]
    rows += [_other_row(item, false) for item in program.items if item.kind not in (Kind.KNOWN, Kind.BED)]
    ordered = tuple(sorted(rows, key=lambda row: row.start_s))
    return Report(ordered, _summary(ordered, claims, truth, len(false)))


def _claim(match: Reported, on_air_at: datetime) -> Claim:
    start_s, end_s = ((instant - on_air_at).total_seconds() for instant in (match.start, match.end))
    return Claim(match, start_s, end_s)


def _owner(claim: Claim, truth: Sequence[Play]) -> Play | None:
    candidates = [play for play in truth if play.path == claim.match.source and _shared(claim, play) > 0]
    return max(candidates, key=lambda play: _shared(claim, play), default=None)


def _shared(claim: Claim, play: Play) -> float:
    return measure(common([claim.interval], [(play.start_s, play.end_s)]))


def _play_row(play: Play, found: Sequence[Claim], program: Program, false: Sequence[Claim]) -> Row:
    item = next(i for i in program.items if i.start_s == play.start_s and i.music and i.music.path == play.path)
    claims = _wrong(play.start_s, play.end_s, false)
    if not found:
        return Row(item.kind, item.title, play.start_s, play.end_s, known=True, claims=claims)
    longest = max(found, key=lambda claim: claim.end_s - claim.start_s)
    expected_s = play.track_start_s + longest.start_s - play.start_s
    return Row(
        kind=item.kind,
        title=item.title,
        start_s=play.start_s,
        end_s=play.end_s,
        known=True,
        found=True,
        start_error_s=round(min(claim.start_s for claim in found) - play.start_s, 3),
        position_error_s=round(longest.match.track_start_s - expected_s, 3),
        reported_s=round(measure(claim.interval for claim in found), 3),
        score=longest.match.score,
        n_matches=len(found),
        claims=claims,
    )


def _other_row(item: Item, false: Sequence[Claim]) -> Row:
    claims = _wrong(item.start_s, item.end_s, false)
    return Row(item.kind, item.title, item.start_s, item.end_s, known=False, claims=claims)


def _wrong(start_s: float, end_s: float, false: Sequence[Claim]) -> tuple[str, ...]:
    """The names of the tracks that false claims in this interval report."""
    return tuple(printable(claim.match.name) for claim in false if common([claim.interval], [(start_s, end_s)]))


def _summary(rows: Sequence[Row], claims: Sequence[Claim], truth: Sequence[Play], n_false: int) -> Summary:
    precision, recall = _in_seconds(claims, truth)
    errors = [row.position_error_s for row in rows if row.position_error_s is not None]
    return Summary(
        plays=len(truth),
        found=sum(row.found for row in rows),
        duplicates=sum(max(0, row.n_matches - 1) for row in rows),
        false_claims=n_false,
        precision=round(precision, 4),
        recall=round(recall, 4),
        f1=round(2 * precision * recall / (precision + recall), 4) if precision + recall else 0.0,
        clock_offset_s=round(median(errors), 3) if errors else None,
        worst_position_error_s=max(errors, key=abs) if errors else None,
    )


def _in_seconds(claims: Sequence[Claim], truth: Sequence[Play]) -> tuple[float, float]:
    """Precision and recall in seconds, counted per track. Without any claims, precision is 1."""
    right_s = claimed_s = true_s = 0.0
    for path in sorted({play.path for play in truth} | {claim.match.source for claim in claims}):
        claimed, true = _of_track(path, claims, truth)
        right_s += measure(common(claimed, true))
        claimed_s += measure(claimed)
        true_s += measure(true)
    return right_s / claimed_s if claimed_s else 1.0, right_s / true_s if true_s else 1.0


def _of_track(path: Path, claims: Sequence[Claim], truth: Sequence[Play]) -> tuple[list[Interval], list[Interval]]:
    claimed = [claim.interval for claim in claims if claim.match.source == path]
    return claimed, [(play.start_s, play.end_s) for play in truth if play.path == path]


def show(report: Report, console: Console) -> None:
    """Prints the table and the summary; without colors and borders if there is no terminal."""
    plain = not console.is_terminal
    table = Table(box=None, pad_edge=False) if plain else Table()
    table.add_column("broadcast", no_wrap=True)
    table.add_column("on the air", overflow="fold")
    table.add_column("Airtrace", overflow="fold")
    for heading in ("reported s", "start", "position", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*map(Text, _cells(row)), style=None if _right(row) else "yellow")
    console.print(table)
    for line in summary_lines(report.summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary_lines(summary: Summary) -> list[str]:
    """The summary in words."""
    lines = [
        f"{summary.found} of {summary.plays} plays found, {_count(summary.false_claims, 'false claim')}, "
        f"{_count(summary.duplicates, 'duplicate')}; in seconds: "
        f"precision {summary.precision:.1%}, recall {summary.recall:.1%}, F1 {summary.f1:.1%}"
    ]
    if summary.worst_position_error_s is not None and summary.clock_offset_s is not None:
        lines.append(
            f"position in the track: median error {summary.clock_offset_s:+.2f} s, "
            f"worst {summary.worst_position_error_s:+.2f} s"
        )
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    what = row.title if row.title == row.kind else f"{printable(row.title)} ({row.kind})"
    where = f"{minutes(row.start_s)}-{minutes(row.end_s)}"
    errors = (_signed(row.start_error_s), _signed(row.position_error_s))
    reported = "" if row.reported_s is None else f"{row.reported_s:.1f} / {row.end_s - row.start_s:.1f}"
    return where, what, _verdict(row), reported, *errors, "" if row.score is None else f"{row.score:.2f}"


def _verdict(row: Row) -> str:
    verdict = _found(row) if row.known else "nothing, rightly"
    if not row.claims:
        return verdict
    wrong = f"WRONG: {', '.join(row.claims)}"
    return f"{verdict}; {wrong}" if row.known else wrong


def _found(row: Row) -> str:
    if not row.found:
        return "MISSED"
    return "found" if _in_place(row) else "found, elsewhere in the track"


def _in_place(row: Row) -> bool:
    return abs(row.position_error_s or 0.0) <= MAX_POSITION_S


def _right(row: Row) -> bool:
    return row.found == row.known and _in_place(row) and not row.claims


def _signed(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:+.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
