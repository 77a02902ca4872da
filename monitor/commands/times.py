"""Times and intervals within a recording, as people write them. Pure."""

from __future__ import annotations

import re

CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


def seconds(text: str) -> float:
    """83.5, 1:23.5 or 0:01:23.5 in seconds.

    Raises:
        ValueError: it is none of these.
    """
    found = CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time: 83.5, 1:23.5 or 0:01:23.5")
    hours, minutes, rest = found.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + float(rest)


def interval(text: str) -> tuple[float, float]:
    """1:02-1:10.5 as its two ends in seconds.

    Raises:
        ValueError: it is none, or ends before it begins.
    """
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is no interval: 0-12.5 or 1:02-1:10.5")
    if not (found := (seconds(start), seconds(end)))[0] < found[1]:
        raise ValueError(f"{text!r} ends before it begins")
    return found
