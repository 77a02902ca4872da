"""Stream clock and UTC convert into each other."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from ingest.timeline import EPOCH, samples, to_clock, to_utc
from ingest.wire import SAMPLE_RATE_HZ

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def test_the_clock_counts_samples_since_the_epoch() -> None:
    assert to_clock(EPOCH) == 0
    assert to_clock(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == SAMPLE_RATE_HZ
    assert to_clock(datetime(1970, 1, 1, 1, 0, 1, tzinfo=timezone(timedelta(hours=1)))) == SAMPLE_RATE_HZ
    assert to_utc(SAMPLE_RATE_HZ // 2) == EPOCH + timedelta(milliseconds=500)


@given(INSTANTS)
def test_an_instant_survives_to_half_a_sample(instant: datetime) -> None:
    assert abs(to_utc(to_clock(instant)) - instant) <= timedelta(microseconds=17)


@given(st.integers(0, to_clock(datetime(2200, 1, 1, tzinfo=UTC))))
def test_a_clock_value_survives_exactly(clock: int) -> None:
    assert to_clock(to_utc(clock)) == clock


def test_seconds_become_samples() -> None:
    assert samples(0.5) == SAMPLE_RATE_HZ // 2
