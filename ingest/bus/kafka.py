"""The bus over Apache Kafka: publishing, and the topics. What it reads, kafka_consumer.py reads.

Makes the topics if they are not there. Producer and consumer start on first use: who only publishes joins no group.
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
    MAX_HEADERS_BYTES,
    MAX_RECORD_BYTES,
    addresses,
    connecting,
    start_or_stop,
    translating_errors,
)
from ingest.bus.kafka_consumer import GroupConsumer
from ingest.bus.kafka_limits import Topic
from ingest.bus.port import Delivery, StartAt
from ingest.errors import UnfitBroker
from ingest.settings import KafkaSettings
from ingest.wire import Codec, Encoded, Headers, Record, Window, encode

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 5.0  # an idempotent producer would wait for absent brokers without end
MAX_WINDOW_S = 10.0  # as the settings allow
# A batch that an idempotent producer gave up while brokers were away leaves a hole in its numbers: nothing that follows
# is ever taken. Another producer begins anew; what it may send twice, the worker takes once.
BROKEN = (OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch, ProducerFenced)
MAX_ERROR = 2000  # characters of an error that are kept


class KafkaBus:
    """The bus of the full mode.

    `publish` waits as long as brokers are away: what to drop meanwhile is for whoever bounds the callers.
    `idempotent=False` is for brokers without producer ids; those may keep a record twice.
    """

    can_send = True

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        idempotent: bool = True,
        window_s: float = MAX_WINDOW_S,
        others: Sequence[Topic] = (),
    ) -> None:
        """`window_s`: length of the longest window that must fit; `others`: topics that `send` is to be used for."""
        self._settings = settings
        self._window_s = window_s
        self._others = others
        self._idempotent = idempotent
        self._brokers = addresses(settings)
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._consumer = GroupConsumer(settings, self._reject)

    async def __aenter__(self) -> KafkaBus:
        """Makes the topics that are not there.

        Raises:
            BusError: no broker can be reached, or the topics cannot be made.
            UnfitBroker: windows would be lost by limits of the brokers or of topics that are there.
        """
        await kafka_topics.create_missing(self._settings, self._window_s, self._others)
        survey = await kafka_topics.survey(self._settings, self._window_s, self._others)
        if losing := kafka_limits.data_loss_problems(survey.problems):
            raise UnfitBroker(f"Kafka at {self._brokers} would lose windows: {losing[0]} (airtrace topics check)")
        for problem in survey.problems:
            log.warning("kafka.differs", **asdict(problem))
        return self

    async def __aexit__(self, *_: object) -> None:
        clients = [client for client in (self._consumer.consumer, self._producer) if client is not None]
        await _stopped(clients, self._brokers)

    async def publish(self, record: Record) -> None:
        """See `Bus`."""
        if isinstance(record, Window):  # in a thread: FLAC takes its time, and heartbeats do not wait
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
        await self._bury(place, encode(delivery.record), error)

    async def drain(self, timeout_s: float) -> int:
        """See `Bus`. The brokers keep what is not committed, for any worker."""
        return 0

    async def send(self, topic: str, message: Encoded) -> None:
        """See `Bus`."""
        producer = await self._producing()
        with translating_errors(self._brokers, f"does not take a record of {len(message.value)} bytes into {topic}"):
            try:
                await producer.send_and_wait(topic, message.value, key=message.key, headers=list(message.headers))
            except BROKEN:
                await self._give_up(producer)
                raise

    async def _reject(self, message: ConsumerRecord, headers: Headers, error: str) -> None:
        place = (message.topic, message.partition, message.offset)
        await self._bury(place, Encoded(message.key or b"", headers, message.value or b""), error)

    async def _bury(self, place: tuple[str, int, int], encoded: Encoded, error: str) -> None:
        """Into the dead letters: as it came, with what is wrong and where it lay."""
        source = dict(zip(("topic", "partition", "offset"), place, strict=True))
        trace = dict(encoded.headers).get("traceparent", b"").decode("ascii", "replace")
        log.error("kafka.rejected", error=error, to=self._settings.rejected_topic, trace=trace, **source)
        why = {"error": error[:MAX_ERROR], **{f"source_{name}": str(value) for name, value in source.items()}}
        headers = (*encoded.headers, *((name, text.encode()) for name, text in why.items()))
        await self.send(self._settings.rejected_topic, Encoded(encoded.key, headers, encoded.value[:MAX_RECORD_BYTES]))
        metrics.REJECTED.inc()

    async def _give_up(self, producer: AIOKafkaProducer) -> None:
        """The next record gets another producer. What this one has not sent fails, and is sent by the other."""
        if self._producer is not producer:
            return
        self._producer = None
        log.warning("kafka.producer_renewed", brokers=self._brokers)
        await _stopped([producer], self._brokers)

    async def _producing(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                async with connecting(self._brokers):
                    producer = AIOKafkaProducer(
                        bootstrap_servers=self._brokers,
                        acks="all",
                        enable_idempotence=self._idempotent,
                        max_request_size=MAX_RECORD_BYTES + MAX_HEADERS_BYTES,
                    )
                    self._producer = await start_or_stop(producer)
        return self._producer


async def _stopped(clients: Sequence[Any], brokers: str) -> None:
    """Stops clients, within STOP_TIMEOUT_S."""
    # In tasks: without brokers their `stop` waits without end, or raises a cancellation that nobody asked for.
    stopping = [asyncio.create_task(client.stop(), name=f"stop-{type(client).__name__}") for client in clients]
    if not stopping:
        return
    await asyncio.wait(stopping, timeout=STOP_TIMEOUT_S)
    for task in stopping:
        if not task.done() or task.cancelled() or task.exception():
            log.warning("kafka.not_stopped", brokers=brokers, client=task.get_name())
        task.cancel()
