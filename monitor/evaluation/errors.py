"""Errors of an evaluation."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import AirtraceError


class EvaluationError(AirtraceError):
    """Truth, results and recordings do not fit together; the message says what to do."""

    title = "The evaluation cannot run"


class TableError(EvaluationError):
    """A CSV file cannot be used.

    file, line, column: the place of the error, if it has one. The header is line 1.
    """

    def __init__(self, file: Path, message: str, *, line: int | None = None, column: str | None = None) -> None:
        place = "".join((f", line {line}" if line else "", f", column {column}" if column else ""))
        super().__init__(f"{file}{place}: {message}")
        self.file = file
        self.line = line
        self.column = column
