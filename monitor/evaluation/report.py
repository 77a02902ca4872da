"""The results of an evaluation, as text and as plain values for JSON. Undefined shares are None, shown as a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monitor.evaluation.plays import Result, Truth

ROUNDING = 1e-6  # because 0.57 * 10,000 is slightly less than 5,700
LONG_S = 5.0  # plays at least this long are also counted separately: shorter ones may be too short to identify


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds reported correctly, reported wrongly, and missed."""

    tp_s: float
    fp_s: float
    fn_s: float

    @property
    def precision(self) -> float | None:
        """The share of the reported seconds that were played."""
        return _share(self.tp_s, self.tp_s + self.fp_s)

    @property
    def recall(self) -> float | None:
        """The share of the played seconds that were reported."""
        return _share(self.tp_s, self.tp_s + self.fn_s)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.tp_s, 2 * self.tp_s + self.fp_s + self.fn_s)


@dataclass(frozen=True, slots=True)
class Row:
    """A subset of the plays. In `seconds`, fp_s is what their results reported before and after the plays."""

    name: str
    plays: int
    found: int
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Deviation:
    """Errors, reported minus true: median and 95th percentile of the absolute values, and the signed median (bias)."""

    n: int
    median_s: float
    p95_s: float
    bias_s: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The time from a play's start to its first report: median and 95th percentile of n plays."""

    n: int
    median_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """All results of an evaluation.

    all: every play, with all wrong seconds.
    long: the plays of at least LONG_S.
    kinds, bands: plays by `kind` and by `snr_db`.
    start, end, position, latency_clear, latency_covered: over the plays that have results.
    missed: plays that no result of their track overlaps.
    false_plays: results that overlap no play of their track.
    false_play_s: the seconds reported by false plays only.
    unknown_s, unknown_false_plays: duration of, and false plays in, recordings without any play.
    """

    recordings: int
    duration_s: float
    all: Row
    long: Row
    kinds: tuple[Row, ...]
    bands: tuple[Row, ...]
    results: int
    reports_per_found_play: float | None
    start: Deviation | None
    end: Deviation | None
    position: Deviation | None
    latency_clear: Latency | None
    latency_covered: Latency | None
    missed: tuple[Truth, ...]
    false_plays: tuple[Result, ...]
    false_play_s: float
    unknown_s: float
    unknown_false_plays: int

    @property
    def seconds(self) -> Seconds:
        """The seconds of all recordings."""
        return self.all.seconds

    @property
    def false_plays_per_hour(self) -> float | None:
        """False plays per hour of the recordings without any play."""
        return _share(self.unknown_false_plays, self.unknown_s / 3600)


def as_json(report: Report) -> dict[str, Any]:
    """Plain values for JSON, with lists of the missed plays and the false plays."""
    values = asdict(report)
    values |= {name: _row_json(row) for name, row in (("all", report.all), ("long", report.long))}
    values["kinds"] = [_row_json(row) for row in report.kinds]
    values["bands"] = [_row_json(row, recall_only=True) for row in report.bands]
    return values | {"false_plays_per_hour": report.false_plays_per_hour}


def as_text(report: Report) -> str:
    """A table of counts and shares, and a line for each of the other results."""
    noun = "recording" if report.recordings == 1 else "recordings"
    title = f"{report.recordings} {noun}, {report.duration_s / 3600:.2f} h"
    rows = [
        (title, ("plays", "found", "share", "precision", "recall", "F1", "right s", "wrong s", "missed s")),
        ("all", _cells(report.all)),
        (f"of {LONG_S:.0f} s or more", _cells(report.long)),
        *((f"kind {row.name}", _cells(row)) for row in report.kinds),
        *((f"snr {row.name}", _cells(row, recall_only=True)) for row in report.bands),
    ]
    return "\n".join([*_aligned(rows), *_lines(report)])


def _lines(report: Report) -> Iterable[str]:
    per_play = report.reports_per_found_play
    yield f"reports per found play: {_number(per_play)}"
    for name, off in (("start", report.start), ("end", report.end), ("position", report.position)):
        yield f"{name} error: {_deviation(off)}"
    for name, late in (("in the clear", report.latency_clear), ("under something", report.latency_covered)):
        if late:
            yield f"first report {name}: median {late.median_s:.2f} s, 95 % within {late.p95_s:.2f} s (n = {late.n})"
    yield f"false plays: {len(report.false_plays)} of {report.results} results, {report.false_play_s:.1f} s"
    if report.unknown_s:
        yield (
            f"recordings without any play: {report.unknown_false_plays} false plays in {report.unknown_s / 3600:.2f} h,"
            f" {_number(report.false_plays_per_hour)} per hour"
        )


def _deviation(off: Deviation | None) -> str:
    if off is None:
        return "-"
    return f"median {off.median_s:.2f} s, 95 % within {off.p95_s:.2f} s, bias {off.bias_s:+.2f} s (n = {off.n})"


def _cells(row: Row, *, recall_only: bool = False) -> tuple[str, ...]:
    seconds, found = row.seconds, _share(row.found, row.plays)
    shares = ("", _ratio(seconds.recall), "") if recall_only else map(_ratio, _shares(seconds))
    wrong_s = "" if recall_only else f"{seconds.fp_s:.1f}"
    return str(row.plays), str(row.found), _ratio(found), *shares, f"{seconds.tp_s:.1f}", wrong_s, f"{seconds.fn_s:.1f}"


def _aligned(rows: Sequence[tuple[str, Sequence[str]]]) -> Iterable[str]:
    named = max(len(name) for name, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    for name, cells in rows:
        justified = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        yield f"{name.ljust(named)}  {justified}".rstrip()


def _row_json(row: Row, *, recall_only: bool = False) -> dict[str, Any]:
    seconds = row.seconds
    values = {"name": row.name, "plays": row.plays, "found": row.found, "tp_s": seconds.tp_s, "fn_s": seconds.fn_s}
    if recall_only:
        return values | {"recall": seconds.recall}
    return values | {"fp_s": seconds.fp_s} | dict(zip(("precision", "recall", "f1"), _shares(seconds), strict=True))


def _shares(seconds: Seconds) -> tuple[float | None, float | None, float | None]:
    return seconds.precision, seconds.recall, seconds.f1


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _ratio(value: float | None) -> str:
    """Truncates instead of rounding, so that only a full share is shown as 1."""
    return "-" if value is None else f"{math.floor(value * 10_000 + ROUNDING) / 10_000:.4f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
