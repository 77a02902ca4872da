"""The steps of a batch are timed, and their failures counted."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from prometheus_client import REGISTRY

from monitor.matching.steps import step_timer
from tests.workers import failures


def test_failures_are_counted_by_step_and_cancellations_are_not() -> None:
    step = f"test-{uuid.uuid4().hex}"
    with pytest.raises(ValueError, match="no"), step_timer(step):
        raise ValueError("no")
    with pytest.raises(asyncio.CancelledError), step_timer(step):
        raise asyncio.CancelledError
    assert failures(step) == 1
    assert REGISTRY.get_sample_value("airtrace_worker_step_seconds_count", {"step": step}) == 2
