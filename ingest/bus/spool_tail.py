"""The newest records of a spool in memory, for a reader that keeps up: it need not read what was just written.

One thread adds records, another one takes them. The files stay the truth: whatever the tail does not have is read from
there.
"""

from __future__ import annotations

import threading
from collections import deque

from ingest.bus.port import Delivery
from ingest.wire import Window


class SpoolTail:
    """Holds records without a hole between them; empty until `follow`, and after it could not hold one.

    max_bytes: of audio. A reader that falls further behind reads the files again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._records: deque[Delivery] = deque()
        self._n_bytes = 0
        self._next: int | None = None  # the offset of the next record that may be added

    def follow(self, offset: int) -> None:
        """Starts again, with the record at `offset`."""
        with self._lock:
            self._clear()
            self._next = offset

    def clear(self) -> None:
        """Holds nothing until the next `follow`."""
        with self._lock:
            self._clear()

    def end(self) -> None:
        """Adds nothing until the next `follow`; what it holds can still be taken."""
        with self._lock:
            self._next = None

    def add(self, delivery: Delivery) -> None:
        """Holds a record that was just written, if it holds the one before, and there is space; else ends."""
        with self._lock:
            n_bytes = self._n_bytes + _size(delivery)
            if delivery.offset != self._next or n_bytes > self._max_bytes:
                self._next = None
                return
            self._n_bytes, self._next = n_bytes, delivery.offset + 1
            self._records.append(delivery)

    def is_next(self, offset: int) -> bool:
        """Whether the record at `offset` has not been written yet, but will be held."""
        with self._lock:
            return self._next == offset

    def take(self, offset: int, max_records: int, max_bytes: int) -> list[Delivery]:
        """Removes and returns the first records, which start at `offset`; none if it does not hold that one."""
        taken: list[Delivery] = []
        n_bytes = 0
        with self._lock:
            if self._records and self._records[0].offset != offset:
                self._clear()
            while self._records and len(taken) < max_records and n_bytes < max_bytes:
                taken.append(self._records.popleft())
                n_bytes += _size(taken[-1])
            self._n_bytes -= n_bytes
        return taken

    def _clear(self) -> None:
        self._next = None
        self._records.clear()
        self._n_bytes = 0


def _size(delivery: Delivery) -> int:
    return len(delivery.record.pcm) if isinstance(delivery.record, Window) else 0
