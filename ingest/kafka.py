"""The bus over Apache Kafka. This file and kafka_recorder.py alone import aiokafka.

Makes the topics if they are not there. Producer and consumer start on first use: who only publishes joins no group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from ingest import metrics
from ingest.bus import Delivery, StartAt
from ingest.errors import BusError, WireError
from ingest.settings import KafkaSettings
from ingest.wire import Encoded, Headers, Record, decode, encode

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0  # an idempotent producer would wait for absent brokers without end
TOPIC_POLL_S = 0.05
METADATA_AGE_MS = 10_000  # how late partitions that are added to the topic, or moved, may be noticed
RECORD_MOST_BYTES = 2 * 2**20  # the longest window, 10 s of PCM, has 640 KB; Kafka's own limit is 1 MB
HEADERS_MOST_BYTES = 2**16  # what a dead letter has on top of its record
BATCH_RECORDS = 64
FETCH_MOST_BYTES = 8_000_000  # with BATCH_RECORDS, what is held in memory per broker
FETCH_WAIT_MS = 100  # a partition that is sent elsewhere has to wait for the fetch that is under way
WAKE_MS = 200  # how late a partition that is given to us while nothing comes in may notice it


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


class _Ours(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The partitions that were given to us and whose replay has begun. Every rebalance takes all of them away first."""

    def __init__(self) -> None:
        self.begun: dict[TopicPartition, _Place] = {}

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.begun = {}

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        log.info("kafka.assigned", partitions=sorted(each.partition for each in assigned))


