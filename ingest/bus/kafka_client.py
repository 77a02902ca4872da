"""What our Kafka clients share: addresses, limits, and errors that say what to do. Never connects by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from ingest.errors import BusError
from ingest.settings import KafkaSettings

CONNECT_TIMEOUT_S = 10.0
MAX_RECORD_BYTES = 2 * 2**20  # the longest window, 10 s of PCM, has 640 KB; Kafka's own limit is 1 MB
MAX_HEADERS_BYTES = 2**16  # what a dead letter has on top of its record


def addresses(settings: KafkaSettings) -> str:
    """Of the brokers. Kafka takes no credentials in them; aiokafka would log them."""
    return ",".join(server.rpartition("@")[2] for server in (settings.bootstrap or "").split(","))


@asynccontextmanager
async def connecting(brokers: str) -> AsyncIterator[None]:
    """What does not come about within CONNECT_TIMEOUT_S, or not at all, is a BusError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            yield
    except (KafkaError, TimeoutError, OSError, ValueError) as error:
        is_silent = isinstance(error, KafkaConnectionError | TimeoutError)
        reason = f"no broker answers within {CONNECT_TIMEOUT_S:.0f} s" if is_silent else str(error)
        raise BusError(
            f"Kafka at {brokers} cannot be reached: {reason}: start it, or set AIRTRACE_KAFKA__BOOTSTRAP"
        ) from error


@contextmanager
def translating_errors(brokers: str, what: str) -> Iterator[None]:
    """Kafka's errors as BusErrors: the brokers `what`."""
    try:
        yield
    except KafkaError as error:
        raise BusError(
            f"Kafka at {brokers} {what}: {error}: see the brokers, and the topic's limits and permissions"
        ) from error


async def start_or_stop(client: Any) -> Any:
    """The client, once it is connected; one that does not connect is stopped."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
    return client
