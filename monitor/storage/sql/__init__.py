"""The SQL: named queries, one file for each noun, and numbered migrations that only go forward."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """The queries of all files by their names, which are unique over all files."""
    found: dict[str, str] = {}
    for file in _sql_files(resources.files(__name__)):
        parts = _NAME.split(file.read_text("utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"two queries are named {name}: rename the one in {file.name}")
            found[name] = text.strip()
    return found


def migrations() -> list[tuple[int, str]]:
    """Number and SQL of every migration, in order."""
    files = _sql_files(resources.files(__name__).joinpath("migrations"))
    return [(int(file.name.split("_")[0]), file.read_text("utf-8")) for file in files]


def _sql_files(folder: Traversable) -> list[Traversable]:
    files = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return sorted(files, key=lambda entry: entry.name)