class KafkaBus:
    """The bus of the full mode.

    `publish` waits as long as brokers are away: what to drop meanwhile is for whoever bounds the callers.
    `idempotent=False` is for brokers without producer ids; those may keep a record twice.
    """

    def __init__(self, settings: KafkaSettings, *, idempotent: bool = True) -> None:
        self._settings = settings
        self._idempotent = idempotent
        self._brokers = brokers(settings)
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._ours = _Ours()

    async def __aenter__(self) -> KafkaBus:
        """Makes the topics. Raises BusError when no broker can be reached, or the topics cannot be made."""
        async with self._reaching():
            admin = AIOKafkaAdminClient(bootstrap_servers=self._brokers)
            try:
                await admin.start()
                await self._make_topics(admin)
            finally:
                await admin.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        clients = [client for client in (self._consumer, self._producer) if client is not None]
        # In tasks: without brokers their `stop` waits without end, or raises a cancellation that nobody asked for.
        stopping = [asyncio.create_task(client.stop(), name=f"stop-{type(client).__name__}") for client in clients]
        if stopping:
            await asyncio.wait(stopping, timeout=STOP_TIMEOUT_S)
            for task in stopping:
                if not task.done() or task.cancelled() or task.exception():
                    log.warning("kafka.not_stopped", brokers=self._brokers, client=task.get_name())
                task.cancel()

    async def publish(self, record: Record) -> None:
        """See `Bus`."""
        await self._send(self._settings.windows_topic, encode(record))

    async def deliveries(self, start_at: StartAt) -> AsyncIterator[Sequence[Delivery]]:
        """See `Bus`. `start_at` is asked in here, never beside a batch that is still being worked on.

        Never begins behind the committed offset: the records in between belong to nobody yet.
        """
        consumer = await self._consuming()
        self._ours.begun = {}
        while True:
            for partition in consumer.assignment() - self._ours.begun.keys():
                await self._begin(consumer, partition, start_at)
            with self._failing("gives no records"):
                fetched = await consumer.getmany(timeout_ms=WAKE_MS, max_records=BATCH_RECORDS)
            batch = [
                delivery
                for partition, messages in fetched.items()
                for message in messages
                if (place := self._ours.begun.get(partition)) and (delivery := await self._delivery(message, place))
            ]
            if batch:
                yield batch

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
        with self._failing("takes no commits"):
            try:
                await consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                log.info("kafka.commit_left", partitions=sorted(partition.partition for partition in offsets))
                return
        for partition, offset in offsets.items():
            if (place := begun.get(partition)) is not None:
                place.committed = offset
                place.rejected = {rejected for rejected in place.rejected if rejected >= offset}

    async def _begin(self, consumer: AIOKafkaConsumer, partition: TopicPartition, start_at: StartAt) -> None:
        """Goes to where the replay of a partition begins. If it is taken away meanwhile, nothing happens."""
        begun = self._ours.begun  # a rebalance puts another one in its place
        asked = await start_at(partition.partition)
        with self._failing("does not say where to begin"):
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

    async def _delivery(self, message: ConsumerRecord, place: _Place) -> Delivery | None:
        headers = tuple((name, value or b"") for name, value in message.headers)
        try:
            return Delivery(message.partition, message.offset, decode(message.key, headers, message.value))
        except WireError as error:
            if message.offset >= place.committed:  # else a replay comes by
                await self._reject(message, headers, str(error))
                place.rejected.add(message.offset)
                await self.commit({message.partition: place.committed})
        return None

    async def _reject(self, message: ConsumerRecord, headers: Headers, error: str) -> None:
        source = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
        log.error("kafka.rejected", error=error, to=self._settings.rejected_topic, **source)
        why = (("error", error), *((f"source_{name}", str(value)) for name, value in source.items()))
        all_headers = (*headers, *((name, text.encode()) for name, text in why))
        value = (message.value or b"")[:RECORD_MOST_BYTES]
        await self._send(self._settings.rejected_topic, Encoded(message.key or b"", all_headers, value))
        metrics.REJECTED.inc()

    async def _send(self, topic: str, encoded: Encoded) -> None:
        producer = await self._producing()
        with self._failing(f"does not take a record of {len(encoded.value)} bytes into {topic}"):
            await producer.send_and_wait(topic, encoded.value, key=encoded.key, headers=list(encoded.headers))

    async def _producing(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                async with self._reaching():
                    producer = AIOKafkaProducer(
                        bootstrap_servers=self._brokers,
                        acks="all",
                        enable_idempotence=self._idempotent,
                        max_request_size=RECORD_MOST_BYTES + HEADERS_MOST_BYTES,
                    )
                    self._producer = await _started(producer)
        return self._producer

    async def _consuming(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                session_timeout_ms = round(self._settings.session_timeout_s * 1000)
                async with self._reaching():
                    consumer = AIOKafkaConsumer(
                        bootstrap_servers=self._brokers,
                        group_id=self._settings.group,
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",  # where to go on when an offset is no longer kept
                        metadata_max_age_ms=METADATA_AGE_MS,
                        session_timeout_ms=session_timeout_ms,
                        heartbeat_interval_ms=session_timeout_ms // 3,
                        fetch_max_wait_ms=FETCH_WAIT_MS,
                        fetch_max_bytes=FETCH_MOST_BYTES,
                        max_partition_fetch_bytes=RECORD_MOST_BYTES + HEADERS_MOST_BYTES,
                    )
                    self._consumer = await _started(consumer)
                # Only now: `start` would wait, within its timeout, until the other members let go of their partitions.
                self._consumer.subscribe([self._settings.windows_topic], listener=self._ours)
        return self._consumer

    async def _make_topics(self, admin: AIOKafkaAdminClient) -> None:
        kept = {"retention.ms": str(round(self._settings.retention_h * 3_600_000))}
        wanted = [
            _topic(self._settings.windows_topic, self._settings.partitions, RECORD_MOST_BYTES, kept),
            _topic(self._settings.rejected_topic, 1, RECORD_MOST_BYTES + HEADERS_MOST_BYTES, {}),
        ]
        there = await admin.list_topics()
        if missing := [topic for topic in wanted if topic.name not in there]:
            made = await admin.create_topics(missing)
            for name, code, *reason in made.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:  # another process was faster
                    raise BusError(
                        f"Kafka at {self._brokers} does not make the topic {name} ({for_code(code).__name__}: "
                        f"{''.join(filter(None, reason))}): allow it, or make the topic yourself"
                    )
        # A group that forms before the brokers know of the partitions would share out none.
        names = [topic.name for topic in wanted]
        while not all(topic["partitions"] for topic in await admin.describe_topics(names)):  # noqa: ASYNC110 - no event
            await asyncio.sleep(TOPIC_POLL_S)

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                yield
        except (KafkaError, TimeoutError, OSError, ValueError) as error:
            is_silent = isinstance(error, KafkaConnectionError | TimeoutError)
            reason = f"no broker answers within {CONNECT_TIMEOUT_S:.0f} s" if is_silent else str(error)
            raise BusError(
                f"Kafka at {self._brokers} cannot be reached: {reason}: start it, or set AIRTRACE_KAFKA__BOOTSTRAP"
            ) from error

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            raise BusError(
                f"Kafka at {self._brokers} {what}: {error}: see the brokers, and the topic's limits and permissions"
            ) from error


def brokers(settings: KafkaSettings) -> str:
    """Addresses of the brokers. Kafka takes no credentials in them; aiokafka would log them."""
    return ",".join(server.rpartition("@")[2] for server in (settings.bootstrap or "").split(","))


def _topic(name: str, partitions: int, most_bytes: int, config: dict[str, str]) -> NewTopic:
    # Replication as the cluster has it (-1), which NewTopic only allows beside an assignment.
    return NewTopic(name, partitions, -1, {}, {"max.message.bytes": str(most_bytes), **config})


async def _started(client: Any) -> Any:
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
    return client
