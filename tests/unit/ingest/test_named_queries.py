from __future__ import annotations

import pytest

from ingest.named_queries import parse


def test_statements_have_the_names_above_them() -> None:
    text = "-- a comment of the file\n-- name: one\nselect 1\n\n-- name: two\nselect 2 -- why\n"
    assert parse(text) == {"one": "select 1", "two": "select 2 -- why"}


def test_a_name_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named one"):
        parse("-- name: one\nselect 1\n-- name: one\nselect 2\n")
