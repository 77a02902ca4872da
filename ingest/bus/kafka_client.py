"""Shared by all our Kafka clients: addresses, limits, and errors that say what to do. Opens no connection itself."""

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
MAX_HEADERS_BYTES = 2**16  # that a dead letter has in addition to its record


def addresses(settings: KafkaSettings) -> str:
    """The brokers' addresses, without credentials: Kafka accepts none there, and aiokafka would log them."""
    return ",".join(server.rpartition("@")[2] for server in (settings.bootstrap or "").split(","))


@asynccontextmanager
async def connecting(brokers: str, timeout_s: float = CONNECT_TIMEOUT_S) -> AsyncIterator[None]:
    """Translates errors raised in the block, which connects to the brokers.

    Raises:
        BusError: the block failed, or took longer than `timeout_s` seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (KafkaError, TimeoutError, OSError, ValueError) as error:
        is_silent = isinstance(error, KafkaConnectionError | TimeoutError)
        reason = f"no broker answers within {timeout_s:g} s" if is_silent else str(error)
        raise BusError(
            f"Kafka at {brokers} cannot be reached: {reason}: start it, or set AIRTRACE_KAFKA__BOOTSTRAP"
        ) from error


@contextmanager
def translating_errors(brokers: str, failure: str) -> Iterator[None]:
    """Translates Kafka's errors in the block; `failure` completes "Kafka at <brokers> ...".

    Raises:
        BusError: Kafka refused a request, or the connection was lost.
    """
    try:
        yield
    except KafkaError as error:
        raise BusError(
            f"Kafka at {brokers} {failure}: {error}: check the brokers, and the topic's limits and permissions"
        ) from error


async def start_or_stop(client: Any) -> Any:
    """Starts an aiokafka client and returns it; stops it again if it does not connect."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
    return client
