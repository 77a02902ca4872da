"""The reading half of the bus over Apache Kafka: one member of the workers' consumer group.

A partition is ours from the moment when we seek to the start of its replay until the next rebalance, which revokes all
partitions. A rebalance waits for the batch in progress, for at most a third of the session timeout, so that nobody has
to process it again. A batch that takes longer is abandoned: its offsets are not committed, and anything that it still
writes is refused (`StaleProgress`).

A batch that cannot be processed, because PostgreSQL or Milvus is unreachable, is held: its partitions are paused, so
that no more records come in. The consumer keeps polling, so that the group keeps it as a member.
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
    CONNECT_TIMEOUT_S,
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

METADATA_AGE_MS = 10_000  # within which added or moved partitions are noticed
MAX_FETCH_BYTES = 8_000_000  # held in memory per broker, in addition to the records of a batch
FETCH_WAIT_MS = 100  # a seek waits for the fetch in flight
WAKE_S = 0.2  # within which a newly assigned partition is noticed while no records come in
HOLD_S = 5.0  # after which a batch is held: longer than one usually takes, far below the timeouts of the group
MAX_POLL_S = 300.0  # Kafka's default: a member that polls more rarely leaves the group
FINISH_SHARE = 1 / 3  # of the session timeout, within which a member must join a rebalance

DeadLetter = Callable[[ConsumerRecord, Headers, str], Awaitable[None]]


@dataclass(slots=True)
class _Place:
    """The committed offset of a partition, and which records after it are in the dead letters."""

    committed: int
    rejected: set[int] = field(default_factory=set)

    def skip_rejected(self, offset: int) -> int:
        """The first offset, starting at `offset`, that is not a dead letter: nobody else will ever commit those."""
        while offset in self.rejected:
            offset += 1
        return offset


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Our partitions whose replay has begun. Every rebalance first revokes all of them."""

    def __init__(self, finish_s: float) -> None:
        self.begun: dict[TopicPartition, _Place] = {}
        self.idle = asyncio.Event()  # no batch is in progress
        self.idle.set()
        self._finish_s = finish_s

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for the batch in progress; meanwhile heartbeats and commits continue."""
        try:
            async with asyncio.timeout(self._finish_s):
                await self.idle.wait()
        except TimeoutError:
            log.warning("kafka.batch_abandoned", partitions=sorted(each.partition for each in revoked))
        for partition in self.begun:
            metrics.LAG.remove(partition.partition)
        self.begun = {}

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Only logs: `deliveries` starts the replay of each."""
        log.info("kafka.assigned", partitions=sorted(each.partition for each in assigned))


