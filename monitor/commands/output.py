"""How commands speak: results on standard output as a table or JSON, progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# A terminal's own width; wide enough for any row where the output goes to a file or a pipe.
PIPE_WIDTH = 200


def console(*, stderr: bool = False) -> Console:
    """A console that is plain and wide where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def as_json(value: Any) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Prints rows under their headings, or what to do when there are none."""
    if not rows:
        console(stderr=True).print(empty)
        return
    shown = Table(box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold", justify="right" if column in RIGHT else "left")
    for row in rows:
        shown.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
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
    """How long a match lasted."""
    return (datetime.fromisoformat(match["end"]) - datetime.fromisoformat(match["start"])).total_seconds()


class Steps:
    """Progress of a countable job: a bar on a terminal, a line a step elsewhere, nothing when quiet."""

    def __init__(self, progress: Progress | None, total: int, plain: Console | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total) if progress else None
        self._plain = plain
        self._total = total
        self._done = 0

    def done(self, text: str) -> None:
        """One more is done."""
        self._done += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=escape(text))
        elif self._plain:
            self._plain.print(f"{self._done}/{self._total} {escape(text)}")

    def note(self, text: str) -> None:
        """What is going on now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=escape(text))


@contextmanager
def steps(total: int, *, quiet: bool) -> Iterator[Steps]:
    """Shows progress on standard error while it lasts."""
    err = console(stderr=True)
    if quiet:
        yield Steps(None, total, None)
    elif not err.is_terminal:
        yield Steps(None, total, err)
    else:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=err, transient=True) as progress:
            yield Steps(progress, total, None)
