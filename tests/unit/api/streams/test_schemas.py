"""The state of a stream, from its newest coverage and how old it is."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest import timeline
from monitor.api.streams.schemas import Stream
from monitor.storage.records import StreamStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("coverage", "age_s", "shown"),
    [
        (None, 0, "waiting"),
        ("covered", 2, "listening"),
        ("covered", 30, "waiting"),
        ("gap", 2, "gap"),
        ("gap", 60, "gap"),  # recorded only when no burst can still cover it
        ("covered", 100, "not_running"),
        ("gap", 100, "not_running"),
    ],
)
def test_the_state_of_a_stream_follows_from_its_newest_coverage(coverage: str | None, age_s: int, shown: str) -> None:
    position = None if coverage is None else timeline.to_clock(NOW - timedelta(seconds=age_s))
    reason = "stalled" if coverage == "gap" else None
    status = StreamStatus(1, "one", "http://u:secret@h/x", NOW, position, coverage, reason)
    stream = Stream.of(status, NOW)
    assert stream.state == shown
    assert stream.behind_s == (None if coverage is None else age_s)
    assert "secret" not in stream.url
