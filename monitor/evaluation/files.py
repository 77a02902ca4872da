"""Reads and writes the tables of an evaluation: truth, results and families, as UTF-8 CSV files with a header.

Columns may be in any order. Errors name the line and the column.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.evaluation.errors import EvaluationError, TableError
from monitor.evaluation.plays import Result, Truth

PLACE = ("recording", "track", "start_s", "end_s", "track_start_s", "track_end_s", "speed")
TRUTH = (*PLACE, "snr_db", "kind")
RESULTS = (*PLACE, "score")
REPORTED = "reported_s"  # optional; empty if unknown
FAMILIES = ("track", "family")
DIGITS = 3  # decimal places of seconds; scores have one more


@dataclass(frozen=True, slots=True)
class Cells:
    """One row with its place in the file, for error messages."""

    file: Path
    line: int
    values: dict[str, str]

    def error(self, column: str, message: str) -> TableError:
        """An error about one cell of the row."""
        return TableError(self.file, message, line=self.line, column=column)

    def word(self, column: str) -> str:
        """The text of a cell that must not be empty."""
        if not (word := self.values[column].strip()):
            raise self.error(column, "the cell is empty")
        return word

    def file_name(self, column: str) -> str:
        """The file name in a cell, which must not be a path."""
        name = self.values[column]  # not stripped: a file's name may start or end with blanks
        if not name:
            raise self.error(column, "the cell is empty")
        if "/" in name:
            raise self.error(column, f"{name!r} is a path: write only the file's name")
        return name

    def number(self, column: str) -> float:
        """The finite number in a cell."""
        text = self.values[column].strip()
        try:
            number = float(text)
        except ValueError:
            raise self.error(column, f"{text!r} is not a number") from None
        if not math.isfinite(number):
            raise self.error(column, f"{text!r} is not a finite number")
        return number

    def optional(self, column: str) -> float | None:
        """The number in a cell; None if the cell is empty or the column is missing."""
        return self.number(column) if self.values.get(column, "").strip() else None

    def place(self) -> tuple[str, str, float, float, float, float, float]:
        """The columns that truth and results share."""
        recording, track = self.file_name("recording"), self.file_name("track")
        start_s, end_s = self.number("start_s"), self.number("end_s")
        if end_s <= start_s:
            raise self.error("end_s", f"{end_s:g} is not after start_s, {start_s:g}")
        speed = self.number("speed")
        if speed <= 0:
            raise self.error("speed", f"{speed:g} is not positive: the track's own speed is 1")
        return recording, track, start_s, end_s, self.number("track_start_s"), self.number("track_end_s"), speed


def read_truth(path: Path) -> list[Truth]:
    """Reads the plays of a truth table. A table with only a header means that nothing was played.

    Raises:
        TableError: the file cannot be read or is not a valid truth table.
    """
    return [
        Truth(*cells.place(), snr_db=cells.optional("snr_db"), kind=cells.word("kind")) for cells in _read(path, TRUTH)
    ]


def read_results(path: Path) -> list[Result]:
    """Reads the plays that a system reported. A table with only a header means that it reported nothing.

    Raises:
        TableError: the file cannot be read or is not a valid results table.
    """
    return [
        Result(*cells.place(), score=cells.number("score"), reported_s=cells.optional(REPORTED))
        for cells in _read(path, RESULTS, optional=(REPORTED,))
    ]


def read_families(path: Path) -> dict[str, str]:
    """Reads the family of each track that has one.

    Raises:
        TableError: the file cannot be read or is not a valid table, or a track is in two families.
    """
    families: dict[str, str] = {}
    for cells in _read(path, FAMILIES):
        track, family = cells.file_name("track"), cells.word("family")
        if families.setdefault(track, family) != family:
            raise cells.error("family", f"{track} is in {families[track]} and in {family}: a track has one family")
    return families


def write_truth(path: Path, truth: Iterable[Truth]) -> None:
    """Writes a truth table.

    Raises:
        TableError: the file cannot be written.
    """
    rows = [(*_place(play), "" if play.snr_db is None else round(play.snr_db, DIGITS), play.kind) for play in truth]
    _write(path, TRUTH, rows)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Writes a results table, with the column `reported_s` if any result has it.

    Raises:
        TableError: the file cannot be written.
    """
    rows: list[tuple[object, ...]] = [(*_place(result), round(result.score, DIGITS + 1)) for result in results]
    if not any(result.reported_s is not None for result in results):
        _write(path, RESULTS, rows)
        return
    known = ["" if result.reported_s is None else round(result.reported_s, DIGITS) for result in results]
    _write(path, (*RESULTS, REPORTED), [(*row, value) for row, value in zip(rows, known, strict=True)])


def check_names(files: Iterable[Path]) -> None:
    """Checks that file names are unique, because tables identify recordings by name.

    Raises:
        EvaluationError: two files have the same name.
    """
    seen: dict[str, Path] = {}
    for file in files:
        if file.name in seen:
            raise EvaluationError(f"{seen[file.name]} and {file} have the same name: rename one")
        seen[file.name] = file


def check_writable(path: Path) -> None:
    """Checks before long work that its results can be written.

    Raises:
        TableError: the path is a directory, its directory does not exist, or writing is not permitted.
    """
    if path.is_dir():
        raise TableError(path, "this is a directory: pass a file in it")
    if not path.parent.is_dir():
        raise TableError(path, f"the directory {path.parent} does not exist: create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise TableError(path, "no permission to write: pass another file")


def _read(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[Cells]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            rows = csv.reader(file, strict=True)
            header = _header(path, next(rows, []), columns, optional)
            for row in rows:
                if row:  # skip empty lines
                    yield _cells(path, rows.line_num, header, row)
    except OSError as error:
        raise TableError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise TableError(path, "the file is not UTF-8: save it as UTF-8") from error
    except csv.Error as error:
        raise TableError(path, f"the file is not valid CSV: {error}", line=rows.line_num) from error


def _header(path: Path, row: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    header = [name.strip() for name in row]
    expected = f"the header must be {','.join(columns)}"
    for name in columns:
        if name not in header:
            raise TableError(path, f"the column is missing: {expected}", line=1, column=name)
    for name in header:
        if name not in (*columns, *optional):
            raise TableError(path, f"unknown column: {expected}", line=1, column=name or "without a name")
        if header.count(name) > 1:
            raise TableError(path, f"the column appears twice: {expected}", line=1, column=name)
    return header


def _cells(path: Path, line: int, header: Sequence[str], row: Sequence[str]) -> Cells:
    if len(row) != len(header):
        raise TableError(path, f"{len(row)} cells in a table of {len(header)} columns", line=line)
    return Cells(path, line, dict(zip(header, row, strict=True)))


def _place(play: Truth | Result) -> tuple[object, ...]:
    times = (play.start_s, play.end_s, play.track_start_s, play.track_end_s)
    return (play.recording, play.track, *(round(time, DIGITS) for time in times), round(play.speed, DIGITS + 2))


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    # By default, the writer quotes line feeds but not carriage returns.
    returns = any("\r" in str(cell) for row in rows for cell in row)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
            writer.writerow(header)
            writer.writerows(rows)
    except OSError as error:
        raise TableError(path, f"{error.strerror}: pass a writable file") from error
