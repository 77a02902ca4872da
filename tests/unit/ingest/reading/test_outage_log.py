"""An outage of the bus takes a few lines in the log, however many streams it affects."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingest.errors import BusError
from ingest.reading.outage_log import OutageLog
from ingest.reading.publisher import Publisher
from ingest.wire import Record, Window

STREAMS = range(1, 101)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock) -> OutageLog:
    outages = OutageLog(clock)
    for stream_id in STREAMS:
        outages.add(stream_id)
    return outages


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as logs:
        yield logs


def events(logs: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs]


def test_refusals_of_all_streams_are_one_line_with_the_error_and_the_number_of_streams(
    outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    for stream_id in STREAMS:
        outages.refused(stream_id, "the spool is full")
    (line,) = logs
    assert line == {"event": "publisher.refused", "log_level": "warning", "error": "the spool is full", "streams": 100}


def test_four_minutes_of_records_that_are_refused_and_accepted_in_turn_are_one_outage(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    for second in range(241):
        clock.now_s = 1000.0 + second
        for stream_id in STREAMS:
            if (stream_id + second) % 5:
                outages.refused(stream_id, "full")
            else:
                outages.accepted(stream_id)
    assert events(logs) == ["publisher.refused"] + ["publisher.waiting"] * 4
    assert {line["log_level"] for line in logs[1:]} == {"info"}


def test_a_summary_has_the_streams_that_wait_and_the_newest_error(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    for stream_id in (1, 2, 3, 4):
        outages.refused(stream_id, "full")
    outages.accepted(2)
    outages.remove(3)
    clock.now_s += 60
    outages.refused(1, "still full")
    assert logs[1:] == [
        {
            "event": "publisher.waiting",
            "log_level": "info",
            "error": "still full",
            "streams_waiting": 2,
            "dropped_s": 0.0,
        }
    ]


def test_lost_audio_is_a_warning_at_once_and_then_once_a_minute_with_its_sum(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    outages.refused(1, "full")
    for _ in range(61):
        clock.now_s += 1
        for _ in STREAMS:
            outages.dropped(2.0)
    losing = logs[1:]
    assert events(losing) == ["publisher.losing_audio"] * 2
    assert [line["dropped_s"] for line in losing] == [2.0, 60 * 200 + 2.0]
    assert all(line["log_level"] == "warning" and "audio is lost" in line["next_step"] for line in losing)


def test_an_outage_ends_with_the_first_record_accepted_after_ten_seconds_without_a_refusal(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    outages.refused(1, "full")
    clock.now_s += 30
    outages.refused(2, "full")
    clock.now_s += 9.9
    outages.accepted(1)
    assert events(logs) == ["publisher.refused"]
    clock.now_s += 0.1
    outages.accepted(1)
    outages.accepted(2)
    assert logs[1:] == [{"event": "publisher.resumed", "log_level": "info", "lasted_s": 30.0, "dropped_s": 0.0}]


def test_silence_alone_ends_no_outage(clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]) -> None:
    outages.refused(1, "no answer")
    clock.now_s += 30  # an attempt on Kafka may take this long
    outages.refused(1, "no answer")
    assert events(logs) == ["publisher.refused"]


def test_the_end_of_an_outage_that_lost_audio_is_a_warning_and_the_next_one_counts_again(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    for _ in range(2):
        outages.refused(1, "full")
        outages.dropped(3.0)
        clock.now_s += 10
        outages.accepted(1)
    assert events(logs) == ["publisher.refused", "publisher.losing_audio", "publisher.resumed"] * 2
    for end in (logs[2], logs[5]):
        assert (end["log_level"], end["dropped_s"]) == ("warning", 3.0)
        assert "audio was lost" in end["note"]


def test_audio_lost_without_a_refusal_is_logged_too(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    outages.dropped(2.0)
    outages.dropped(2.0)
    clock.now_s += 10
    outages.accepted(1)
    assert events(logs) == ["publisher.losing_audio", "publisher.resumed"]
    assert "leases" in logs[0]["error"]


def test_a_bus_that_accepts_everything_logs_nothing(
    clock: Clock, outages: OutageLog, logs: list[MutableMapping[str, Any]]
) -> None:
    for _ in range(200):
        clock.now_s += 1
        outages.accepted(1)
    assert logs == []


async def test_publishers_that_share_a_log_report_to_it(clock: Clock, logs: list[MutableMapping[str, Any]]) -> None:
    refused: set[int] = set()

    class Bus:
        async def publish(self, record: Record) -> None:
            if record.stream_id not in refused:
                refused.add(record.stream_id)
                raise BusError("full")
            clock.now_s += 10

    outages, second = OutageLog(clock), 32_000
    publishers = [Publisher(i, Bus(), max_waiting=second, outages=outages) for i in (1, 2)]  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as group:
        for i, publisher in enumerate(publishers, 1):
            for n in range(2):
                publisher.put(Window(i, uuid.UUID(int=1), n, 0, n * second, b"\0\0" * second))
            group.create_task(publisher.run(), name=f"publisher-{i}")
            publisher.close()
    assert events(logs)[0] == "publisher.losing_audio"
    assert logs[-1] == {**logs[-1], "event": "publisher.resumed", "dropped_s": 2.0}
    assert len(logs) == 2
