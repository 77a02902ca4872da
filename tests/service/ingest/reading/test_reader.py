"""One stream from a real server through real ffmpeg: every moment is in one window or gap, at its true time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.errors import BusError
from ingest.reading.reader import Reader, clock_now
from ingest.settings import IngestSettings
from ingest.wire import SAMPLE_RATE_HZ, GapReason, Record, Window
from tests import ffmpegs
from tests.waiting import until

STREAM = 7
MAX_LEAD_S = 0.7  # of a source that sends faster than real time
MAX_REST_S = 2.5  # between the last window and the end of the test, including the end of ffmpeg
MAX_ERROR_S = 0.5  # of a time, on a busy machine


@asynccontextmanager
async def reading(reader: Reader) -> AsyncIterator[None]:
    """Runs the reader; at the end it is stopped and has published its rest."""
    stop = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(reader.run(stop), name="reader")
        try:
            yield
        finally:
            stop.set()


def assert_tiles(records: Sequence[Record], since: int) -> None:
    """From `since` to about now without overlap or hole; audio still in flight at the end may be missing."""
    assert records[0].start == since
    for one, two in pairwise(records):
        assert one.end == two.start, (one, two)
    assert -MAX_LEAD_S < (clock_now() - records[-1].end) / SAMPLE_RATE_HZ < MAX_REST_S


def assert_sessions_are_whole(windows: Sequence[Window]) -> None:
    for session in {window.session_id for window in windows}:
        own = [window for window in windows if window.session_id == session]
        assert [window.sequence for window in own] == list(range(len(own)))
        assert len({window.anchor for window in own}) == 1


def errors_s(station: Any, windows: Sequence[Window], heard_at: Callable[[np.ndarray], float]) -> list[float]:
    """The error, in seconds, of each window's time."""
    errors = []
    for window in windows:
        pcm = np.frombuffer(window.pcm, "<i2")
        if len(pcm) >= 6400:
            middle = len(pcm) // 2
            aired_at = station.on_air_at + heard_at(pcm[middle - 3200 : middle + 3200])
            errors.append((window.start + middle) / SAMPLE_RATE_HZ - aired_at)
    assert errors
    return errors


async def test_a_repeated_burst_covers_the_break_and_is_heard_once(
    station: Any, bus: Any, quick: IngestSettings, heard_at: Callable[[np.ndarray], float]
) -> None:
    station.burst_s = 4
    before = ffmpegs.running()
    reader = Reader(STREAM, f"{station.url}/live", bus, quick)
    since = reader.heard_until
    with capture_logs() as logs:
        async with reading(reader):
            await bus.until(lambda bus: len(bus.windows) >= 3)
            assert REGISTRY.get_sample_value("airtrace_ingest_stream_up", {"stream": str(STREAM)}) == 1
            station.hang_up()
            await bus.until(lambda bus: len({window.session_id for window in bus.windows}) == 2)
            heard = len(bus.windows)
            await bus.until(lambda bus: len(bus.windows) >= heard + 2)
    assert bus.gaps == []
    assert_tiles(bus.records, since)
    assert_sessions_are_whole(bus.windows)
    assert all(window.first_sample > SAMPLE_RATE_HZ for window in bus.windows if window.sequence == 0)
    assert np.abs(errors_s(station, bus.windows, heard_at)).max() < MAX_ERROR_S
    assert [entry["event"] for entry in logs] == [
        "stream.connected",
        "stream.lost",
        "stream.reconnecting",
        "stream.connected",
    ]
    assert ffmpegs.running() == before
    assert REGISTRY.get_sample_value("airtrace_ingest_stream_up", {"stream": str(STREAM)}) is None


async def test_a_break_longer_than_the_burst_is_a_gap_with_the_reason_of_each_attempt(
    station: Any, bus: Any, quick: IngestSettings, heard_at: Callable[[np.ndarray], float]
) -> None:
    station.burst_s = 0.5
    patient = quick.model_copy(update={"backoff_first_s": 1.5, "max_backoff_s": 1.5})
    reader = Reader(STREAM, f"{station.url}/live", bus, patient)
    since = reader.heard_until
    async with reading(reader):
        await bus.until(lambda bus: len(bus.windows) >= 2)
        station.takes_calls = False
        station.hang_up()
        calls = station.calls
        await until(lambda: station.calls >= calls + 2)
        station.takes_calls = True
        await bus.until(lambda bus: len({window.session_id for window in bus.windows}) == 2)
    assert [gap.reason for gap in bus.gaps[-2:]] == [GapReason.ENDED, GapReason.CONNECTING]
    assert_tiles(bus.records, since)
    assert np.abs(errors_s(station, bus.windows, heard_at)).max() < MAX_ERROR_S


