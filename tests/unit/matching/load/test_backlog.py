"""What is skipped, and by which policy: to the newest audio for all streams together, then in turns. Never unfairly."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque

import pytest

from ingest.bus.port import Delivery
from ingest.wire import SAMPLE_RATE_HZ, Window
from monitor.matching.load.backlog import NEWEST_S, SHARE, TURN_S, BacklogMonitor, Turns
from monitor.matching.load.capacity import Capacity
from monitor.settings import BacklogPolicy
from monitor.storage.records import WorkerState

NOW_S = 1_700_000_000.0
WINDOW_S = 2
SILENCE = bytes(2 * WINDOW_S * SAMPLE_RATE_HZ)


def _delivery(age_s: float, stream: int = 1, is_published: bool = True, now_s: float = NOW_S) -> Delivery:
    """A window that was logged, or else ended, `age_s` ago."""
    end_s = now_s - (500 if is_published else age_s)
    first = round((end_s - WINDOW_S) * SAMPLE_RATE_HZ)
    window = Window(stream, uuid.UUID(int=1), 0, first, 0, SILENCE)
    return Delivery(0, 0, window, now_s - age_s if is_published else None)


def _monitor(policy: BacklogPolicy) -> BacklogMonitor:
    return BacklogMonitor(policy, 60, now=lambda: NOW_S)


def test_windows_that_are_too_old_are_skipped_until_the_newest() -> None:
    backlog = _monitor(BacklogPolicy.SKIP)
    ages = (59, 61, 40, NEWEST_S + 1, NEWEST_S - 1, 30)
    assert [backlog.is_late(_delivery(age)) for age in ages] == [False, True, True, True, False, True]


def test_catching_up_skips_nothing() -> None:
    backlog = _monitor(BacklogPolicy.CATCH_UP)
    assert not any(backlog.is_late(_delivery(age)) for age in (100, 90, 80, 20, 5, 5))


def test_all_streams_skip_together_so_that_none_pays_for_the_others() -> None:
    backlog = _monitor(BacklogPolicy.SKIP)
    assert not backlog.is_late(_delivery(20, stream=2))
    assert backlog.is_late(_delivery(61, stream=1))
    assert backlog.is_late(_delivery(20, stream=2))
    assert not backlog.is_late(_delivery(2, stream=2))


def test_a_source_that_is_always_late_is_skipped_no_further_than_the_others() -> None:
    now = [NOW_S]
    backlog = BacklogMonitor(BacklogPolicy.SKIP, 60, now=lambda: now[0])
    assert backlog.is_late(_delivery(61))
    late = []
    for _ in range(20):
        now[0] += 1
        late.append(backlog.is_late(_delivery(12, is_published=False, now_s=now[0])))
    assert late == [True] * 6 + [False] * 14


def test_a_window_that_was_logged_late_is_not_late_for_the_worker() -> None:
    """A reader publishes up to a minute late while brokers are away, which no worker can help."""
    backlog = _monitor(BacklogPolicy.SKIP)
    assert not backlog.is_late(_delivery(1))
    assert backlog.is_late(_delivery(100, is_published=False))


class SlowWorker:
    """Simulates a worker that matches `able` seconds of audio a second, and reads its streams in batches."""

    def __init__(self, n_streams: int, able: float, policy: BacklogPolicy = BacklogPolicy.SKIP) -> None:
        self.now_s = 0.0
        self.capacity = Capacity(lambda: self.now_s)
        self.backlog = BacklogMonitor(policy, 60, now=lambda: NOW_S + self.now_s, capacity=self.capacity)
        self.able = able
        self.n_streams = n_streams
        self.log: deque[tuple[float, int]] = deque()
        self.logged_s = 0.0
        # Of each stream: seconds matched, the delay of each window matched, the seconds of each stretch matched.
        self.matched: defaultdict[int, float] = defaultdict(float)
        self.delays: list[float] = []
        self.stretches: defaultdict[int, list[float]] = defaultdict(lambda: [0.0])
        self.states: set[WorkerState] = set()

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            while self.logged_s <= self.now_s:
                self.log.extend((self.logged_s, stream) for stream in range(self.n_streams))
                self.logged_s += WINDOW_S
            if self.log:
                self._batch([self.log.popleft() for _ in range(min(64, len(self.log)))])
            else:
                self.now_s = self.logged_s

    def _batch(self, records: list[tuple[float, int]]) -> None:
        with self.capacity.batch(WINDOW_S * len(records)):
            for logged_s, stream in records:
                age_s = self.now_s - logged_s
                if self.backlog.is_late(_delivery(age_s, stream, now_s=NOW_S + self.now_s)):
                    if self.stretches[stream][-1]:
                        self.stretches[stream].append(0.0)
                    self.now_s += 0.001
                    continue
                self.now_s += WINDOW_S / self.able
                self.matched[stream] += WINDOW_S
                self.stretches[stream][-1] += WINDOW_S
                self.delays.append(age_s)
        self.states.add(self.capacity.load().state)


@pytest.mark.parametrize(("n_streams", "able"), [(20, 19.0), (20, 10.0), (60, 6.0), (7, 2.4)])
def test_a_worker_that_is_too_slow_for_good_matches_live_audio_and_lets_streams_take_turns(
    n_streams: int, able: float
) -> None:
    worker = SlowWorker(n_streams, able)
    worker.run(2000)  # it notices that it is too slow when it is a minute late
    worker.matched.clear()
    worker.delays.clear()
    worker.stretches.clear()
    worker.states.clear()
    seconds = 5 * n_streams * TURN_S
    worker.run(seconds)
    fair = sum(worker.matched.values()) / n_streams
    assert all(worker.matched[stream] == pytest.approx(fair, rel=0.25) for stream in range(n_streams)), (
        "all get the same"
    )
    assert fair * n_streams / seconds > 0.75 * min(able, n_streams), "little of the capacity is wasted"
    assert sorted(worker.delays)[int(0.95 * len(worker.delays))] < 10, "what is matched is live"
    whole = [each for stretches in worker.stretches.values() for each in stretches[1:-1]]
    assert sum(each >= TURN_S - 10 for each in whole) > 0.8 * len(whole), "long enough to find plays"
    assert worker.states == {WorkerState.BEHIND}


def test_a_worker_that_was_away_skips_once_and_then_matches_every_stream_again() -> None:
    worker = SlowWorker(20, 60.0)
    worker.run(300)
    worker.log.clear()
    worker.logged_s -= 600  # ten minutes that nobody has matched
    worker.run(60)
    assert worker.backlog.turns.n_resting == 0
    before = dict(worker.matched)
    worker.run(120)
    assert all(worker.matched[stream] - before[stream] == pytest.approx(120, abs=4) for stream in range(20))


def test_turns_end_when_there_is_capacity_again() -> None:
    worker = SlowWorker(20, 10.0)
    worker.run(600)
    assert worker.backlog.turns.n_resting > 5
    worker.able = 60.0
    worker.run(600)
    assert worker.backlog.turns.n_resting == 0
    assert worker.capacity.load().state is WorkerState.OK


def test_a_stream_that_leaves_gives_its_place_to_another() -> None:
    turns = Turns()
    for stream in range(4):
        turns.add(stream)
    turns.start(0, 2 / SHARE)
    assert [stream for stream in range(4) if turns.is_active(stream)] == [0, 1]
    turns.queue.remove(0)
    assert [stream for stream in range(4) if turns.is_active(stream)] == [1, 2]
