"""Past windows of a stream, read from the bus's log without affecting its consumers. Commits nothing.

Kafka is read by a consumer without a group. The spool is read from its files, which only grow at the end until they are
removed as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ingest.wire import Window


@dataclass(frozen=True, slots=True)
class HistorySlice:
    """Windows of one stream, in log order.

    oldest, newest: the stream clock values between which the log has windows of the stream. None if it has none, or if
    the whole log would have to be read to find out.
    """

    windows: tuple[Window, ...]
    oldest: int | None = None
    newest: int | None = None


class WindowHistory(Protocol):
    """Reads the windows that the log still keeps."""

    async def windows(self, stream_id: int, partition: int, begin: int, end: int) -> HistorySlice:
        """The windows that overlap [begin, end) of the stream clock; none if the log has none, or no longer has them.

        Raises:
            BusError: the log cannot be read.
        """
