"""The bus over Apache Kafka: publishing and topics. `kafka_consumer.py` does the reading.

Creates the topics that are missing. Producer and consumer start on first use: a process that only publishes joins no
group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerFenced, UnknownProducerId

from ingest import metrics
from ingest.bus import kafka_limits, kafka_topics
from ingest.bus.kafka_client import (
    CONNECT_TIMEOUT_S,
    MAX_HEADERS_BYTES,
    MAX_RECORD_BYTES,
    addresses,
    connecting,
    start_or_stop,
    translating_errors,
)
from ingest.bus.kafka_consumer import HOLD_S, MAX_POLL_S, GroupConsumer
from ingest.bus.kafka_limits import Topic
from ingest.bus.port import Delivery, StartAt
from ingest.errors import UnfitBroker
from ingest.settings import KafkaSettings
from ingest.wire import Codec, Encoded, Headers, Record, Window, encode

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 5.0  # an idempotent producer would wait for absent brokers forever
MAX_WINDOW_S = 10.0  # the longest that the settings allow
# An idempotent producer that gave up a batch while brokers were away has a hole in its sequence numbers: brokers refuse
# everything that follows. A new producer starts over. It may send records twice; the worker uses them once.
BROKEN = (OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch, ProducerFenced)
MAX_ERROR_CHARACTERS = 2000  # of an error in a dead letter


class KafkaBus:
    """The bus of the full mode.

    `publish` waits while the brokers are unreachable; its callers decide what to drop in the meantime.
    """

    can_send = True

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        idempotent: bool = True,
        window_s: float = MAX_WINDOW_S,
        others: Sequence[Topic] = (),
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        hold_s: float = HOLD_S,
        max_poll_s: float = MAX_POLL_S,
    ) -> None:
        """The bus on the brokers and topics of the settings.

        idempotent: False for brokers without producer ids; those may store a record twice.
        window_s: length of the longest window that must fit.
        others: the topics that `send` will be used for.
        hold_s, max_poll_s: see `GroupConsumer`.
        """
        self._settings = settings
        self._window_s = window_s
        self._others = others
        self._idempotent = idempotent
        self._connect_timeout_s = connect_timeout_s
        self._brokers = addresses(settings)
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._consumer = GroupConsumer(
            settings, self._reject, connect_timeout_s=connect_timeout_s, hold_s=hold_s, max_poll_s=max_poll_s
        )

    async def __aenter__(self) -> KafkaBus:
        """Creates the topics that are missing.

        Raises:
            BusError: no broker can be reached, or the topics cannot be created.
            UnfitBroker: limits of the brokers or of existing topics would lose windows.
        """
        topics = (self._settings, self._window_s, self._others)
        await kafka_topics.create_missing(*topics, connect_timeout_s=self._connect_timeout_s)
        survey = await kafka_topics.survey(*topics, connect_timeout_s=self._connect_timeout_s)
        if losing := kafka_limits.data_loss_problems(survey.problems):
            raise UnfitBroker(f"Kafka at {self._brokers} would lose windows: {losing[0]} (airtrace topics check)")
        for problem in survey.problems:
            log.warning("kafka.differs", **asdict(problem))
        return self

    async def __aexit__(self, *_: object) -> None:
        clients = [client for client in (self._consumer.client, self._producer) if client is not None]
        await _stop_clients(clients, self._brokers)

    async def publish(self, record: Record) -> None:
        """See `Bus`."""
        if isinstance(record, Window):  # in a thread: encoding FLAC must not delay heartbeats
            encoded = await asyncio.to_thread(encode, record, Codec.FLAC)
        else:
            encoded = encode(record)
        await self.send(self._settings.windows_topic, encoded)

    def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """See `Bus`."""
        return self._consumer.deliveries(start_at)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Bus`."""
        await self._consumer.commit(offsets)

    def holds(self, partition: int) -> bool:
        """See `Bus`."""
        return self._consumer.holds(partition)

    async def reject(self, delivery: Delivery, error: str) -> None:
        """See `Bus`."""
        place = (self._settings.windows_topic, delivery.partition, delivery.offset)
        await self._dead_letter(place, encode(delivery.record), error)

    async def drain(self, timeout_s: float) -> int:
        """See `Bus`. The brokers keep what is not committed, for any worker."""
        return 0

    async def send(self, topic: str, message: Encoded) -> None:
        """See `Bus`."""
        producer = await self._started_producer()
        with translating_errors(self._brokers, f"does not accept a record of {len(message.value)} bytes in {topic}"):
            try:
                await producer.send_and_wait(topic, message.value, key=message.key, headers=list(message.headers))
            except BROKEN:
                await self._give_up(producer)
                raise

    async def _reject(self, message: ConsumerRecord, headers: Headers, error: str) -> None:
        place = (message.topic, message.partition, message.offset)
        await self._dead_letter(place, Encoded(message.key or b"", headers, message.value or b""), error)

    async def _dead_letter(self, place: tuple[str, int, int], encoded: Encoded, error: str) -> None:
        """Sends a record to the dead letters as it is, with the error and its place in the log as headers."""
        source = dict(zip(("topic", "partition", "offset"), place, strict=True))
        trace = dict(encoded.headers).get("traceparent", b"").decode("ascii", "replace")
        log.error("kafka.rejected", error=error, to=self._settings.rejected_topic, trace=trace, **source)
        why = {
            "error": error[:MAX_ERROR_CHARACTERS],
            **{f"source_{name}": str(value) for name, value in source.items()},
        }
        headers = (*encoded.headers, *((name, text.encode()) for name, text in why.items()))
        await self.send(self._settings.rejected_topic, Encoded(encoded.key, headers, encoded.value[:MAX_RECORD_BYTES]))
        metrics.REJECTED.inc()

    async def _give_up(self, producer: AIOKafkaProducer) -> None:
        """Makes the next record use a new producer. Records that this one has not sent fail and are published again."""
        if self._producer is not producer:
            return
        self._producer = None
        log.warning("kafka.producer_renewed", brokers=self._brokers)
        await _stop_clients([producer], self._brokers)

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                async with connecting(self._brokers, self._connect_timeout_s):
                    producer = AIOKafkaProducer(
                        bootstrap_servers=self._brokers,
                        acks="all",
                        enable_idempotence=self._idempotent,
                        max_request_size=MAX_RECORD_BYTES + MAX_HEADERS_BYTES,
                    )
                    self._producer = await start_or_stop(producer)
        return self._producer


async def _stop_clients(clients: Sequence[Any], brokers: str) -> None:
    """Stops clients, for at most STOP_TIMEOUT_S."""
    # In tasks: without brokers, `stop` waits forever, or raises a CancelledError although nobody cancelled it.
    stopping = [asyncio.create_task(client.stop(), name=f"stop-{type(client).__name__}") for client in clients]
    if not stopping:
        return
    await asyncio.wait(stopping, timeout=STOP_TIMEOUT_S)
    for task in stopping:
        if not task.done() or task.cancelled() or task.exception():
            log.warning("kafka.not_stopped", brokers=brokers, client=task.get_name())
        task.cancel()
