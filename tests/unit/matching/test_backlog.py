"""A stream that falls behind is logged once. It is skipped only by policy, until it reaches the newest window."""

from __future__ import annotations

import uuid

from structlog.testing import capture_logs

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ, Window
from monitor.matching.backlog import CAUGHT_UP_S, BacklogMonitor
from monitor.settings import BacklogPolicy

NOW_S = 1_700_000_000.0


def _delivery(age_s: float, stream: int = 1, is_published: bool = True) -> Delivery:
    """A window that was logged, or else ended, `age_s` ago."""
    end_s = NOW_S - (500 if is_published else age_s)
    window = Window(stream, uuid.UUID(int=1), 0, round((end_s - 2) * SAMPLE_RATE_HZ), 0, bytes(4 * SAMPLE_RATE_HZ))
    return Delivery(0, 0, window, NOW_S - age_s if is_published else None)


def _monitor(policy: BacklogPolicy) -> BacklogMonitor:
    return BacklogMonitor(policy, 60, now=lambda: NOW_S)


def test_windows_that_are_too_old_are_skipped_until_the_newest() -> None:
    backlog = _monitor(BacklogPolicy.SKIP)
    ages = (59, 61, 40, CAUGHT_UP_S + 1, CAUGHT_UP_S - 1, 30)
    assert [backlog.is_late(_delivery(age)) for age in ages] == [False, True, True, True, False, False]


def test_catching_up_skips_nothing_and_is_logged_once() -> None:
    backlog = _monitor(BacklogPolicy.CATCH_UP)
    with capture_logs() as logs:
        assert not any(backlog.is_late(_delivery(age)) for age in (100, 90, 80, 20, 5, 5))
    assert [(entry["event"], entry["stream"]) for entry in logs] == [("worker.behind", 1), ("worker.caught_up", 1)]
    assert (logs[0]["behind_s"], logs[0]["policy"]) == (100, "catch_up")


def test_streams_do_not_affect_each_other() -> None:
    backlog = _monitor(BacklogPolicy.SKIP)
    assert backlog.is_late(_delivery(100, stream=1))
    assert not backlog.is_late(_delivery(20, stream=2))
    assert backlog.is_late(_delivery(20, stream=1))
    backlog.forget(1)
    assert not backlog.is_late(_delivery(20, stream=1))


def test_a_window_that_was_logged_late_is_not_late_for_the_worker() -> None:
    """A reader publishes up to a minute late while brokers are away, which no worker can help."""
    backlog = _monitor(BacklogPolicy.SKIP)
    assert not backlog.is_late(_delivery(1))
    assert backlog.is_late(_delivery(100, is_published=False))
