"""The bus port: how records get from ingest to the workers. `spool.py` and `kafka.py` implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.wire import Record

# Asked once for every partition the consumer is given: the offset to begin at, or None for the committed one
# (the oldest kept, when nothing was committed). An offset that is no longer kept becomes the oldest kept.
StartAt = Callable[[int], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record and where it lies in the log; `published_s`: when it came there (Unix time), where that is known."""

    partition: int
    offset: int
    record: Record
    published_s: float | None = None


class Bus(Protocol):
    """At least once, in order within a stream. Records that cannot be read go to the dead letters, not to readers."""

    async def publish(self, record: Record) -> None:
        """Returns once the record is safe; raises BusError when it could not be made so."""

    def deliveries(self, start_at: StartAt) -> AsyncGenerator[Sequence[Delivery], None]:
        """Endless batches, at least one delivery in each; waits while there is nothing."""

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Marks, per partition, the next offset to read: only ever behind the transaction that used the records."""

    async def reject(self, delivery: Delivery, error: str) -> None:
        """Puts a record that could be read, but be of no use to anybody, into the dead letters with its error."""

    def holds(self, partition: int) -> bool:
        """Whether the partition is still ours: work on the records of another one is another worker's."""
