"""The stream clock: samples at 32 kHz since the Unix epoch. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.wire import SAMPLE_RATE_HZ

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_clock(instant: datetime) -> int:
    """The stream clock value of an aware datetime, to the nearest sample."""
    microseconds = (instant - EPOCH) // timedelta(microseconds=1)
    return round(microseconds * SAMPLE_RATE_HZ / 1_000_000)


def to_utc(clock: int) -> datetime:
    """The aware UTC datetime of a stream clock value, to the microsecond."""
    seconds, samples = divmod(clock, SAMPLE_RATE_HZ)
    return EPOCH + timedelta(seconds=seconds, microseconds=round(samples * 1_000_000 / SAMPLE_RATE_HZ))


def samples(seconds: float) -> int:
    """A duration in seconds as samples, to the nearest one."""
    return round(seconds * SAMPLE_RATE_HZ)
