"""`airtrace explain --at`: places in recordings, and times of streams."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from monitor.commands.matching.explain import BadTime, instant, position_s

NOW = datetime(2026, 3, 1, 14, 3, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("83.5", 83.5), ("1:23.5", 83.5), ("01:02:03", 3723), ("100:00", 6000), ("90:1", 5401), ("7200", 7200)],
)
def test_a_position_in_a_recording_is_seconds_or_minutes_or_hours(text: str, seconds: float) -> None:
    assert position_s(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "a", "1,5", "nan", "inf", "1e3", "14:03:07Z", "2026-01-31"])
def test_an_invalid_position_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadTime, match=r"83\.5 or 1:23\.5"):
        position_s(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:03:07", NOW),
        ("14:03", NOW - timedelta(seconds=7)),
        ("9:00", NOW.replace(hour=9, minute=0, second=0)),
        ("14:03:08", NOW - timedelta(hours=24, seconds=-1)),
        ("13:59:59.25", NOW.replace(hour=13, minute=59, second=59, microsecond=250_000)),
        ("2026-02-28 23:59:59", datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)),
        ("2026-02-28T23:59:59Z", datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)),
        ("2026-02-28T23:59:59+01:00", datetime(2026, 2, 28, 22, 59, 59, tzinfo=UTC)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_of_a_stream_is_utc_or_has_its_zone_and_a_time_of_day_is_the_last_one(
    text: str, expected: datetime
) -> None:
    assert instant(text, NOW) == expected
    assert instant(text, NOW).tzinfo in (UTC, timezone(timedelta(hours=1)))


@pytest.mark.parametrize("text", ["", "now", "25:00", "12:60", "12:00:61", "83.5", "2026-02-30", "-1"])
def test_an_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadTime, match="14:03:07"):
        instant(text, NOW)
