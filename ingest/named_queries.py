"""Splits a file of SQL into its named queries. Pure."""

from __future__ import annotations

import re

NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """The statements behind each `-- name: x` line, by name.

    Raises:
        ValueError: two statements have the same name.
    """
    parts = NAME.split(text)
    found: dict[str, str] = {}
    for name, statement in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"two queries are named {name}: rename one")
        found[name] = statement.strip()
    return found
