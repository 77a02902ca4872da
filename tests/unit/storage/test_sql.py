"""Each query has one name and is used, and migrations are numbered without gaps."""

from __future__ import annotations

import re
from pathlib import Path

import monitor.storage
from monitor.storage.sql import migrations, queries

STORAGE = Path(monitor.storage.__file__).parent


def test_every_named_query_is_loaded_once() -> None:
    files = sorted((STORAGE / "sql").glob("*.sql"))
    names = [name for file in files for name in re.findall(r"^-- name: (\w+)$", file.read_text(), re.MULTILINE)]
    assert sorted(names) == sorted(queries())
    assert all(queries().values())


def test_the_code_uses_every_query() -> None:
    code = "".join(file.read_text() for file in STORAGE.rglob("*.py"))
    assert {name for name in queries() if f'"{name}"' not in code} == set()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
