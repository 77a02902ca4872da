"""The report of `airtrace tracks add`: a CSV or JSON file with a row per file, written as the files are done."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from monitor.errors import AirtraceError

COLUMNS = ("file", "row", "status", "track", "duration_s", "reason", "error")


class Report:
    """The open report."""

    def __init__(self, path: Path, file: io.TextIOBase) -> None:
        self._file = file
        self._is_json = path.suffix.lower() == ".json"
        self._csv = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        self._n_rows = 0
        if self._is_json:
            file.write("[")
        else:
            self._csv.writeheader()

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row and writes it to disk at once."""
        if self._is_json:
            shown = {name: row[name] for name in COLUMNS}
            self._file.write(("," if self._n_rows else "") + "\n" + orjson.dumps(shown).decode())
        else:
            self._csv.writerow(row)
        self._n_rows += 1
        self._file.flush()

    def end(self) -> None:
        """Completes the file, even if not all rows were written."""
        if self._is_json:
            self._file.write("\n]\n")


@contextmanager
def open_report(path: Path | None) -> Iterator[Report | None]:
    """The report at `path`, if one is wanted.

    Raises:
        AirtraceError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise AirtraceError(f"cannot write the report {path} ({error.strerror})") from error
    with file:
        report = Report(path, file)
        try:
            yield report
        finally:
            report.end()
