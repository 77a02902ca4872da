"""Stand-ins for real parts: a bus in memory that fulfills the contract of every bus, and parts with patched methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ingest import metrics
from ingest.bus.port import Delivery, StartAt
from ingest.errors import BusError, WireError
from ingest.wire import Encoded, Record, decode, encode

PARTITION = 0


class MemoryBus:
    """A bus with one partition in memory. It delivers batches of `size` records, or all that there are.

    starts: what the consumer asked for at each of its starts. dead_letters: error and content by offset.
    """

    can_send = False

    def __init__(self, records: Sequence[Record] = (), size: int | None = None) -> None:
        self.oldest = 0
        self.committed = 0
        self.starts: list[int | None] = []
        self.dead_letters: dict[int, tuple[str, bytes]] = {}
        self._log: list[Record | Encoded] = list(records)
        self._size = size
        self._arrived, self._progressed = asyncio.Event(), asyncio.Event()

    @property
    def next_offset(self) -> int:
        return len(self._log)

    async def publish(self, record: Record) -> None:
        """See `Bus`."""
        await self.append(record)

    async def append(self, record: Record | Encoded) -> None:
        """Publishes a record as it is, readable or not."""
        self._log.append(record)
        self._arrived.set()

    async def send(self, topic: str, message: Encoded) -> None:
        """See `Bus`."""
        raise BusError(f"there is no topic {topic}: set AIRTRACE_KAFKA__BOOTSTRAP")

    async def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """See `Bus`."""
        self.starts.append(await start_at(PARTITION))
        offset = self.committed if self.starts[-1] is None else min(self.starts[-1], self.committed)
        while True:
            offset = max(offset, self.oldest)
            end = self.next_offset if self._size is None else min(self.next_offset, offset + self._size)
            if batch := list(filter(None, map(self._delivery, range(offset, end)))):
                yield batch
            elif offset == end:
                self._arrived.clear()
                await self._arrived.wait()
            offset = end

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """See `Bus`."""
        self.committed = max(self.committed, offsets.get(PARTITION, 0))
        while self.committed in self.dead_letters:
            self.committed += 1
        self._progressed.set()

    async def reject(self, delivery: Delivery, error: str) -> None:
        """See `Bus`."""
        self.dead_letters[delivery.offset] = error, encode(delivery.record).value
        metrics.REJECTED.inc()

    def holds(self, partition: int) -> bool:
        """See `Bus`."""
        return partition == PARTITION

    async def drain(self, timeout_s: float) -> int:
        """See `Bus`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.committed < self.next_offset:
                    self._progressed.clear()
                    await self._progressed.wait()
        return self.next_offset - self.committed

    def _delivery(self, offset: int) -> Delivery | None:
        record = self._log[offset]
        if isinstance(record, Encoded):
            try:
                record = decode(record.key, record.headers, record.value)
            except WireError as error:
                if offset not in self.dead_letters:
                    self.dead_letters[offset] = str(error), record.value
                    metrics.REJECTED.inc()
                return None
        return Delivery(PARTITION, offset, record)


class Patched:
    """A part with some of its methods replaced."""

    def __init__(self, part: Any, **methods: Callable[..., Awaitable[Any]]) -> None:
        self._part = part
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._part, name)
