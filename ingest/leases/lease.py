"""Who may publish a stream and until when, and how many streams are one process's share. Knows no database.

A claim is a row in PostgreSQL (`leases.py`) that runs out when it is not renewed. Its holder counts by its own
monotonic clock from before it asked, so that it always stops before the row runs out. What a paused process or a
broker's buffer still sends behind that is of an older epoch than the next holder's: the worker drops it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Process = TypeVar("Process", bound=object)

TURNS = 5  # in the time of a lease, at least: one that fails, or is late, loses nothing
# Of a claim that its holder does not use: clocks differ by far less, the rest is for the record that is under way.
MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Durations of claims. The streams of a process that dies are taken over within length_s + turn_s."""

    length_s: float  # for which a claim is good, from when the database renewed it
    turn_s: float  # from one renewal to the next

    @classmethod
    def within(cls, takeover_s: float, poll_s: float) -> LeaseTiming:
        """Terms by which a dead process's streams are taken over in `takeover_s`."""
        turn_s = min(poll_s, takeover_s / TURNS)
        return cls(takeover_s - turn_s, turn_s)

    def until_s(self, asked_s: float) -> float:
        """Up to when one may publish by a claim that was asked for at this moment of the own clock."""
        return asked_s + self.length_s * (1 - MARGIN)


class Lease:
    """Whether this process may publish a stream, by its own clock. Without arguments: for ever, nobody else can."""

    def __init__(self, epoch: int = 0, until_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        """`until_s`: by `clock`."""
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
        """The claim was renewed, or made again before anybody else had the stream."""
        self.epoch = epoch
        self._until_s = until_s
        self._changed.set()

    def revoke(self) -> None:
        """The stream is another process's."""
        self.is_revoked = True
        self._changed.set()

    async def wait_until_valid(self) -> int | None:
        """The epoch to publish under, as soon as there is one; None when the stream is another process's."""
        while not self.is_valid:
            if self.is_revoked:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self.epoch


def fair_share(n_streams: int, held: Mapping[Process, int], process: Process) -> int:
    """How many of the streams one of the living processes takes.

    The shares differ by one at most; those who hold most have the larger ones, so that the fewest streams move.
    """
    ranks = sorted(held, key=lambda each: (-held[each], str(each)))
    minimum, more = divmod(n_streams, len(held))
    return minimum + (ranks.index(process) < more)
