"""Times the steps of a batch, and counts their failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from monitor import metrics
from monitor.matching.load.capacity import measured_step


@contextmanager
def step_timer(step: str) -> Iterator[None]:
    """Observes the duration of one step of a batch, and counts its failures. Cancellation is not a failure."""
    begun = time.perf_counter()
    try:
        with measured_step(step):
            yield
    except Exception:
        metrics.FAILURES.labels(step).inc()
        raise
    finally:
        metrics.STEP_SECONDS.labels(step).observe(time.perf_counter() - begun)
