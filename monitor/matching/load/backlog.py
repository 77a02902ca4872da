"""What the worker does with audio that it is too late to match in time: catch up, or skip.

Catching up loses nothing but matches late. Skipping accounts audio as lost, so that coverage stays exact: once a window
is older than the limit, all streams skip to the newest audio together. If the worker is too slow for its streams, it
would soon be as late again, and would match every stream in pieces too short to find anything. So it then matches only
as many streams at a time as it can keep up with. They take turns of a minute, and all get the same share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ
from monitor.matching.load.capacity import Capacity
from monitor.settings import BacklogPolicy

NEWEST_S = 5.0  # skipping ends at audio of this age: a window's length, and the time to send and read it
TURN_S = 60.0  # finds a play that lasts 10 s, and takes six of such turns to come round to a sixth of the streams
SHARE = 0.9  # of the capacity that is given out: the rest lets a disturbance pass


@dataclass(slots=True)
class Turns:
    """Which streams are matched now, if not all can be. They queue, and the first `n_active` are matched."""

    turn_s: float = TURN_S
    queue: list[int] = field(default_factory=list)
    n_active: int | None = None  # None: all
    ends_s: float = 0.0

    def add(self, stream: int) -> None:
        """Puts a new stream at the end of the queue."""
        if stream not in self.queue:
            self.queue.append(stream)

    def start(self, now_s: float, capacity_streams: float | None) -> None:
        """Starts the next turn, with as many streams as there is capacity for."""
        if self.n_active is not None:  # the streams whose turn has ended queue again
            self.queue = self.queue[self.n_active :] + self.queue[: self.n_active]
        able = math.inf if capacity_streams is None else capacity_streams * SHARE
        self.n_active = None if able >= len(self.queue) else max(1, int(able))
        self.ends_s = now_s + self.turn_s

    def is_active(self, stream: int) -> bool:
        """Whether a stream is matched now."""
        return self.n_active is None or stream in self.queue[: self.n_active]

    @property
    def n_resting(self) -> int:
        """How many streams wait for their turn."""
        return 0 if self.n_active is None else max(0, len(self.queue) - self.n_active)


@dataclass(slots=True)
class BacklogMonitor:
    """`max_behind_s`: a record that was logged longer ago is too far behind. `now`: Unix time."""

    policy: BacklogPolicy = BacklogPolicy.CATCH_UP
    max_behind_s: float = 60.0
    now: Callable[[], float] = time.time
    capacity: Capacity = field(default_factory=Capacity)
    turns: Turns = field(default_factory=Turns)
    _skip_until_s: float = 0.0  # records that were logged earlier are skipped

    def is_late(self, delivery: Delivery) -> bool:
        """Whether to skip a new window. Call this for every window, in order."""
        stream, now_s, logged_s = delivery.record.stream_id, self.now(), logged_at_s(delivery)
        is_skipped = self.policy is BacklogPolicy.SKIP and self._is_skipped(stream, logged_s, now_s)
        length_s = (delivery.record.end - delivery.record.start) / SAMPLE_RATE_HZ
        self.capacity.observe(stream, now_s - logged_s, length_s if is_skipped else 0.0)
        return is_skipped

    def forget(self, stream: int) -> None:
        """Drops the state of a stream that left this worker."""
        self.capacity.forget(stream)
        if stream in self.turns.queue:
            self.turns.queue.remove(stream)

    def _is_skipped(self, stream: int, logged_s: float, now_s: float) -> bool:
        self.turns.add(stream)
        is_too_late = now_s - logged_s > self.max_behind_s and logged_s >= self._skip_until_s
        if is_too_late:
            self._skip_until_s = now_s - min(NEWEST_S, self.max_behind_s)
        in_turns = self.turns.n_active is not None
        if now_s >= self.turns.ends_s if in_turns else is_too_late:
            self.turns.start(now_s, self.capacity.capacity_streams())
            self.capacity.resting_streams = self.turns.n_resting
        if logged_s < self._skip_until_s:
            self.capacity.leave_out_batch()
            return True
        return not self.turns.is_active(stream)


def logged_at_s(delivery: Delivery) -> float:
    """When a record was logged (Unix time), or when its audio ended if that is unknown."""
    return delivery.record.end / SAMPLE_RATE_HZ if delivery.published_s is None else delivery.published_s
