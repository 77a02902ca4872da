"""The bus port: how records get from ingest to the workers. `spool.py` and `kafka.py` implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.wire import Encoded, Record

# Called once for each partition that the consumer is assigned. Returns the offset to start at, or None for the
# committed one (the oldest kept, if nothing was committed). An offset no longer kept becomes the oldest kept.
StartAt = Callable[[int], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record and its place in the log; `published_s`: when it was appended (Unix time), if known."""

    partition: int
    offset: int
    record: Record
    published_s: float | None = None


class Bus(Protocol):
    """Delivers at least once, in order within a stream. Unreadable records go to the dead letters, not to readers."""

    @property
    def can_send(self) -> bool:
        """Whether the bus has topics other than the one for windows, so that `send` works."""

    async def publish(self, record: Record) -> None:
        """Returns once the record is stored safely; raises BusError if it could not be stored."""

    async def send(self, topic: str, message: Encoded) -> None:
        """Puts a message into another topic, and returns once it is stored safely.

        Raises:
            BusError: it could not be stored, or the bus has no other topics (see `can_send`).
        """

    def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """Endless batches with at least one delivery each; waits while there is nothing to read."""

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Marks the next offset to read, by partition. Call it only after the transaction that used the records."""

    async def reject(self, delivery: Delivery, error: str) -> None:
        """Moves a record that is readable but cannot be processed to the dead letters, with its error."""

    def holds(self, partition: int) -> bool:
        """Whether the partition is still assigned to us: records of any other are another worker's."""

    async def drain(self, timeout_s: float) -> int:
        """Waits until all records that only this process can handle are committed, for at most `timeout_s` seconds.

        Returns how many are still left; they come again at the next start. 0 if other workers can take them.
        """
