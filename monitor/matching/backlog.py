"""How far each stream lags behind real time, and what the worker does when the lag is too long: catch up, or skip.

Logs once when a stream falls behind and once when it has caught up. Catching up loses nothing but matches late.
Skipping accounts each record that is too old as lost, so that coverage stays exact, and reaches the newest one at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ
from monitor.matching.capacity import Capacity
from monitor.settings import BacklogPolicy

log = structlog.get_logger(__name__)

# A record of this age counts as the newest: it takes a window's length, and the time to send it, to arrive.
CAUGHT_UP_S = 10.0


@dataclass(slots=True)
class BacklogMonitor:
    """`max_behind_s`: a record that was logged longer ago is too far behind."""

    policy: BacklogPolicy = BacklogPolicy.CATCH_UP
    max_behind_s: float = 60.0
    now: Callable[[], float] = time.time
    capacity: Capacity = field(default_factory=Capacity)
    _behind: set[int] = field(default_factory=set)

    def is_late(self, delivery: Delivery) -> bool:
        """Whether to skip a new window. Call this for every window, in order."""
        stream, age_s = delivery.record.stream_id, self.now() - logged_at_s(delivery)
        if age_s > self.max_behind_s and stream not in self._behind:
            self._behind.add(stream)
            facts = {"stream": stream, "behind_s": round(age_s, 1), "policy": self.policy.value}
            log.warning("worker.behind", **facts, hint="add workers, up to the number of partitions of the topic")
        elif age_s < min(CAUGHT_UP_S, self.max_behind_s) and stream in self._behind:
            self._behind.discard(stream)
            log.info("worker.caught_up", stream=stream)
        is_skipped = self.policy is BacklogPolicy.SKIP and stream in self._behind
        length_s = (delivery.record.end - delivery.record.start) / SAMPLE_RATE_HZ
        self.capacity.observe(stream, age_s, length_s if is_skipped else 0.0)
        return is_skipped

    def forget(self, stream: int) -> None:
        """Drops the state of a stream that left this worker."""
        self._behind.discard(stream)
        self.capacity.forget(stream)


def logged_at_s(delivery: Delivery) -> float:
    """When a record was logged (Unix time), or when its audio ended if that is unknown."""
    return delivery.record.end / SAMPLE_RATE_HZ if delivery.published_s is None else delivery.published_s
