"""A stream that falls behind the air is told of once, and skipped only by policy, until it is with the newest again."""

from __future__ import annotations

import uuid

from structlog.testing import capture_logs

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ, Window
from monitor.matching.backlog import CAUGHT_UP_S, BacklogMonitor
from monitor.settings import BacklogPolicy

NOW_S = 1_700_000_000.0


def _delivery(age_s: float, stream: int = 1, is_published: bool = True) -> Delivery:
    """A window that came into the log, or else was over, so long ago."""
    end_s = NOW_S - (500 if is_published else age_s)
    window = Window(stream, uuid.UUID(int=1), 0, round((end_s - 2) * SAMPLE_RATE_HZ), 0, bytes(4 * SAMPLE_RATE_HZ))
    return Delivery(0, 0, window, NOW_S - age_s if is_published else None)


def _pace(policy: BacklogPolicy) -> BacklogMonitor:
    return BacklogMonitor(policy, 60, now=lambda: NOW_S)


def test_what_is_too_old_is_skipped_until_the_newest_is_reached() -> None:
    pace = _pace(BacklogPolicy.SKIP)
    ages = (59, 61, 40, CAUGHT_UP_S + 1, CAUGHT_UP_S - 1, 30)
    assert [pace.is_late(_delivery(age)) for age in ages] == [False, True, True, True, False, False]


def test_who_catches_up_skips_nothing_and_says_so_once() -> None:
    pace = _pace(BacklogPolicy.CATCH_UP)
    with capture_logs() as logs:
        assert not any(pace.is_late(_delivery(age)) for age in (100, 90, 80, 20, 5, 5))
    assert [(entry["event"], entry["stream"]) for entry in logs] == [("worker.behind", 1), ("worker.caught_up", 1)]
    assert (logs[0]["behind_s"], logs[0]["policy"]) == (100, "catch_up")


def test_each_stream_is_judged_by_itself() -> None:
    pace = _pace(BacklogPolicy.SKIP)
    assert pace.is_late(_delivery(100, stream=1))
    assert not pace.is_late(_delivery(20, stream=2))
    assert pace.is_late(_delivery(20, stream=1))
    pace.forget(1)
    assert not pace.is_late(_delivery(20, stream=1))


def test_late_is_what_lay_in_the_log_and_not_what_was_late_to_come_there() -> None:
    """A reader publishes up to a minute late while brokers are away: that is no worker's fault."""
    pace = _pace(BacklogPolicy.SKIP)
    assert not pace.is_late(_delivery(1))
    assert pace.is_late(_delivery(100, is_published=False))
