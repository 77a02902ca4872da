"""The statements in queries.sql are those that the code uses."""

import re
from importlib import resources

from ingest.leases.queries import queries

USE = re.compile(r"(?:sql|queries\(\))\[\"(\w+)\"\]")


def test_every_statement_is_used_and_every_used_statement_exists() -> None:
    files = resources.files("ingest.leases")
    code = "".join(files.joinpath(name).read_text("utf-8") for name in ("assignment.py", "postgres.py"))
    assert set(USE.findall(code)) == set(queries())


def test_statements_come_without_their_name_lines() -> None:
    assert all(text and "-- name:" not in text for text in queries().values())
