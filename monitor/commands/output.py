"""What commands print: results on standard output as a table or JSON, progress on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# In a file or a pipe, each row stays on one line, however long its paths are.
PIPE_WIDTH = 10_000


def console(*, stderr: bool = False) -> Console:
    """A console; plain and wide unless it is a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def printable(text: str) -> str:
    """The text without control characters: names come from files and the network, which must not control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_status(text: str) -> None:
    """Prints one line on standard error."""
    console(stderr=True).print(printable(text), markup=False, soft_wrap=True)


def utf8_safe(name: str) -> str:
    """A file name as valid Unicode, so that it can be sent and printed."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def as_json(value: Any) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Prints rows below their column names, or `empty` on standard error if there are none."""
    if not rows:
        print_status(empty)
        return
    shown = Table(box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold", justify="right" if column in RIGHT else "left")
    for row in rows:
        shown.add_row(*(escape("" if cell is None else printable(str(cell))) for cell in row))
    console().print(shown)


RIGHT = frozenset({"id", "length", "at", "score", "position"})


def clock(text: str | None) -> str:
    """An ISO instant as UTC date and time, to the second."""
    return "" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def minutes(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def length_s(match: dict[str, Any]) -> float:
    """The length of a match in seconds."""
    return (datetime.fromisoformat(match["end"]) - datetime.fromisoformat(match["start"])).total_seconds()


def named(track: dict[str, Any]) -> str:
    """A track as artist and title."""
    return f"{track['artist']} - {track['title']}" if track["artist"] else str(track["title"])


def kind(name: str) -> str:
    """A kind of sound in words."""
    return name.replace("_", " ")


def print_summary(rows: Sequence[dict[str, Any]]) -> None:
    """Prints how many of a job's rows have each status."""
    counts = {
        status: sum(row["status"] == status for row in rows) for status in ("added", "known", "updated", "failed")
    }
    updated = f", {counts['updated']} updated" if counts["updated"] else ""
    text = f"{counts['added']} added, {counts['known']} already known{updated}, {counts['failed']} failed"
    console().print(text)


class Steps:
    """Progress of a job with a known number of steps: a bar on a terminal, otherwise a line per step; nothing if quiet.

    With a unit, steps that took work also show the rate per second and the time left at that rate.
    """

    def __init__(self, progress: Progress | None, total: int, *, quiet: bool, unit: str | None = None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total) if progress else None
        self._quiet = quiet
        self._total = total
        self._done = 0
        self._unit = unit
        self._amount = 0.0
        self._started_s = time.monotonic()

    def start(self) -> None:
        """Starts the clock of the rate and the time left."""
        self._started_s = time.monotonic()

    def done(self, text: str, amount: float = 0.0) -> None:
        """One more step is done, which took `amount` units of work."""
        self._done += 1
        self._amount += amount
        if amount:
            text += self._pace()
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=escape(printable(text)))
        elif not self._quiet:
            print_status(f"{self._done}/{self._total} {text}")

    def _pace(self) -> str:
        if self._unit is None or self._done == 0:
            return ""
        elapsed_s = max(1e-3, time.monotonic() - self._started_s)
        left_s = elapsed_s / self._done * (self._total - self._done)
        return f" ({self._amount / elapsed_s:.0f} {self._unit}, {minutes(left_s)} left)"

    def failed(self, text: str) -> None:
        """One more step has failed: prints a line that stays on a terminal."""
        self._done += 1
        line = f"airtrace: {printable(text)}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1)
            self._progress.console.print(line, markup=False, soft_wrap=True)
        elif not self._quiet:
            print_status(line)

    def note(self, text: str) -> None:
        """Describes the current step; only on a terminal."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=escape(printable(text)))


@contextmanager
def steps(total: int, *, quiet: bool, unit: str | None = None) -> Iterator[Steps]:
    """Shows progress on standard error until the block ends."""
    err = console(stderr=True)
    if quiet:
        yield Steps(None, total, quiet=True)
    elif not err.is_terminal:
        yield Steps(None, total, quiet=False, unit=unit)
    else:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=err, transient=True) as progress:
            yield Steps(progress, total, quiet=False, unit=unit)
