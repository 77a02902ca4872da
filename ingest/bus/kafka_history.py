"""Past windows from Kafka: each call reads through a consumer without a group, which does not affect the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from ingest.bus.history import HistorySlice
from ingest.bus.kafka_client import MAX_HEADERS_BYTES, MAX_RECORD_BYTES, addresses
from ingest.errors import BusError, WireError
from ingest.settings import KafkaSettings
from ingest.wire import SAMPLE_RATE_HZ, Record, Window, decode

READ_TIMEOUT_S = 30.0  # enough to connect and read two minutes of a partition with a hundred streams
# A window is published after its audio sounded, but the stream clock of a fast source runs ahead of Kafka's clock.
MAX_AHEAD_S = 60
WAKE_MS = 200  # how long one fetch waits for records


class KafkaHistory:
    """Reads the windows topic."""

    def __init__(self, settings: KafkaSettings, decode: Callable[..., Record] = decode) -> None:
        self._settings = settings
        self._decode = decode
        self._brokers = addresses(settings)

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> HistorySlice:
        """See `WindowHistory`."""
        topic = TopicPartition(self._settings.windows_topic, partition)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._read(topic, str(stream_id).encode(), begin, end)
        except (KafkaError, TimeoutError, OSError, ValueError) as error:
            is_slow = isinstance(error, TimeoutError)
            reason = f"no answer within {READ_TIMEOUT_S:.0f} s" if is_slow else str(error)
            raise BusError(
                f"Kafka at {self._brokers} does not return past windows: {reason}: check that it is running"
            ) from error

    async def _read(self, topic: TopicPartition, key: bytes, begin: int, end: int) -> HistorySlice:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # for an offset that is no longer kept
            max_partition_fetch_bytes=MAX_RECORD_BYTES + MAX_HEADERS_BYTES,
        )
        try:
            await consumer.start()
            consumer.assign([topic])
            next_offset = (await consumer.end_offsets([topic]))[topic]
            start_ms = max(0, 1000 * (begin // SAMPLE_RATE_HZ - MAX_AHEAD_S))
            first = (await consumer.offsets_for_times({topic: start_ms}))[topic]
            found: list[Window] = []
            epoch = 0
            if first is None:
                return HistorySlice(())
            consumer.seek(topic, first.offset)
            while await consumer.position(topic) < next_offset:
                fetched = await consumer.getmany(topic, timeout_ms=WAKE_MS, max_records=self._settings.batch_records)
                for message in fetched.get(topic, ()):
                    window = self._window(message, key)
                    if window is None or window.epoch < epoch:  # of a process that had lost the stream
                        continue
                    epoch = window.epoch
                    if window.start >= end:
                        return HistorySlice(tuple(found))
                    if window.end > begin:
                        found.append(window)
            return HistorySlice(tuple(found))
        finally:
            await consumer.stop()

    def _window(self, message: ConsumerRecord, key: bytes) -> Window | None:
        """The window in a message of the requested stream; None for anything else."""
        if message.key != key:
            return None
        headers = tuple((name, value or b"") for name, value in message.headers)
        try:
            record = self._decode(message.key, headers, message.value)
        except WireError:
            return None
        return record if isinstance(record, Window) else None
