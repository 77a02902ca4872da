"""The statements of queries.sql, by name."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """The statements of queries.sql by their names."""
    parts = NAME.split(resources.files(__package__).joinpath("queries.sql").read_text("utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
