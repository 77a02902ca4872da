"""Sends what waits in the outbox to the topic of matches. Any number of processes may; one of them does at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ingest.backoff import Backoff
from ingest.errors import BusError
from ingest.wire import Headers
from monitor import metrics
from monitor.alerts.events import VERSION, event
from monitor.storage.matches import UNREACHABLE
from monitor.storage.outbox import Outbox, OutboxEvent

log = structlog.get_logger(__name__)

POLL_S = 0.5  # how late an event may be
SEND_TIMEOUT_S = 5.0  # brokers that take longer are away; see monitor/outbox.py
RETRY_FIRST_S = 0.5
MAX_RETRY_S = 10.0

Publish = Callable[[bytes, Headers, bytes], Awaitable[None]]


class EventPublisher:
    """`publish` puts key, headers and JSON into the topic; raises BusError when it could not."""

    def __init__(self, outbox: Outbox, publish: Publish) -> None:
        self._outbox = outbox
        self._publish = publish

    async def run(self) -> None:
        """Until cancelled. What could not be sent is sent later."""
        backoff = Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while True:
            try:
                sent = await self._outbox.send(self._send)
                metrics.EVENTS_WAITING.set(await self._outbox.waiting())
            except (BusError, *UNREACHABLE) as error:
                wait_s = backoff.next_s()
                log.warning("relay.retrying", error=str(error) or type(error).__name__, wait_s=round(wait_s, 1))
                await asyncio.sleep(wait_s)
                continue
            backoff.reset()
            if not sent:
                await asyncio.sleep(POLL_S)

    async def _send(self, told: OutboxEvent) -> None:
        body = event(told)
        headers = {"airtrace": str(VERSION), "type": body.type, "id": str(body.id), "content-type": "application/json"}
        encoded = tuple((name, value.encode()) for name, value in headers.items())
        value = body.model_dump_json(exclude_none=True).encode()
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._publish(str(told.stream_id).encode(), encoded, value)
        metrics.EVENTS.labels(body.type).inc()
