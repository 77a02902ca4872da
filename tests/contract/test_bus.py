"""What every bus does, whichever carries the records."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from pathlib import Path
from typing import Protocol

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from ingest import metrics
from ingest.bus.kafka import KafkaBus
from ingest.bus.kafka_limits import Topic
from ingest.bus.port import Bus, Delivery
from ingest.bus.spool import FILE_BYTES, Spool
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Encoded, Gap, GapReason, Record, Window
from tests.broker import Broker, kafka_settings
from tests.fakes import MemoryBus

DEADLINE_S = 30
SESSION = uuid.UUID(int=7)
ANCHOR = 1_700_000_000 * SAMPLE_RATE_HZ
ALIEN = Encoded(b"1", (("airtrace", b"99"), ("kind", b"window")), b"from the future")


class Rig(Protocol):
    """One log on which buses are opened one after the other, and the parts of it that the port does not show."""

    is_shared: bool  # other processes can read it
    other_topic: str  # one in addition to that of the windows

    def opened(self) -> AbstractAsyncContextManager[Bus]: ...

    async def publish_alien(self, bus: Bus) -> None:
        """Publishes a record that no reader of this version can read, into the partition of stream 1."""

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        """Error and content of each; at least one."""

    async def forget_before(self, first: Delivery) -> None:
        """Removes everything before a record from the log. No bus is open meanwhile."""

    async def sent(self) -> list[Encoded]:
        """The messages in the other topic."""


class SpoolRig:
    is_shared = False
    other_topic = "airtrace.matches.v1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def opened(self) -> Spool:
        return Spool(self._folder, max_mb=64)

    async def publish_alien(self, bus: Spool) -> None:
        await bus.append(ALIEN)

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        kept = [path.read_bytes() for path in sorted((self._folder / "rejected").iterdir())]
        assert kept
        return [(error.decode(), frame) for error, _, frame in (each.partition(b"\n") for each in kept)]

    async def forget_before(self, first: Delivery) -> None:
        for path in self._folder.glob("*.log"):
            if int(path.stem) < first.offset:
                path.unlink()

    async def sent(self) -> list[Encoded]:
        return []


class MemoryRig:
    """The stand-in for a bus in other tests."""

    is_shared = False
    other_topic = "airtrace.matches.v1"

    def __init__(self) -> None:
        self._bus = MemoryBus()

    def opened(self) -> AbstractAsyncContextManager[MemoryBus]:
        return nullcontext(self._bus)

    async def publish_alien(self, bus: MemoryBus) -> None:
        await bus.append(ALIEN)

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        assert self._bus.dead_letters
        return [letter for _, letter in sorted(self._bus.dead_letters.items())]

    async def forget_before(self, first: Delivery) -> None:
        self._bus.oldest = first.offset

    async def sent(self) -> list[Encoded]:
        return []


class KafkaRig:
    is_shared = True

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._settings: KafkaSettings = kafka_settings(broker.bootstrap, partitions=2)
        self.other_topic = f"events-{uuid.uuid4().hex}"

    def opened(self) -> KafkaBus:
        other = Topic(self.other_topic, 1, retention_ms=3_600_000, min_bytes=1_000, max_bytes=1_000)
        return KafkaBus(self._settings, idempotent=self._broker.is_real, others=[other])

    async def publish_alien(self, bus: KafkaBus) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._broker.bootstrap) as producer:
            await producer.send_and_wait(
                self._settings.windows_topic, ALIEN.value, key=ALIEN.key, headers=list(ALIEN.headers)
            )

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        topic = TopicPartition(self._settings.rejected_topic, 0)
        async with AIOKafkaConsumer(bootstrap_servers=self._broker.bootstrap) as consumer:
            consumer.assign([topic])
            end = (await consumer.end_offsets([topic]))[topic]
            consumer.seek(topic, 0)
            letters = [await consumer.getone() for _ in range(end)]
        assert letters
        for letter in letters:
            headers = dict(letter.headers)
            assert headers["source_topic"].decode() == self._settings.windows_topic
            assert headers["source_partition"].isdigit()
            assert headers["source_offset"].isdigit()
            assert {"airtrace", "kind"} <= headers.keys(), "the headers that it came with"
            assert letter.key == ALIEN.key
        return [(dict(letter.headers)["error"].decode(), letter.value) for letter in letters]

    async def forget_before(self, first: Delivery) -> None:
        if not self._broker.is_real:
            pytest.skip("Tansu never deletes")
        topic = TopicPartition(self._settings.windows_topic, first.partition)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._broker.bootstrap)
        await admin.start()
        try:
            await admin.delete_records({topic: RecordsToDelete(before_offset=first.offset)})
        finally:
            await admin.close()

    async def sent(self) -> list[Encoded]:
        async with AIOKafkaConsumer(bootstrap_servers=self._broker.bootstrap) as consumer:
            consumer.assign([TopicPartition(self.other_topic, 0)])
            await consumer.seek_to_beginning()
            message = await consumer.getone()
        return [Encoded(message.key, message.headers, message.value)]


@pytest.fixture(params=["memory", "spool", "kafka"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    if request.param == "memory":
        return MemoryRig()
    if request.param == "spool":
        return SpoolRig(tmp_path / "spool")
    return KafkaRig(request.getfixturevalue("any_kafka"))


def window(stream: int, sequence: int, n_bytes: int = 64) -> Window:
    pcm = random.Random(f"{stream}/{sequence}").randbytes(n_bytes)
    return Window(stream, SESSION, sequence, ANCHOR, sequence * n_bytes // BYTES_PER_SAMPLE, pcm)


def windows(stream: int, first: int, end: int) -> list[Window]:
    return [window(stream, sequence) for sequence in range(first, end)]


async def committed(_: int) -> int | None:
    """Starts at the committed offset."""
    return None


async def publish(bus: Bus, records: Sequence[Record]) -> None:
    for record in records:
        await bus.publish(record)


async def take(bus: Bus, n_records: int, start_at=committed) -> list[Delivery]:
    """The next deliveries, at least `n_records` of them."""
    taken: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(bus.deliveries(start_at)) as batches:
        async for batch in batches:
            assert batch, "a batch without deliveries"
            taken += batch
            if len(taken) >= n_records:
                return taken
    raise AssertionError("the deliveries ended")


def records(deliveries: Sequence[Delivery]) -> list[Record]:
    return [delivery.record for delivery in deliveries]


def after(delivery: Delivery) -> dict[int, int]:
    return {delivery.partition: delivery.offset + 1}


async def test_records_are_delivered_bit_by_bit_as_they_were_published(rig: Rig) -> None:
    sent = [
        window(1, 0),
        Gap(1, ANCHOR, ANCHOR + 1, GapReason.STALLED),
        *(Gap(1, ANCHOR + n, ANCHOR + n + 1, reason) for n, reason in enumerate(GapReason)),
        Window(1, uuid.uuid4(), 2**40, ANCHOR, 2**50, bytes(range(256))),
        Window(1, SESSION, 1, ANCHOR, 0, bytes(64), epoch=7, is_discontinuous=True, trace="00-ab-cd-00"),
        Gap(1, ANCHOR, ANCHOR + 1, GapReason.STOPPED, epoch=8),
    ]
    async with rig.opened() as bus:
        await publish(bus, sent)
        assert records(await take(bus, len(sent))) == sent


async def test_the_longest_window_passes(rig: Rig) -> None:
    longest = window(1, 0, 10 * SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
    async with rig.opened() as bus:
        await bus.publish(longest)
        assert records(await take(bus, 1)) == [longest]


async def test_each_stream_stays_in_order(rig: Rig) -> None:
    async with rig.opened() as bus, asyncio.TaskGroup() as group:
        for stream in range(1, 6):
            group.create_task(publish(bus, windows(stream, 0, 30)), name=f"stream-{stream}")
        taken = records(await take(bus, 5 * 30))
    for stream in range(1, 6):
        assert [record for record in taken if record.stream_id == stream] == windows(stream, 0, 30)


async def test_offsets_of_a_partition_increase_by_one(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 5))
        assert [delivery.offset for delivery in await take(bus, 5)] == [0, 1, 2, 3, 4]


async def test_uncommitted_records_come_again(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        await take(bus, 3)
    async with rig.opened() as bus:
        assert records(await take(bus, 3)) == windows(1, 0, 3)


async def test_committed_records_do_not_come_again(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 5))
        await bus.commit(after((await take(bus, 5))[2]))
    async with rig.opened() as bus:
        assert records(await take(bus, 2)) == windows(1, 3, 5)


async def test_a_commit_never_goes_back(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 5))
        taken = await take(bus, 5)
        await bus.commit(after(taken[3]))
        await bus.commit(after(taken[0]))
    async with rig.opened() as bus:
        assert records(await take(bus, 1)) == windows(1, 4, 5)


async def test_a_replay_starts_at_the_requested_offset(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 5))
        taken = await take(bus, 5)
        await bus.commit(after(taken[-1]))

    async def earlier(partition: int) -> int | None:
        return taken[1].offset if partition == taken[1].partition else None

    async with rig.opened() as bus:
        assert records(await take(bus, 4, earlier)) == windows(1, 1, 5)
        await bus.commit(after(taken[1]))  # as a worker does while it reads the past again
    async with rig.opened() as bus:
        await bus.publish(window(1, 5))
        assert records(await take(bus, 1)) == [window(1, 5)]


async def test_a_new_reader_of_the_same_bus_gets_the_replay_again(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        for _ in range(2):
            assert records(await take(bus, 3)) == windows(1, 0, 3)


async def test_a_replay_skips_no_uncommitted_record(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        await bus.commit(after((await take(bus, 3))[0]))

    async def later(_: int) -> int | None:
        return 1_000

    async with rig.opened() as bus:
        assert records(await take(bus, 2, later)) == windows(1, 1, 3)


async def test_a_replay_skips_nothing_when_nothing_was_ever_committed(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        await take(bus, 3)

    async def second(_: int) -> int | None:
        return 1

    async with rig.opened() as bus:
        assert records(await take(bus, 3, second)) == windows(1, 0, 3)


async def test_an_offset_no_longer_kept_becomes_the_oldest_kept(rig: Rig) -> None:
    async with rig.opened() as bus:
        sent = [window(1, sequence, FILE_BYTES // 2) for sequence in range(6)]
        await publish(bus, sent)
        taken = await take(bus, 6)
        await bus.commit(after(taken[-1]))
    await rig.forget_before(taken[2])

    async def forgotten(partition: int) -> int | None:
        return 0 if partition == taken[0].partition else None

    async with rig.opened() as bus:
        again = await take(bus, 4, forgotten)
        assert records(again) == sent[2:]
        assert again[0].offset == taken[2].offset


async def test_start_at_is_called_once_for_each_partition(rig: Rig) -> None:
    asked: list[int] = []

    async def asking(partition: int) -> int | None:
        asked.append(partition)
        return None

    async with rig.opened() as bus:
        await publish(bus, [window(stream, 0) for stream in range(1, 20)])
        taken = await take(bus, 19, asking)
    assert len(asked) == len(set(asked))
    assert {delivery.partition for delivery in taken} == set(asked)


async def test_a_waiting_reader_is_woken(rig: Rig) -> None:
    asked = asyncio.Event()

    async def asking(_: int) -> int | None:
        asked.set()
        return None

    async with rig.opened() as bus, asyncio.TaskGroup() as group:
        reading = group.create_task(take(bus, 1, asking), name="reader")
        await asked.wait()
        await bus.publish(window(1, 0))
        assert records(await reading) == [window(1, 0)]


async def test_a_waiting_reader_can_be_stopped(rig: Rig) -> None:
    asked = asyncio.Event()

    async def asking(_: int) -> int | None:
        asked.set()
        return None

    async with rig.opened() as bus:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(take(bus, 1, asking), name="reader")
            await asked.wait()
            reading.cancel()
        await bus.publish(window(1, 0))
        assert records(await take(bus, 1)) == [window(1, 0)]


async def test_a_record_that_cannot_be_read_goes_to_the_dead_letters(rig: Rig) -> None:
    before = metrics.REJECTED._value.get()
    async with rig.opened() as bus:
        await bus.publish(window(1, 0))
        await rig.publish_alien(bus)
        await bus.publish(window(1, 1))
        taken = await take(bus, 2)
        assert records(taken) == windows(1, 0, 2)
    ((error, content),) = await rig.dead_letters()
    assert "wire version" in error
    assert ALIEN.value in content
    assert metrics.REJECTED._value.get() == before + 1


async def test_a_rejected_record_goes_to_the_dead_letters_unchanged_and_the_reader_continues(rig: Rig) -> None:
    before = metrics.REJECTED._value.get()
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        taken = await take(bus, 3)
        await bus.reject(taken[1], "ZeroDivisionError: a bug")
        await bus.commit(after(taken[2]))
    async with rig.opened() as bus:
        await bus.publish(window(1, 3))
        assert records(await take(bus, 1)) == [window(1, 3)]
    ((error, content),) = await rig.dead_letters()
    assert error == "ZeroDivisionError: a bug"
    assert window(1, 1).pcm in content
    assert metrics.REJECTED._value.get() == before + 1


async def test_dead_letters_are_committed_together_with_the_records_before_them(rig: Rig) -> None:
    async with rig.opened() as bus:
        await rig.publish_alien(bus)
        await publish(bus, windows(1, 0, 2))
        await rig.publish_alien(bus)
        await bus.publish(window(1, 2))
        await bus.commit(after((await take(bus, 3))[1]))
    async with rig.opened() as bus:
        taken = await take(bus, 1)
        assert records(taken) == [window(1, 2)]
    assert len(await rig.dead_letters()) == 2


async def test_a_replay_does_not_create_a_dead_letter_twice(rig: Rig) -> None:
    before = metrics.REJECTED._value.get()
    async with rig.opened() as bus:
        await rig.publish_alien(bus)
        await publish(bus, windows(1, 0, 2))
        await bus.commit(after((await take(bus, 2))[-1]))

    async def from_the_start(_: int) -> int | None:
        return 0

    async with rig.opened() as bus:
        assert records(await take(bus, 2, from_the_start)) == windows(1, 0, 2)
    assert len(await rig.dead_letters()) == 1
    assert metrics.REJECTED._value.get() == before + 1


async def test_drain_returns_at_once_when_everything_is_committed(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        await bus.commit(after((await take(bus, 3))[-1]))
        async with asyncio.timeout(DEADLINE_S):
            assert await bus.drain(100 * DEADLINE_S) == 0


async def test_drain_waits_for_records_that_nobody_else_can_take(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        taken = await take(bus, 3)
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            draining = group.create_task(bus.drain(100 * DEADLINE_S), name="drain")
            await bus.commit(after(taken[0]))
            await asyncio.sleep(0)
            assert draining.done() == rig.is_shared
            await bus.commit(after(taken[-1]))
            assert await draining == 0


async def test_drain_gives_up_in_time_and_says_how_many_records_are_left(rig: Rig) -> None:
    async with rig.opened() as bus:
        await publish(bus, windows(1, 0, 3))
        await bus.commit(after((await take(bus, 3))[0]))
        assert await bus.drain(0.05) == (0 if rig.is_shared else 2)


async def test_a_bus_says_whether_it_has_other_topics(rig: Rig) -> None:
    message = Encoded(b"7", (("type", b"test"),), b"{}")
    async with rig.opened() as bus:
        if bus.can_send:
            await bus.send(rig.other_topic, message)
            assert await rig.sent() == [message]
        else:
            with pytest.raises(BusError, match="AIRTRACE_KAFKA__BOOTSTRAP"):
                await bus.send(rig.other_topic, message)
