"""Times and intervals as people type them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

POSITION = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")  # h:mm:ss.s, m:ss.s or seconds
TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})(?::([0-5]\d(?:\.\d+)?))?")


def seconds(text: str) -> float:
    """A position in a recording, in seconds: 83.5, 1:23.5 or 0:01:23.5.

    Raises:
        ValueError: the text is not a position.
    """
    if (parts := POSITION.fullmatch(text.strip())) is None:
        raise ValueError(f"{text!r} is not a position: give seconds, m:ss or h:mm:ss, such as 83.5 or 1:23.5")
    hours, minutes, rest = parts.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + float(rest)


def interval(text: str) -> tuple[float, float]:
    """Start and end of an interval in a recording, in seconds: 0-12.5 or 1:02-1:10.5.

    Raises:
        ValueError: the text is not an interval, or the interval ends before it starts.
    """
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is not an interval: give FROM-TO, such as 0-12.5 or 1:02-1:10.5")
    start_s, end_s = seconds(start), seconds(end)
    if start_s >= end_s:
        raise ValueError(f"{text!r} ends before it starts")
    return start_s, end_s


def instant(text: str, now: datetime) -> datetime:
    """An instant, in UTC unless the text names a time zone. A time of day is its latest occurrence before `now`.

    Raises:
        ValueError: the text is not an instant.
    """
    try:
        if (parts := TIME_OF_DAY.fullmatch(text)) is None:
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        hours, minutes, rest = parts.groups()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        at = midnight.replace(hour=int(hours), minute=int(minutes)) + timedelta(seconds=float(rest or 0))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a time: give 14:03:07 or 2026-01-31T14:03:07, in UTC or with a time zone"
        ) from error
    return at if at <= now else at - timedelta(days=1)
