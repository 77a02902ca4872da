"""The statements of queries.sql, by name."""

from __future__ import annotations

from functools import cache
from importlib import resources

from ingest.named_queries import parse


@cache
def queries() -> dict[str, str]:
    """The statements of queries.sql by their names."""
    return parse(resources.files(__package__).joinpath("queries.sql").read_text("utf-8"))
