"""The SQL: named queries, one file for each noun, and numbered migrations that only go forward."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from ingest.named_queries import parse


@cache
def queries() -> dict[str, str]:
    """The queries of all files by their names, which are unique over all files."""
    found: dict[str, str] = {}
    for file in _sql_files(resources.files(__name__)):
        of_file = parse(file.read_text("utf-8"))
        if twice := found.keys() & of_file.keys():
            raise ValueError(f"two queries are named {min(twice)}: rename the one in {file.name}")
        found |= of_file
    return found


def migrations() -> list[tuple[int, str]]:
    """Number and SQL of every migration, in order."""
    files = _sql_files(resources.files(__name__).joinpath("migrations"))
    return [(int(file.name.split("_")[0]), file.read_text("utf-8")) for file in files]


def _sql_files(folder: Traversable) -> list[Traversable]:
    files = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return sorted(files, key=lambda entry: entry.name)