async def test_the_end_of_a_stream_is_a_gap_with_that_reason(station: Any, bus: Any, quick: IngestSettings) -> None:
    station.burst_s = 0
    reader = Reader(STREAM, f"{station.url}/live-2", bus, quick)
    since = reader.heard_until
    async with reading(reader):
        await bus.until(lambda bus: len({window.session_id for window in bus.windows}) == 2)
    assert GapReason.ENDED in [gap.reason for gap in bus.gaps]
    assert_tiles(bus.records, since)


async def test_a_stream_that_stalls_is_dropped_and_reconnected(station: Any, bus: Any, quick: IngestSettings) -> None:
    reader = Reader(STREAM, f"{station.url}/live", bus, quick)
    since = reader.heard_until
    with capture_logs() as logs:
        async with reading(reader):
            await bus.until(lambda bus: len(bus.windows) >= 2)
            station.mute()
            await until(lambda: station.calls >= 2)
    (lost,) = [entry for entry in logs if entry["event"] == "stream.lost"]
    assert lost["reason"] == "stalled"
    stalled = [gap for gap in bus.gaps if gap.reason is GapReason.STALLED]
    assert sum(gap.end - gap.start for gap in stalled) >= SAMPLE_RATE_HZ
    assert_tiles(bus.records, since)


async def test_a_server_that_sends_no_audio_is_a_gap_for_connecting(
    station: Any, bus: Any, quick: IngestSettings
) -> None:
    reader = Reader(STREAM, f"{station.url}/silent", bus, quick.model_copy(update={"connect_timeout_s": 1}))
    async with reading(reader):
        await until(lambda: station.calls >= 2)
    assert {gap.reason for gap in bus.gaps} == {GapReason.CONNECTING}
    assert bus.windows == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{station}/page.html", GapReason.NOT_AUDIO),
        ("http://127.0.0.1:1/live", GapReason.CONNECTING),
        ("file:///etc/passwd", GapReason.NOT_AUDIO),
    ],
)
async def test_a_stream_without_audio_is_one_gap_from_start_to_stop(
    station: Any, bus: Any, quick: IngestSettings, url: str, reason: GapReason
) -> None:
    station.files["/page.html"] = b"<!DOCTYPE html><html><body>" + b"<p>hello</p>" * 500 + b"</body></html>"
    reader = Reader(STREAM, url.format(station=station.url), bus, quick)
    since = reader.heard_until
    with capture_logs() as logs:
        async with reading(reader):
            await until(lambda: len(logs) >= 2)
    assert {entry["event"] for entry in logs} == {"stream.reconnecting"}
    assert all(entry["reason"] == reason.value and entry["wait_s"] <= 1 for entry in logs)
    assert {gap.reason for gap in bus.gaps} == {reason}
    assert_tiles(bus.records, since)


async def test_a_long_gap_is_published_while_it_lasts(bus: Any, quick: IngestSettings) -> None:
    without_burst = quick.model_copy(update={"max_burst_s": 0})
    reader = Reader(STREAM, "http://127.0.0.1:1/live", bus, without_burst, gap_step=SAMPLE_RATE_HZ)
    async with reading(reader):
        await bus.until(lambda bus: bus.gaps)
        assert 1 <= (bus.gaps[0].end - bus.gaps[0].start) / SAMPLE_RATE_HZ < 3


async def test_downtime_is_accounted_for_before_anything_else(station: Any, bus: Any, quick: IngestSettings) -> None:
    station.burst_s = 3
    position = clock_now() - 60 * SAMPLE_RATE_HZ
    async with reading(Reader(STREAM, f"{station.url}/live", bus, quick, heard_until=position)):
        await bus.until(lambda bus: len(bus.windows) >= 2)
    assert bus.records[0].reason is GapReason.STOPPED
    assert (bus.records[0].end - position) / SAMPLE_RATE_HZ == pytest.approx(60, abs=1)
    assert_tiles(bus.records, position)


