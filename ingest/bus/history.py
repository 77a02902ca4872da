"""The flight recorder, read beside the worker: a stream's windows of some time ago. Commits nothing, disturbs nobody.

Of Kafka a consumer of its own reads, which belongs to no group; of the spool, its files, which only ever grow at their
end until they are removed as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ingest.wire import Window


@dataclass(frozen=True, slots=True)
class HistorySlice:
    """Windows of one stream, in the order of the log.

    oldest, newest: stream clock from which and up to which the log has windows of the stream; None where none were
    seen, or where that would take reading all of it.
    """

    windows: tuple[Window, ...]
    oldest: int | None = None
    newest: int | None = None


class WindowHistory(Protocol):
    """What the log still has of a stream."""

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> HistorySlice:
        """The windows that lie, at least partly, in [begin, end) of the stream clock; none when it has none (any more).

        Raises:
            BusError: the log cannot be read.
        """