class GroupConsumer:
    """A consumer in the group of the settings, which it joins on first use."""

    def __init__(
        self,
        settings: KafkaSettings,
        dead_letter: DeadLetter,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        hold_s: float = HOLD_S,
        max_poll_s: float = MAX_POLL_S,
    ) -> None:
        """A consumer that is not connected yet.

        dead_letter: sends an unreadable message to the dead letters.
        hold_s: how long a batch may take before it is held. max_poll_s: how rarely a member may poll.
        """
        self._settings = settings
        self._dead_letter = dead_letter
        self._connect_timeout_s = connect_timeout_s
        self._hold_s = hold_s
        self._max_poll_s = max_poll_s
        self._brokers = addresses(settings)
        self._starting = asyncio.Lock()
        self._assignment = Assignment(settings.session_timeout_s * FINISH_SHARE)
        self.client: AIOKafkaConsumer | None = None

    def holds(self, partition: int) -> bool:
        """See `Bus`."""
        return TopicPartition(self._settings.windows_topic, partition) in self._assignment.begun

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """See `Bus`. `start_at` is called from here, never while a batch is being processed.

        Never starts after the committed offset: nobody has processed the records in between.
        """
        consumer = await self._started_consumer()
        self._assignment.begun = {}
        while True:
            for partition in consumer.assignment() - self._assignment.begun.keys():
                await self._begin(consumer, partition, start_at)
            if batch := await self._gather(consumer):
                async with self._in_progress(consumer):
                    yield batch
            self._count_lag(consumer)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Bus`. Leaves out partitions that have moved to another worker."""
        ahead: dict[TopicPartition, int] = {}
        for number, offset in offsets.items():
            partition = TopicPartition(self._settings.windows_topic, number)
            if (place := self._assignment.begun.get(partition)) is None:
                log.info("kafka.commit_left", partition=number, offset=offset)
            elif (next_offset := place.skip_rejected(offset)) > place.committed:
                ahead[partition] = next_offset
        if ahead:
            await self._commit(ahead)

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        begun = self._assignment.begun
        consumer = await self._started_consumer()
        with translating_errors(self._brokers, "does not accept commits"):
            try:
                await consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                log.info("kafka.commit_left", partitions=sorted(partition.partition for partition in offsets))
                return
        for partition, offset in offsets.items():
            if (place := begun.get(partition)) is not None:
                place.committed = offset
                place.rejected = {rejected for rejected in place.rejected if rejected >= offset}

    async def _gather(self, consumer: AIOKafkaConsumer) -> list[Delivery]:
        """The next batch from all our partitions: as many records as allowed, or those soon after the first one.

        Empty if nothing arrives for a while, or after a rebalance: then all of it comes again.
        """
        begun, maximum = self._assignment.begun, self._settings.batch_records
        clock = asyncio.get_running_loop().time
        batch: list[Delivery] = []
        until_s = clock() + WAKE_S
        while len(batch) < maximum and (left_s := until_s - clock()) > 0:
            is_first = not batch
            with translating_errors(self._brokers, "does not deliver records"):
                fetched = await consumer.getmany(
                    timeout_ms=max(1, round(left_s * 1000)), max_records=maximum - len(batch)
                )
            for partition, messages in fetched.items():
                if (place := begun.get(partition)) is not None:
                    batch += await self._read(messages, place)
            if begun is not self._assignment.begun or not (fetched or batch):
                break
            if is_first and batch:
                until_s = clock() + self._settings.batch_wait_s
        return batch if begun is self._assignment.begun else []

    @asynccontextmanager
    async def _in_progress(self, consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
        self._assignment.idle.clear()
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
            self._assignment.idle.set()

    async def _hold(self, consumer: AIOKafkaConsumer) -> None:
        """If a batch takes long, pauses our partitions and keeps polling, which keeps us in the group."""
        await asyncio.sleep(self._hold_s)
        log.info("kafka.paused", partitions=sorted(partition.partition for partition in self._assignment.begun))
        metrics.PAUSED.set(1)
        while True:
            consumer.pause(*(self._assignment.begun.keys() & consumer.assignment()))
            # Records of newly assigned partitions come again: their replay has not begun.
            with suppress(KafkaError):
                await consumer.getmany(timeout_ms=round(self._hold_s * 1000), max_records=1)
            await asyncio.sleep(WAKE_S)  # in case the poll returns or fails at once

    def _count_lag(self, consumer: AIOKafkaConsumer) -> None:
        for partition, place in self._assignment.begun.items():
            if partition in consumer.assignment() and (newest := consumer.highwater(partition)) is not None:
                metrics.LAG.labels(partition.partition).set(max(0, newest - place.committed))

    async def _begin(self, consumer: AIOKafkaConsumer, partition: TopicPartition, start_at: StartAt) -> None:
        """Seeks to the start of a partition's replay. Does nothing if the partition is revoked meanwhile."""
        begun = self._assignment.begun  # a rebalance replaces it
        requested = await start_at(partition.partition)
        with translating_errors(self._brokers, "does not return the committed offset"):
            committed = await consumer.committed(partition)
            if is_new := committed is None:
                oldest = await consumer.beginning_offsets([partition])
                committed = oldest[partition] if requested is None else requested
        if begun is not self._assignment.begun or partition not in consumer.assignment():
            return
        consumer.seek(partition, committed if requested is None else min(requested, committed))
        begun[partition] = _Place(committed)
        if is_new:
            # Otherwise, after a crash within the first batch, the progress of its first streams would hide the others.
            await self._commit({partition: committed})

    async def _read(self, messages: Sequence[ConsumerRecord], place: _Place) -> list[Delivery]:
        """The deliveries in a partition's messages; unreadable ones go to the dead letters."""
        deliveries = []
        # In a thread: decoding FLAC must not delay heartbeats.
        for message, read in zip(messages, await asyncio.to_thread(_decode_all, messages), strict=True):
            if isinstance(read, Delivery):
                deliveries.append(read)
            elif message.offset >= place.committed:  # else a replay has met it again
                await self._dead_letter(message, _headers(message), str(read))
                place.rejected.add(message.offset)
                await self.commit({message.partition: place.committed})
        return deliveries

    async def _started_consumer(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self.client is None:
                session_timeout_ms = round(self._settings.session_timeout_s * 1000)
                async with connecting(self._brokers, self._connect_timeout_s):
                    consumer = AIOKafkaConsumer(
                        bootstrap_servers=self._brokers,
                        group_id=self._settings.group,
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",  # for an offset that is no longer kept
                        metadata_max_age_ms=METADATA_AGE_MS,
                        max_poll_interval_ms=round(self._max_poll_s * 1000),
                        session_timeout_ms=session_timeout_ms,
                        heartbeat_interval_ms=session_timeout_ms // 3,
                        fetch_max_wait_ms=FETCH_WAIT_MS,
                        fetch_max_bytes=MAX_FETCH_BYTES,
                        max_partition_fetch_bytes=MAX_RECORD_BYTES + MAX_HEADERS_BYTES,
                    )
                    self.client = await start_or_stop(consumer)
                # Only now: `start` would wait, within the timeout, until the other members give up their partitions.
                self.client.subscribe([self._settings.windows_topic], listener=self._assignment)
        return self.client


def _headers(message: ConsumerRecord) -> Headers:
    return tuple((name, value or b"") for name, value in message.headers)


def _decode_all(messages: Sequence[ConsumerRecord]) -> list[Delivery | WireError]:
    read: list[Delivery | WireError] = []
    for message in messages:
        try:
            record = decode(message.key, _headers(message), message.value)
        except WireError as error:
            read.append(error)
        else:
            read.append(Delivery(message.partition, message.offset, record, message.timestamp / 1000))
    return read
