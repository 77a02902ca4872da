"""Every window history, whichever log it reads, finds a stream's windows without affecting the consumer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ingest import metrics
from ingest.bus.history import WindowHistory
from ingest.bus.kafka import KafkaBus
from ingest.bus.kafka_history import KafkaHistory
from ingest.bus.port import Bus, Delivery
from ingest.bus.spool import FILE_BYTES, Spool
from ingest.bus.spool_history import SpoolHistory
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Encoded, Gap, GapReason, Record, Window, decode, encode
from monitor.parts import window_history
from monitor.settings import Settings
from tests.broker import Broker, kafka_settings

DEADLINE_S = 30
SESSION = uuid.UUID(int=7)
ANCHOR = 1_700_000_000 * SAMPLE_RATE_HZ
LENGTH = 1000  # samples of a window, unless a test says otherwise
ALIEN = Encoded(b"1", (("airtrace", b"99"), ("kind", b"window")), b"from the future")


@dataclass(frozen=True)
class Log:
    """A log that is open, and how it is read beside its consumer."""

    bus: Bus
    history: WindowHistory


@pytest.fixture(params=["spool", "kafka"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Bus]]:
    if request.param == "spool":
        return lambda: Spool(tmp_path / "spool", max_mb=64)
    broker: Broker = request.getfixturevalue("any_kafka")
    settings = kafka_settings(broker.bootstrap, partitions=1)
    return lambda: KafkaBus(settings, idempotent=broker.is_real)


@pytest.fixture
async def log(opened: Callable[[], AbstractAsyncContextManager[Bus]], tmp_path: Path) -> AsyncIterator[Log]:
    async with opened() as bus:
        settings = bus._settings if isinstance(bus, KafkaBus) else KafkaSettings()
        yield Log(bus, window_history(Settings(home=tmp_path, kafka=settings)))


def window(stream: int, number: int, length: int = LENGTH) -> Window:
    pcm = bytes([number % 256, stream]) * length
    return Window(stream, SESSION, number, ANCHOR, number * length, pcm)


async def put(bus: Bus, records: Sequence[Window | Gap]) -> None:
    for record in records:
        await bus.publish(record)


def clock(windows: float, length: int = LENGTH) -> int:
    return ANCHOR + round(windows * length)


async def test_windows_that_overlap_an_interval_are_found_in_order(log: Log) -> None:
    await put(log.bus, [window(1, number) for number in range(20)])
    found = await log.history.windows(1, 0, clock(5.5), clock(8))
    assert found.windows == tuple(window(1, number) for number in (5, 6, 7))
    whole = await log.history.windows(1, 0, clock(-100), clock(100))
    assert [each.sequence for each in whole.windows] == list(range(20))


async def test_other_streams_gaps_and_unreadable_records_are_skipped(log: Log) -> None:
    await put(log.bus, [window(2, 0), window(1, 0), window(11, 1)])
    if isinstance(log.bus, Spool):
        await log.bus.append(ALIEN)
    else:
        async with AIOKafkaProducer(bootstrap_servers=log.bus._brokers) as producer:
            await producer.send_and_wait(
                log.bus._settings.windows_topic, ALIEN.value, key=ALIEN.key, headers=list(ALIEN.headers)
            )
    await put(log.bus, [Gap(1, clock(1), clock(2), GapReason.CONNECTING), window(1, 2), window(2, 2)])
    rejected = metrics.REJECTED._value.get()
    found = await log.history.windows(1, 0, clock(0), clock(10))
    assert found.windows == (window(1, 0), window(1, 2))
    assert metrics.REJECTED._value.get() == rejected, "rejecting is the consumer's job"


async def test_an_interval_that_the_log_does_not_have_is_empty(log: Log) -> None:
    assert (await log.history.windows(1, 0, clock(0), clock(10))).windows == ()
    await put(log.bus, [window(1, number) for number in range(3)])
    for stream, begin, end in ((1, -20, 0), (1, 3, 10), (2, 0, 3), (1, 10**9, 10**9 + 1)):
        assert (await log.history.windows(stream, 0, clock(begin), clock(end))).windows == ()


async def test_the_consumer_does_not_notice(log: Log) -> None:
    records = [window(1, number) for number in range(12)]
    await put(log.bus, records[:6])

    async def start_at(partition: int) -> int | None:
        return None

    async with aclosing(log.bus.deliveries(start_at)) as batches, asyncio.timeout(DEADLINE_S):
        taken: list[Delivery] = []
        async for batch in batches:
            taken += batch
            assert (await log.history.windows(1, 0, clock(0), clock(6))).windows == tuple(records[:6])
            await log.bus.commit({0: batch[-1].offset + 1})
            if len(taken) == 6:
                await put(log.bus, records[6:])
            if len(taken) == 12:
                break
    assert [delivery.record for delivery in taken] == records
    assert (await log.history.windows(1, 0, clock(0), clock(20))).windows == tuple(records)


# The spool


async def test_a_spool_reports_the_interval_for_which_it_has_a_stream(tmp_path: Path) -> None:
    async with Spool(tmp_path, max_mb=64) as spool:
        await put(spool, [window(1, number) for number in range(3, 8)])
        found = await SpoolHistory(tmp_path).windows(1, 0, clock(100), clock(101))
        assert (found.windows, found.oldest, found.newest) == ((), clock(3), clock(8))
        found = await SpoolHistory(tmp_path).windows(2, 0, clock(0), clock(101))
        assert (found.oldest, found.newest) == (None, None)


async def test_a_closed_spool_is_read_across_its_files(tmp_path: Path) -> None:
    length = FILE_BYTES // BYTES_PER_SAMPLE // 3
    async with Spool(tmp_path, max_mb=64) as spool:
        await put(spool, [window(1, number, length) for number in range(8)])
    assert len(list(tmp_path.glob("*.log"))) > 2
    found = await SpoolHistory(tmp_path).windows(1, 0, clock(0), clock(100, length))
    assert [each.sequence for each in found.windows] == list(range(8))


async def test_a_record_that_is_still_being_written_is_skipped(tmp_path: Path) -> None:
    async with Spool(tmp_path, max_mb=64) as spool:
        await put(spool, [window(1, number) for number in range(3)])
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    third = len(whole) // 3
    for length in (2 * third + 5, 2 * third + 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = await SpoolHistory(tmp_path).windows(1, 0, clock(0), clock(100))
        assert [each.sequence for each in found.windows] == [0, 1]
        assert path.read_bytes() == whole[:length]


async def test_a_missing_spool_is_an_error_that_names_the_kafka_setting(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="AIRTRACE_KAFKA__BOOTSTRAP"):
        await SpoolHistory(tmp_path / "none").windows(1, 0, clock(0), clock(1))


# Kafka


async def test_kafka_is_read_starting_at_the_time_of_the_interval(
    any_kafka: Broker,
) -> None:
    settings = kafka_settings(any_kafka.bootstrap, partitions=1)
    second = SAMPLE_RATE_HZ // 10  # a window of a tenth of a second, one every minute
    begun_s = round(time.time()) - 600  # a broker deletes what it has kept for long enough, by these times
    minutes = [
        Window(1, SESSION, n, (begun_s + 60 * n) * SAMPLE_RATE_HZ, 0, bytes(second * BYTES_PER_SAMPLE))
        for n in range(10)
    ]
    async with KafkaBus(settings, idempotent=any_kafka.is_real):
        async with AIOKafkaProducer(bootstrap_servers=any_kafka.bootstrap) as producer:
            for each in minutes:
                sent = encode(each)
                await producer.send_and_wait(
                    settings.windows_topic,
                    sent.value,
                    key=sent.key,
                    headers=list(sent.headers),
                    timestamp_ms=1000 * each.end // SAMPLE_RATE_HZ,
                )
        seen: list[int] = []

        def counting(*message: Any) -> Record:
            seen.append(1)
            return decode(*message)

        history = KafkaHistory(settings, decode=counting)
        found = await history.windows(1, 0, minutes[6].start, minutes[6].end)
    assert found.windows == (minutes[6],)
    assert len(seen) <= 4, "it read windows from long before"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "someone:hunter2@127.0.0.1:9"])
async def test_an_unreachable_kafka_is_an_error_without_secrets(address: str) -> None:
    history = window_history(Settings(home=Path("/nowhere"), kafka=KafkaSettings(bootstrap=address)))
    with pytest.raises(BusError, match=r"Kafka at 127\.0\.0\.1:9 does not return past windows") as raised:
        await history.windows(1, 0, clock(0), clock(1))
    assert "hunter2" not in str(raised.value)
