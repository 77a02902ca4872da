"""The reader never waits for the bus, and audio that the bus cannot take becomes a gap with exact times."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from ingest.errors import BusError
from ingest.leases.lease import Lease
from ingest.reading.publisher import Publisher
from ingest.wire import Gap, GapReason, Record, Window
from tests.waiting import until

SESSION = uuid.UUID(int=1)
SECOND = 32_000


class Bus:
    """Keeps what is published; can be closed for a while, or broken."""

    def __init__(self) -> None:
        self.records: list[Record] = []  # without the fields that the publisher fills in
        self.marked: list[Record] = []
        self.tried: list[Record] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []

    async def publish(self, record: Record) -> None:
        self.tried.append(unmarked(record))
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.marked.append(record)
        self.records.append(unmarked(record))

    async def has(self, condition) -> None:  # type: ignore[no-untyped-def]
        await until(lambda: condition(self), timeout_s=5)


def unmarked(record: Record) -> Record:
    if isinstance(record, Window):
        return replace(record, epoch=0, is_discontinuous=False, trace="")
    return replace(record, epoch=0)


def window(i: int, stream_id: int = 1) -> Window:
    return Window(stream_id, SESSION, i, 0, i * SECOND, b"\0\0" * SECOND)


@asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.run(), name="publisher")
        yield
        publisher.close()


async def test_records_are_published_in_order() -> None:
    bus = Bus()
    publisher = Publisher(1, bus)
    records = [window(0), Gap(1, SECOND, 2 * SECOND, GapReason.ENDED), window(2)]
    async with running(publisher):
        for record in records:
            publisher.put(record)
    assert bus.records == records
    assert publisher.waiting_s == 0


async def test_a_slow_bus_blocks_nobody_and_the_oldest_windows_become_a_gap_with_exact_times() -> None:
    bus = Bus()
    publisher = Publisher(1, bus, max_waiting=3 * SECOND)
    bus.open.clear()
    async with running(publisher):
        publisher.put(window(0))
        await bus.has(lambda bus: bus.tried)
        for i in range(1, 10):
            publisher.put(window(i))
        assert publisher.waiting_s == 4  # three in the queue, one in flight
        bus.open.set()
    dropped = Gap(1, SECOND, 7 * SECOND, GapReason.DROPPED)
    assert bus.records == [window(0), dropped, window(7), window(8), window(9)]


async def test_dropped_windows_keep_their_place_between_other_gaps() -> None:
    bus = Bus()
    publisher = Publisher(1, bus, max_waiting=SECOND)
    ended = Gap(1, SECOND, 2 * SECOND, GapReason.ENDED)
    for record in (window(0), ended, window(2), window(3), window(4)):
        publisher.put(record)
    async with running(publisher):
        pass
    assert bus.records == [
        Gap(1, 0, SECOND, GapReason.DROPPED),
        ended,
        Gap(1, 2 * SECOND, 4 * SECOND, GapReason.DROPPED),
        window(4),
    ]


async def test_publishing_is_retried_until_the_bus_takes_the_record() -> None:
    bus = Bus()
    bus.errors = [BusError("away"), BusError("away")]
    publisher = Publisher(1, bus)
    async with running(publisher):
        publisher.put(window(0))
        publisher.put(window(1))
    assert bus.tried == [window(0)] * 3 + [window(1)]
    assert bus.records == [window(0), window(1)]


async def test_a_bug_ends_the_run_but_keeps_the_queue() -> None:
    bus = Bus()
    bus.errors = [ZeroDivisionError()]
    publisher = Publisher(1, bus)
    publisher.put(window(0))
    publisher.put(window(1))
    with pytest.raises(ZeroDivisionError):
        await publisher.run()
    async with running(publisher):
        pass
    assert bus.records == [window(0), window(1)]


async def test_a_cancelled_record_is_published_by_the_next_run() -> None:
    bus = Bus()
    bus.open.clear()
    publisher = Publisher(1, bus)
    publisher.put(window(0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(publisher.run(), name="publisher")
        await bus.has(lambda bus: bus.tried)
        task.cancel()
    assert publisher.waiting_s == 1
    bus.open.set()
    async with running(publisher):
        pass
    assert bus.records == [window(0)]


async def test_published_records_are_counted_by_stream_and_reason() -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"stream": "424242", **labels}) or 0

    publisher = Publisher(424242, Bus())
    async with running(publisher):
        publisher.put(window(0, 424242))
        publisher.put(Gap(424242, SECOND, 4 * SECOND, GapReason.STALLED))
    assert value("airtrace_ingest_windows_total") == 1
    assert value("airtrace_ingest_audio_seconds_total") == 1
    assert value("airtrace_ingest_gap_seconds_total", reason="stalled") == 3


async def test_a_window_says_whether_it_follows_the_one_before_and_has_its_own_trace() -> None:
    bus = Bus()
    publisher = Publisher(1, bus, max_waiting=2 * SECOND)
    async with running(publisher):
        publisher.put(window(0))
        await bus.has(lambda bus: bus.records)
        bus.open.clear()
        publisher.put(window(1))
        await bus.has(lambda bus: len(bus.tried) == 2)
        for i in range(2, 6):
            publisher.put(window(i))
        bus.open.set()
    sent = [record for record in bus.marked if isinstance(record, Window)]
    assert [record.sequence for record in sent] == [0, 1, 4, 5]
    assert [record.is_discontinuous for record in sent] == [True, False, True, False]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", record.trace) for record in sent)
    assert len({record.trace for record in sent}) == 4


async def test_nothing_is_published_while_the_lease_is_expired_and_everything_once_it_is_renewed() -> None:
    bus, now = Bus(), [100.0]
    lease = Lease(7, 105.0, lambda: now[0])
    publisher = Publisher(1, bus, lease=lease)
    async with running(publisher):
        publisher.put(window(0))
        await bus.has(lambda bus: bus.records)
        now[0] = 105.0
        publisher.put(window(1))
        publisher.put(window(2))
        for _ in range(10):
            await asyncio.sleep(0)  # every chance to publish
        assert len(bus.tried) == 1
        lease.extend(8, 120.0)
    assert bus.records == [window(0), window(1), window(2)]
    assert [record.epoch for record in bus.marked] == [7, 8, 8]


async def test_waiting_records_are_discarded_once_another_process_has_the_stream() -> None:
    bus = Bus()
    lease = Lease(7)
    publisher = Publisher(1, bus, lease=lease)
    bus.errors = [BusError("away")] * 1000
    async with asyncio.timeout(20), running(publisher):
        publisher.put(window(0))
        publisher.put(window(1))
        await bus.has(lambda bus: bus.tried)
        lease.revoke()
    assert bus.records == []
    assert publisher.waiting_s == 0
