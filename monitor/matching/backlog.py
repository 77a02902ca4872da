"""How far each stream is behind the air, and what the worker does about one that is too far: catch up, or skip.

Says so once when a stream falls behind and once when it is back. Catching up loses nothing and matches late; skipping
books what is too old as lost, record by record, so that the ledger stays exact, and is with the newest in no time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ
from monitor.settings import BacklogPolicy

log = structlog.get_logger(__name__)

# What is this near is the newest: a window's length, and what it takes to fill and send one.
CAUGHT_UP_S = 10.0


@dataclass(slots=True)
class BacklogMonitor:
    """`behind_most_s`: what is older than that, since it came into the log, is too far behind."""

    policy: BacklogPolicy = BacklogPolicy.CATCH_UP
    max_behind_s: float = 60.0
    now: Callable[[], float] = time.time
    _behind: set[int] = field(default_factory=set)

    def is_late(self, delivery: Delivery) -> bool:
        """Whether a new window is to be skipped; to be asked of all of them, in order."""
        stream, age_s = delivery.record.stream_id, self.now() - came_s(delivery)
        if age_s > self.max_behind_s and stream not in self._behind:
            self._behind.add(stream)
            facts = {"stream": stream, "behind_s": round(age_s, 1), "policy": self.policy.value}
            log.warning("worker.behind", **facts, hint="more workers, at most as many as the topic has partitions")
        elif age_s < min(CAUGHT_UP_S, self.max_behind_s) and stream in self._behind:
            self._behind.discard(stream)
            log.info("worker.caught_up", stream=stream)
        return self.policy is BacklogPolicy.SKIP and stream in self._behind

    def forget(self, stream: int) -> None:
        """Of a stream that is no longer ours."""
        self._behind.discard(stream)


def came_s(delivery: Delivery) -> float:
    """When a record came into the log (Unix time); where that is not known, when its sound was over."""
    return delivery.record.end / SAMPLE_RATE_HZ if delivery.published_s is None else delivery.published_s
