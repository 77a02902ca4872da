"""The reading half of the bus over Apache Kafka: one member of the workers' group.

A partition is ours from the seek to where its replay begins until the next rebalance, which takes all of them away.
Before it does, the batch in hand is finished, if that takes no longer than a third of the session: nobody has to do it
again. Else it is abandoned: its commit is left, and what is still written of it cannot harm (`StaleProgress`).

A batch that cannot be worked off, as PostgreSQL or Milvus is away, is held: the partitions are paused, so that nothing
more comes in, and the consumer goes on to ask for nothing, so that the group keeps it as a member.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from ingest import metrics
from ingest.bus.kafka_client import (
    MAX_HEADERS_BYTES,
    MAX_RECORD_BYTES,
    addresses,
    connecting,
    start_or_stop,
    translating_errors,
)
from ingest.bus.port import Delivery, StartAt
from ingest.errors import WireError
from ingest.settings import KafkaSettings
from ingest.wire import Headers, decode

log = structlog.get_logger(__name__)

METADATA_AGE_MS = 10_000  # how late partitions that are added to the topic, or moved, may be noticed
MAX_FETCH_BYTES = 8_000_000  # with a batch's records, what is held in memory per broker
FETCH_WAIT_MS = 100  # a partition that is sent elsewhere has to wait for the fetch that is under way
WAKE_S = 0.2  # how late a partition that is given to us while nothing comes in may notice it
HOLD_S = 5.0  # a batch in hand for this long is held: longer than one takes, far below any time-out of the group
FINISH_SHARE = 1 / 3  # of the session: a member that does not come to a rebalance within one is left out

Bury = Callable[[ConsumerRecord, Headers, str], Awaitable[None]]


@dataclass(slots=True)
class _Place:
    """How far a partition is committed, and which records behind that are in the dead letters."""

    committed: int
    rejected: set[int] = field(default_factory=set)

    def behind_rejected(self, offset: int) -> int:
        """`offset`, or behind the dead letters that follow it: nobody else will ever commit those."""
        while offset in self.rejected:
            offset += 1
        return offset


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The partitions that were given to us and whose replay has begun. Every rebalance takes all of them away first."""

    def __init__(self, finish_s: float) -> None:
        self.begun: dict[TopicPartition, _Place] = {}
        self.idle = asyncio.Event()  # no batch is in hand
        self.idle.set()
        self._finish_s = finish_s

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for the batch in hand; heartbeats go on meanwhile, and so do commits."""
        try:
            async with asyncio.timeout(self._finish_s):
                await self.idle.wait()
        except TimeoutError:
            log.warning("kafka.batch_abandoned", partitions=sorted(each.partition for each in revoked))
        for partition in self.begun:
            metrics.LAG.remove(partition.partition)
        self.begun = {}

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        log.info("kafka.assigned", partitions=sorted(each.partition for each in assigned))


class GroupConsumer:
    """Starts on first use. `bury` puts a record that cannot be read into the dead letters."""

    def __init__(self, settings: KafkaSettings, bury: Bury) -> None:
        self._settings = settings
        self._bury = bury
        self._brokers = addresses(settings)
        self._starting = asyncio.Lock()
        self._ours = Assignment(settings.session_timeout_s * FINISH_SHARE)
        self.consumer: AIOKafkaConsumer | None = None

    def holds(self, partition: int) -> bool:
        """See `Bus`."""
        return TopicPartition(self._settings.windows_topic, partition) in self._ours.begun

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """See `Bus`. `start_at` is asked in here, never beside a batch that is still being worked on.

        Never begins behind the committed offset: the records in between belong to nobody yet.
        """
        consumer = await self._consuming()
        self._ours.begun = {}
        while True:
            for partition in consumer.assignment() - self._ours.begun.keys():
                await self._begin(consumer, partition, start_at)
            if batch := await self._gathered(consumer):
                async with self._in_hand(consumer):
                    yield batch
            self._count_lag(consumer)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Bus`. Partitions that went to another worker are left to it."""
        ahead: dict[TopicPartition, int] = {}
        for number, offset in offsets.items():
            partition = TopicPartition(self._settings.windows_topic, number)
            if (place := self._ours.begun.get(partition)) is None:
                log.info("kafka.commit_left", partition=number, offset=offset)
            elif (behind := place.behind_rejected(offset)) > place.committed:
                ahead[partition] = behind
        if ahead:
            await self._commit(ahead)

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        begun = self._ours.begun
        consumer = await self._consuming()
        with translating_errors(self._brokers, "takes no commits"):
            try:
                await consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                log.info("kafka.commit_left", partitions=sorted(partition.partition for partition in offsets))
                return
        for partition, offset in offsets.items():
            if (place := begun.get(partition)) is not None:
                place.committed = offset
                place.rejected = {rejected for rejected in place.rejected if rejected >= offset}

    async def _gathered(self, consumer: AIOKafkaConsumer) -> list[Delivery]:
        """Records of all our partitions: a batch's number of them, or what has come soon after the first one.

        Nothing, if nothing comes for a while, or a rebalance came in between: all of it comes again.
        """
        begun, maximum = self._ours.begun, self._settings.batch_records
        clock = asyncio.get_running_loop().time
        batch: list[Delivery] = []
        until_s = clock() + WAKE_S
        while len(batch) < maximum and (left_s := until_s - clock()) > 0:
            is_first = not batch
            with translating_errors(self._brokers, "gives no records"):
                fetched = await consumer.getmany(
                    timeout_ms=max(1, round(left_s * 1000)), max_records=maximum - len(batch)
                )
            for partition, messages in fetched.items():
                if (place := begun.get(partition)) is not None:
                    batch += await self._read(messages, place)
            if begun is not self._ours.begun or not (fetched or batch):
                break
            if is_first and batch:
                until_s = clock() + self._settings.batch_wait_s
        return batch if begun is self._ours.begun else []

    @asynccontextmanager
    async def _in_hand(self, consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
        self._ours.idle.clear()
        holding = asyncio.create_task(self._hold(consumer), name="kafka-hold")
        try:
            yield
        finally:
            holding.cancel()
            await asyncio.wait({holding})
            paused = consumer.paused() & consumer.assignment()
            consumer.resume(*paused)
            if paused:
                log.info("kafka.resumed", partitions=sorted(partition.partition for partition in paused))
            metrics.PAUSED.set(0)
            self._ours.idle.set()

    async def _hold(self, consumer: AIOKafkaConsumer) -> None:
        """Once a batch is in hand for long: what we have is paused, and the group is told that we are there."""
        await asyncio.sleep(HOLD_S)
        log.info("kafka.paused", partitions=sorted(partition.partition for partition in self._ours.begun))
        metrics.PAUSED.set(1)
        while True:
            consumer.pause(*(self._ours.begun.keys() & consumer.assignment()))
            # What comes of partitions that are new to us comes again: their replay has not begun.
            with suppress(KafkaError):
                await consumer.getmany(timeout_ms=round(HOLD_S * 1000), max_records=1)
            await asyncio.sleep(WAKE_S)  # where it gives something, or fails, at once

    def _count_lag(self, consumer: AIOKafkaConsumer) -> None:
        for partition, place in self._ours.begun.items():
            if partition in consumer.assignment() and (newest := consumer.highwater(partition)) is not None:
                metrics.LAG.labels(partition.partition).set(max(0, newest - place.committed))

    async def _begin(self, consumer: AIOKafkaConsumer, partition: TopicPartition, start_at: StartAt) -> None:
        """Goes to where the replay of a partition begins. If it is taken away meanwhile, nothing happens."""
        begun = self._ours.begun  # a rebalance puts another one in its place
        asked = await start_at(partition.partition)
        with translating_errors(self._brokers, "does not say where to begin"):
            committed = await consumer.committed(partition)
            if is_new := committed is None:
                oldest = await consumer.beginning_offsets([partition])
                committed = oldest[partition] if asked is None else asked
        if begun is not self._ours.begun or partition not in consumer.assignment():
            return
        consumer.seek(partition, committed if asked is None else min(asked, committed))
        begun[partition] = _Place(committed)
        if is_new:
            # Else, after a crash within the first batch, the progress of its first streams would hide the others'.
            await self._commit({partition: committed})

    async def _read(self, messages: Sequence[ConsumerRecord], place: _Place) -> list[Delivery]:
        """The deliveries in a partition's messages; what is none goes to the dead letters."""
        deliveries = []
        # In a thread: FLAC takes its time, and heartbeats do not wait.
        for message, read in zip(messages, await asyncio.to_thread(_decoded, messages), strict=True):
            if isinstance(read, Delivery):
                deliveries.append(read)
            elif message.offset >= place.committed:  # else a replay comes by
                await self._bury(message, _headers(message), str(read))
                place.rejected.add(message.offset)
                await self.commit({message.partition: place.committed})
        return deliveries

    async def _consuming(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self.consumer is None:
                session_timeout_ms = round(self._settings.session_timeout_s * 1000)
                async with connecting(self._brokers):
                    consumer = AIOKafkaConsumer(
                        bootstrap_servers=self._brokers,
                        group_id=self._settings.group,
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",  # where to go on when an offset is no longer kept
                        metadata_max_age_ms=METADATA_AGE_MS,
                        session_timeout_ms=session_timeout_ms,
                        heartbeat_interval_ms=session_timeout_ms // 3,
                        fetch_max_wait_ms=FETCH_WAIT_MS,
                        fetch_max_bytes=MAX_FETCH_BYTES,
                        max_partition_fetch_bytes=MAX_RECORD_BYTES + MAX_HEADERS_BYTES,
                    )
                    self.consumer = await start_or_stop(consumer)
                # Only now: `start` would wait, within its timeout, until the other members let go of their partitions.
                self.consumer.subscribe([self._settings.windows_topic], listener=self._ours)
        return self.consumer


def _headers(message: ConsumerRecord) -> Headers:
    return tuple((name, value or b"") for name, value in message.headers)


def _decoded(messages: Sequence[ConsumerRecord]) -> list[Delivery | WireError]:
    read: list[Delivery | WireError] = []
    for message in messages:
        try:
            record = decode(message.key, _headers(message), message.value)
        except WireError as error:
            read.append(error)
        else:
            read.append(Delivery(message.partition, message.offset, record, message.timestamp / 1000))
    return read
