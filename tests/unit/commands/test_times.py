"""Times and intervals as people type them; `airtrace explain` tests positions and instants."""

from __future__ import annotations

import pytest

from monitor.commands.times import interval


@pytest.mark.parametrize(
    ("text", "ends_s"), [("0-12.5", (0, 12.5)), ("1:02-1:10.5", (62, 70.5)), (" 0:00:01 - 1:00:00", (1, 3600))]
)
def test_an_interval_is_two_positions(text: str, ends_s: tuple[float, float]) -> None:
    assert interval(text) == ends_s


@pytest.mark.parametrize(
    ("text", "words"),
    [("12", "not an interval"), ("a-b", "not a position"), ("5-5", "ends before it starts"), ("9-8", "ends before")],
)
def test_an_invalid_interval_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        interval(text)
