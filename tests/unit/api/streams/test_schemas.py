"""The state of a stream, from its newest coverage, how old it is, and what is running."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from ingest import timeline
from monitor.api.streams.running import Running
from monitor.api.streams.schemas import Stream, summary
from monitor.matching.load.advice import Streams
from monitor.storage.records import StreamStatus, WorkerLoad, WorkerState, WorkerStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OK = WorkerLoad(WorkerState.OK)
LATE = WorkerLoad(WorkerState.BEHIND, streams=30, behind_streams=30, behind_s=300)


def _running(load: WorkerLoad | None = OK, *, is_reading: bool = True) -> Running:
    workers = [] if load is None else [WorkerStatus(uuid.uuid4(), "host/1", NOW, load)]
    return Running(workers, is_reading=is_reading, is_embedded=True)


NOTHING = _running(None, is_reading=False)


@pytest.mark.parametrize(
    ("coverage", "age_s", "advanced_s", "running", "shown"),
    [
        (None, 0, None, _running(), "waiting"),
        (None, 0, None, _running(None), "not_running"),
        (None, 0, None, _running(is_reading=False), "not_running"),
        (None, 0, None, _running(LATE), "behind"),  # new, and its worker is behind
        (None, 0, None, _running(LATE, is_reading=False), "not_running"),
        ("covered", 2, 0, _running(), "listening"),
        ("covered", 2, 0, NOTHING, "not_running"),  # killed a moment ago
        ("covered", 30, 30, _running(), "waiting"),  # the reader has no audio yet
        ("covered", 30, 5, _running(), "behind"),
        ("covered", 3000, 5, _running(), "behind"),
        ("covered", 3000, 5, _running(is_reading=False), "behind"),  # what was read before is matched
        ("covered", 310, 40, _running(LATE), "behind"),  # a batch of a worker that is behind takes long
        ("covered", 1000, 700, _running(LATE), "waiting"),  # it is not the worker that this stream waits for
        ("covered", 30, 5, _running(None), "not_running"),
        ("covered", 1000, 990, _running(is_reading=False), "not_running"),
        ("gap", 2, 0, _running(), "gap"),
        ("gap", 2, 0, NOTHING, "not_running"),
        ("gap", 60, 0, _running(), "gap"),  # recorded only when no burst can still cover it
        ("gap", 100, 100, _running(), "waiting"),
        ("gap", 100, 5, _running(), "behind"),
        ("gap", 100, 100, NOTHING, "not_running"),
    ],
)
def test_the_state_of_a_stream_follows_from_its_newest_coverage_and_what_is_running(
    coverage: str | None, age_s: int, advanced_s: int | None, running: Running, shown: str
) -> None:
    position = None if coverage is None else timeline.to_clock(NOW - timedelta(seconds=age_s))
    advanced_at = None if advanced_s is None else NOW - timedelta(seconds=advanced_s)
    reason = "stalled" if coverage == "gap" else None
    status = StreamStatus(1, "one", "http://u:secret@h/x", NOW, position, coverage, reason, advanced_at)
    stream = Stream.of(status, NOW, running)
    assert stream.state == shown
    assert stream.behind_s == (None if coverage is None else age_s)
    assert "secret" not in stream.url


def test_the_summary_counts_late_streams_and_new_ones_that_are_not_matched_yet() -> None:
    late_s = (None, 2, 40, 21)
    positions = [None if age_s is None else timeline.to_clock(NOW - timedelta(seconds=age_s)) for age_s in late_s]
    rows = [
        StreamStatus(number, f"radio-{number}", "http://h/x", NOW, position, "covered" if position else None, None, NOW)
        for number, position in enumerate(positions)
    ]
    streams = [Stream.of(row, NOW, _running(LATE)) for row in rows]
    assert [stream.state for stream in streams] == ["behind", "listening", "behind", "behind"]
    assert summary(streams) == Streams(total=4, behind=3, behind_s=40)
