"""What a worker has done in the last minute, and the state that follows: on a clock that the tests turn."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from monitor.matching.load.capacity import (
    LATE_FOR_S,
    LATE_S,
    MIN_AGE_S,
    ON_TIME_S,
    RETRY,
    WINDOW_S,
    Capacity,
    measured_step,
)
from monitor.storage.records import WorkerState


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _work(capacity: Capacity, clock: Clock, n_streams: int, busy_s: float, seconds: int, age_s: float = 1.0) -> None:
    """Works `busy_s` of every second on a second of each stream."""
    for _ in range(seconds):
        with capacity.batch(n_streams):
            for stream in range(n_streams):
                capacity.observe(stream, age_s)
            with capacity.step("search"):
                clock.now_s += busy_s * 0.75
            with capacity.step("write"):
                clock.now_s += busy_s * 0.25
        clock.now_s += 1 - busy_s


def test_capacity_is_the_audio_that_is_matched_per_second_of_work(clock: Clock) -> None:
    capacity = Capacity(clock)
    _work(capacity, clock, 10, 0.25, 60)
    load = capacity.load(cpu=0.5)
    assert load.capacity_streams == pytest.approx(40)
    assert load.load == pytest.approx(0.25)
    assert (load.costly_step, load.costly_share) == ("search", pytest.approx(0.75))
    assert (load.state, load.streams, load.behind_streams, load.cpu) == (WorkerState.OK, 10, 0, 0.5)


def test_figures_are_of_the_last_minute_and_wait_until_there_are_some(clock: Clock) -> None:
    capacity = Capacity(clock)
    _work(capacity, clock, 10, 0.9, round(MIN_AGE_S) - 1)
    assert capacity.load().load is None
    _work(capacity, clock, 10, 0.9, 60)
    _work(capacity, clock, 10, 0.1, 70)
    assert capacity.load().load == pytest.approx(0.1)
    clock.now_s += WINDOW_S + 1
    assert (capacity.load().streams, capacity.load().load, capacity.load().costly_step) == (0, None, None)


def test_a_worker_is_full_before_it_falls_behind_and_has_room_only_well_below(clock: Clock) -> None:
    capacity = Capacity(clock)
    states = []
    for busy_s in (0.8, 0.9, 0.8, 0.75, 0.6):
        _work(capacity, clock, 10, busy_s, 70)
        states.append(capacity.load().state.value)
    assert states == ["ok", "full", "full", "full", "ok"]


def test_a_worker_is_behind_once_its_streams_stay_late_until_all_are_on_time(clock: Clock) -> None:
    capacity = Capacity(clock)
    states = []
    for age_s, seconds in ((1, 60), (LATE_S + 5, 5), (LATE_S + 5, 10), (ON_TIME_S + 1, 10), (ON_TIME_S - 1, 1)):
        _work(capacity, clock, 10, 0.5, seconds, age_s)
        states.append(capacity.load().state.value)
    assert states == ["ok", "ok", "behind", "behind", "ok"]


def test_one_stream_of_many_that_is_late_has_a_late_source(clock: Clock) -> None:
    capacity = Capacity(clock)
    for _ in range(30):
        _work(capacity, clock, 20, 0.1, 1)
        capacity.observe(7, 100)
    load = capacity.load()
    assert (load.state, load.behind_streams) == (WorkerState.OK, 1)


def test_the_past_audio_that_a_station_sends_on_connect_is_no_backlog(clock: Clock) -> None:
    capacity = Capacity(clock)
    _work(capacity, clock, 3, 0.1, 60)
    _work(capacity, clock, 3, 0.1, round(LATE_FOR_S) - 1, age_s=40)
    assert capacity.load().state is WorkerState.OK
    _work(capacity, clock, 3, 0.1, 1)
    assert capacity.load().behind_streams == 0


def test_streams_in_different_steps_at_a_time_share_it(clock: Clock) -> None:
    capacity = Capacity(clock)
    with capacity.batch(8), ExitStack() as steps:
        for step in ("embed", "embed", "embed", "write"):
            steps.enter_context(capacity.step(step))
        clock.now_s += 4
    load = capacity.load()
    assert (load.costly_step, load.costly_share) == ("embed", 0.75)


def test_a_batch_that_failed_says_nothing_about_the_capacity(clock: Clock) -> None:
    capacity = Capacity(clock)
    _work(capacity, clock, 10, 0.25, 60)
    with capacity.batch(20):
        with pytest.raises(OSError, match="away"), capacity.step("write"):
            raise OSError("away")
        clock.now_s += 50
        stuck = capacity.load()
    assert capacity.load().capacity_streams == pytest.approx(40)
    assert (stuck.state, stuck.costly_step, stuck.behind_streams) == (WorkerState.BEHIND, RETRY, 10)
    assert stuck.behind_s == pytest.approx(51.8, abs=1)


def test_skipped_audio_is_not_matched_audio_and_streams_that_rest_keep_the_worker_behind(clock: Clock) -> None:
    capacity = Capacity(clock)
    for _ in range(60):
        with capacity.batch(10):
            for stream in range(10):
                capacity.observe(stream, 1, skipped_s=1 if stream < 5 else 0)
            clock.now_s += 0.5
        clock.now_s += 0.5
    assert capacity.load().capacity_streams == pytest.approx(10)
    capacity.resting_streams = 5
    assert (capacity.load().state, capacity.load().behind_streams) == (WorkerState.BEHIND, 5)


def test_a_backlog_that_is_skipped_says_nothing_about_the_capacity(clock: Clock) -> None:
    capacity = Capacity(clock)
    _work(capacity, clock, 10, 0.25, 30)
    with capacity.batch(100):
        capacity.observe(0, 70, skipped_s=100)
        capacity.leave_out_batch()
        clock.now_s += 3
    assert capacity.capacity_streams() == pytest.approx(40)


async def test_steps_count_for_the_batch_of_their_task_only(clock: Clock) -> None:
    capacity = Capacity(clock)

    async def a_request() -> None:
        """Uses the same steps, but belongs to no batch."""
        with measured_step("embed"):
            clock.now_s += 5

    async def a_stream() -> None:
        with measured_step("search"):
            clock.now_s += 1

    with capacity.batch(1):
        await asyncio.gather(a_stream())
    await a_request()
    load = capacity.load()
    assert (load.costly_step, load.costly_share) == ("search", 1)
