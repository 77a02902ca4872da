"""Who may publish a stream and until when, and how many streams are one process's fair share. Uses no database.

A lease is a row in PostgreSQL (`postgres.py`) that expires unless it is renewed. Its holder measures it by its own
monotonic clock, starting before it sends the request, so that it always stops before the row expires. Records that a
paused process or a broker's buffer still sends after that carry an older epoch than the next holder's; workers drop
them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Process = TypeVar("Process", bound=object)

MIN_TURNS = 5  # within the takeover time, so that one turn that fails or is late loses nothing
# The share of a lease that its holder leaves unused. Clocks differ by far less; the rest is for a record in flight.
MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Durations of a lease. The streams of a process that dies are taken over within length_s + turn_s."""

    length_s: float  # how long a lease is valid after the database renewed it
    turn_s: float  # from one renewal to the next
    margin: float = MARGIN

    @classmethod
    def within(cls, takeover_s: float, poll_s: float) -> LeaseTiming:
        """The timing by which a dead process's streams are taken over within `takeover_s`."""
        turn_s = min(poll_s, takeover_s / MIN_TURNS)
        return cls(takeover_s - turn_s, turn_s)

    def until_s(self, requested_s: float) -> float:
        """Until when a lease requested at `requested_s` may be used; both by this process's monotonic clock."""
        return requested_s + self.length_s * (1 - self.margin)


class Lease:
    """Whether this process may publish a stream, by its own clock. Without arguments it never expires."""

    def __init__(self, epoch: int = 0, until_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        """`until_s`: when it expires, by `clock`."""
        self.epoch = epoch
        self.is_revoked = False
        self._until_s = until_s
        self._clock = clock
        self._changed = asyncio.Event()

    @property
    def is_valid(self) -> bool:
        """Whether the stream may be published at this moment."""
        return not self.is_revoked and self._clock() < self._until_s

    def extend(self, epoch: int, until_s: float) -> None:
        """The lease was renewed, or claimed again before any other process had the stream."""
        self.epoch = epoch
        self._until_s = until_s
        self._changed.set()

    def revoke(self) -> None:
        """Another process has the stream now."""
        self.is_revoked = True
        self._changed.set()

    async def wait_until_valid(self) -> int | None:
        """The epoch to publish under, as soon as the lease is valid; None once another process has the stream."""
        while not self.is_valid:
            if self.is_revoked:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self.epoch


def fair_share(n_streams: int, held: Mapping[Process, int], process: Process) -> int:
    """How many of `n_streams` the process may hold; `held` counts the leases of each live process, including it.

    Shares differ by at most one. Processes that hold most get the larger ones, so that the fewest streams move.
    """
    ranks = sorted(held, key=lambda each: (-held[each], str(each)))
    minimum, remainder = divmod(n_streams, len(held))
    return minimum + (ranks.index(process) < remainder)