async def test_a_source_faster_than_real_time_is_held_back(
    station: Any, bus: Any, quick: IngestSettings, encode: Callable[..., bytes]
) -> None:
    station.files["/file.mp3"] = encode(60, "-f", "mp3", "-b:a", "64k")
    early: list[float] = []
    publish = bus.publish

    async def clocked(record: Record) -> None:
        early.append((record.end - clock_now()) / SAMPLE_RATE_HZ)
        await publish(record)

    bus.publish = clocked
    reader = Reader(STREAM, f"{station.url}/file.mp3", bus, quick.model_copy(update={"max_burst_s": 2}))
    since = reader.heard_until
    async with reading(reader):
        await bus.until(lambda bus: len(bus.windows) >= 6)
    assert max(early) < MAX_LEAD_S
    assert len({window.session_id for window in bus.windows}) == 1
    assert_tiles(bus.records, since)


async def test_a_live_stream_is_read_only_a_few_times_per_window(station: Any, bus: Any, quick: IngestSettings) -> None:
    looks = 0

    def counted() -> int:
        nonlocal looks
        looks += 1
        return clock_now()

    patient = quick.model_copy(update={"window_s": 2, "stall_timeout_s": 10})
    reader = Reader(STREAM, f"{station.url}/live", bus, patient, now=counted)
    async with reading(reader):
        await bus.until(lambda bus: len(bus.windows) >= 2)
        before = looks
        await bus.until(lambda bus: len(bus.windows) >= 4)
        assert looks - before <= 2 * 2 * 6  # two for each read; ffmpeg writes eight pieces per window
        assert clock_now() - bus.windows[-1].end < MAX_ERROR_S * SAMPLE_RATE_HZ


async def test_the_last_audio_is_published_when_the_reader_stops(station: Any, bus: Any, quick: IngestSettings) -> None:
    reader = Reader(STREAM, f"{station.url}/live", bus, quick.model_copy(update={"window_s": 10}))
    up = {"stream": str(STREAM)}
    async with reading(reader):
        await until(lambda: REGISTRY.get_sample_value("airtrace_ingest_stream_up", up) == 1)
        heard_since = clock_now()
        await until(lambda: clock_now() > heard_since + 2 * SAMPLE_RATE_HZ)
        assert bus.windows == []
    (window,) = bus.windows
    assert SAMPLE_RATE_HZ < window.end - window.start < 5 * SAMPLE_RATE_HZ


async def test_a_reader_that_failed_continues_where_it_was(station: Any, bus: Any, quick: IngestSettings) -> None:
    publish, taken = bus.publish, 0

    async def broken(record: Record) -> None:
        nonlocal taken
        taken += 1
        if taken == 3:
            raise ZeroDivisionError
        await publish(record)

    bus.publish = broken
    reader = Reader(STREAM, f"{station.url}/live", bus, quick)
    since = reader.heard_until
    with pytest.raises(ExceptionGroup):
        async with reading(reader):
            await asyncio.Event().wait()
    heard = len(bus.windows)
    async with reading(reader):
        await bus.until(lambda bus: len(bus.windows) >= heard + 3)
    assert_tiles(bus.records, since)
    assert GapReason.STOPPED in [gap.reason for gap in bus.gaps]


async def test_a_reader_stops_even_if_its_bus_never_comes_back(station: Any, bus: Any, quick: IngestSettings) -> None:
    async def away(record: Record) -> None:
        raise BusError("away")

    bus.publish = away
    reader = Reader(STREAM, f"{station.url}/live", bus, quick, drain_s=0.2)
    with capture_logs() as logs:
        async with reading(reader):
            await until(lambda: any(entry["event"] == "publisher.refused" for entry in logs))
    (left,) = [entry for entry in logs if entry["event"] == "publisher.left"]
    assert left["left_s"] > 0


async def test_no_log_and_no_metric_shows_credentials(station: Any, bus: Any, quick: IngestSettings) -> None:
    address = station.url.removeprefix("http://")
    with capture_logs() as logs:
        for url in (
            f"http://user:hunter22@{address}/live?key=topsecret",
            "http://user:hunter22@127.0.0.1:1/?key=topsecret",
        ):
            seen = len(logs)
            async with reading(Reader(STREAM, url, bus, quick)):
                await until(lambda seen=seen: len(logs) > seen)
                station.hang_up()
                await until(lambda seen=seen: any(log["event"] == "stream.reconnecting" for log in logs[seen:]))
    labels = [label for metric in REGISTRY.collect() for sample in metric.samples for label in sample.labels.values()]
    said = f"{logs} {labels}"
    assert f"http://{address}/live?key=***" in said
    assert not any(secret in said for secret in ("user:", "hunter22", "topsecret"))
