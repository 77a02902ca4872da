"""Sends the events of the outbox to the topic of matches. Many processes may run this; one of them sends at a time."""

from __future__ import annotations

import asyncio

import structlog

from ingest.backoff import Backoff, retry
from ingest.bus.kafka_limits import HOUR_MS, Topic
from ingest.bus.port import Bus
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import Encoded
from monitor import metrics
from monitor.alerts.events import VERSION, event
from monitor.errors import DependencyError, with_cause
from monitor.storage.tables.outbox import Outbox, OutboxEvent

log = structlog.get_logger(__name__)

POLL_S = 0.5  # how late an event may be
# Brokers that take longer are considered unreachable; see MAX_TURN_S in monitor/storage/tables/outbox.py.
SEND_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.5
MAX_RETRY_S = 10.0
MAX_EVENT_BYTES = 2**17  # leaves room for new fields: naming 50 members of a family would take about 20 KB


def events_topic(settings: KafkaSettings) -> Topic:
    """The topic of matches, partitioned by stream like the windows."""
    retention_ms = round(settings.events_retention_h * HOUR_MS)
    return Topic(settings.matches_topic, settings.partitions, retention_ms, MAX_EVENT_BYTES, MAX_EVENT_BYTES)


class EventPublisher:
    """Publishes events over a bus whose `can_send` is true."""

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        topic: str,
        *,
        send_timeout_s: float = SEND_TIMEOUT_S,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self._outbox = outbox
        self._bus = bus
        self._topic = topic
        self._send_timeout_s = send_timeout_s
        self._retry_first_s = retry_first_s

    async def run(self) -> None:
        """Publishes until cancelled. An event that cannot be sent is retried."""
        backoff = Backoff(self._retry_first_s, MAX_RETRY_S)

        def log_failure(error: Exception, wait_s: float) -> None:
            log.warning("events.retrying", error=with_cause(error), wait_s=round(wait_s, 1))

        while True:
            transient = (BusError, DependencyError, TimeoutError)
            if not await retry(self._send_waiting, backoff=backoff, retry_on=transient, on_error=log_failure):
                await asyncio.sleep(POLL_S)

    async def _send_waiting(self) -> int:
        """Sends what waits in the outbox; returns the number of events sent."""
        sent = await self._outbox.send(self._send)
        metrics.EVENTS_WAITING.set(await self._outbox.count())
        return sent

    async def _send(self, written: OutboxEvent) -> None:
        message = event(written)
        headers = {
            "airtrace": str(VERSION),
            "type": message.type,
            "id": str(message.id),
            "content-type": "application/json",
        }
        encoded = Encoded(
            key=str(written.stream_id).encode(),
            headers=tuple((name, value.encode()) for name, value in headers.items()),
            value=message.model_dump_json(exclude_none=True).encode(),
        )
        async with asyncio.timeout(self._send_timeout_s):
            await self._bus.send(self._topic, encoded)
        metrics.EVENTS.labels(message.type).inc()
