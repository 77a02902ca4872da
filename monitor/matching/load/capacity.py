"""How many streams a worker can keep up with, which step costs most, and whether it is falling behind. Pure.

A worker reads its streams in batches, as fast as it can finish them. While it keeps up, the share of time in which it
works on a batch is its load. When it falls behind, it works all the time, and the audio that it matches per second of
work is the number of streams that it could keep up with. `Capacity.load` states both as one figure:

    capacity = seconds of audio matched / seconds of work    (how many streams the worker could keep up with)
    load     = streams / capacity                            (1: no room left; above 1: further and further behind)

Seconds of work are wall time, so they include the wait for cores that other processes use, such as ffmpeg and
PostgreSQL. Measured on two cores with changing other load, this predicted 31 to 53 streams at 5 to 40 streams, and the
worker fell behind between 40 and 60. CPU time predicted over 100, and a fit of fixed and variable costs was no better.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from monitor.storage.records import WorkerLoad, WorkerState

WINDOW_S = 60.0  # the figures describe the last minute
SLOT_S = 5.0
MIN_AGE_S = 20.0  # of the first figures: a start loads models and replays the last minute
FULL_LOAD = 0.85  # a full worker may fall behind at the next disturbance
ROOM_LOAD = 0.7  # at which a full worker has room again
LATE_SHARE = 0.1  # of the streams, at which the worker is behind and not a stream's own source
LATE_S = 15.0  # a window of this age is late: two windows, a batch and a slow transaction
RETRY = "retry"  # the costly step of a worker whose batch fails again and again
ON_TIME_S = 10.0  # ... and is on time again at this age: the length of a window, and the time to send and match it
LATE_FOR_S = 10.0  # a station sends up to 45 s of past audio on connect, which is late but matched at once

_current: ContextVar[Capacity | None] = ContextVar("capacity", default=None)


@contextmanager
def measured_step(step: str) -> Iterator[None]:
    """Accounts for a step of the batch that this task works on. Does nothing outside a batch of a worker."""
    capacity = _current.get()
    if capacity is None:
        yield
        return
    with capacity.step(step):
        yield


@dataclass(slots=True)
class _Slot:
    """Sums over the batches that ended within SLOT_S seconds."""

    started_s: float
    busy_s: float = 0.0
    audio_s: float = 0.0
    steps_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True)
class _Stream:
    """age_s: of the newest window. late_since_s: when its windows began to be late; None if they are on time."""

    age_s: float
    seen_s: float
    late_since_s: float | None = None


class Capacity:
    """What one worker has done in the last minute, and the state that follows from it.

    All calls come from one thread. clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, min_age_s: float = MIN_AGE_S) -> None:
        self._clock = clock
        self._min_age_s = min_age_s
        self._started_s = clock()
        self._slots: deque[_Slot] = deque()
        self._streams: dict[int, _Stream] = {}
        self._active: defaultdict[str, int] = defaultdict(int)  # steps in progress, and how many streams are in each
        self._changed_s = 0.0  # when the steps in progress last changed
        self._steps_s: defaultdict[str, float] = defaultdict(float)  # of the batch in progress
        self._begun_s: float | None = None  # the batch in progress
        self._skipped_s = 0.0
        self._has_failed = False
        self._is_left_out = False
        self._state = WorkerState.OK
        self.resting_streams = 0  # those that a policy leaves out at the moment

    @contextmanager
    def batch(self, audio_s: float) -> Iterator[None]:
        """Accounts for a batch with this much audio. One whose steps failed counts nothing: it waited for a server."""
        begun_s = self._begun_s = self._changed_s = self._clock()
        self._steps_s.clear()
        self._skipped_s, self._has_failed, self._is_left_out = 0.0, False, False
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self._begun_s = None
            if not (self._has_failed or self._is_left_out):
                slot = self._slot()
                slot.busy_s += self._clock() - begun_s
                slot.audio_s += max(0.0, audio_s - self._skipped_s)
                for step, seconds in self._steps_s.items():
                    slot.steps_s[step] += seconds

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """Accounts for a step of one stream. Streams in different steps at a time share the time between them."""
        self._share_time()
        self._active[step] += 1
        try:
            yield
        except Exception:
            self._has_failed = True
            raise
        finally:
            self._share_time()
            self._active[step] -= 1

    def observe(self, stream: int, age_s: float, skipped_s: float = 0.0) -> None:
        """Accounts for a new window of a stream: its age, and how much of it is not matched."""
        now_s = self._clock()
        self._skipped_s += skipped_s
        known = self._streams.setdefault(stream, _Stream(age_s, now_s))
        known.age_s, known.seen_s = age_s, now_s
        if age_s <= ON_TIME_S:
            known.late_since_s = None
        elif age_s > LATE_S and known.late_since_s is None:
            known.late_since_s = now_s

    def leave_out_batch(self) -> None:
        """Lets the batch in progress say nothing about the capacity: a backlog is skipped, which happens rarely."""
        self._is_left_out = True

    def forget(self, stream: int) -> None:
        """Drops a stream that left this worker."""
        self._streams.pop(stream, None)

    def capacity_streams(self) -> float | None:
        """How many streams the worker could keep up with, by the last minute; None if that is not known yet."""
        slots = self._recent_slots()
        busy_s, audio_s = sum(slot.busy_s for slot in slots), sum(slot.audio_s for slot in slots)
        is_known = self._clock() - self._started_s >= self._min_age_s and busy_s > 0 and audio_s > 0
        return audio_s / busy_s if is_known else None

    def load(self, cpu: float | None = None) -> WorkerLoad:
        """The load of the last minute. `cpu`: share of the machine's CPU time in use."""
        now_s = self._clock()
        is_stuck = self._begun_s is not None and now_s - self._begun_s > LATE_S
        streams = self._recent_streams(now_s if self._begun_s is None else self._begun_s)
        ages_s = [stream.age_s + (now_s - stream.seen_s if is_stuck else 0.0) for stream in streams]
        late = [stream.late_since_s for stream in streams if stream.late_since_s is not None]
        step, share = (RETRY, 1.0) if is_stuck and self._has_failed else self._costly_step()
        load = WorkerLoad(
            state=self._state,
            streams=len(streams),
            capacity_streams=self.capacity_streams(),
            costly_step=step,
            costly_share=share,
            behind_streams=len(streams) if is_stuck else max(self.resting_streams, len(late)),
            behind_s=max(ages_s, default=0.0),
            cpu=cpu,
        )
        n_long = sum(now_s - since_s >= LATE_FOR_S for since_s in late)
        is_late = is_stuck or bool(self.resting_streams) or n_long > LATE_SHARE * len(streams)
        self._state = self._next_state(load, is_late=is_late)
        return replace(load, state=self._state)

    def _next_state(self, load: WorkerLoad, *, is_late: bool) -> WorkerState:
        """The state, which is left at other values than it is entered at, so that it does not flap."""
        if is_late or (self._state is WorkerState.BEHIND and load.behind_streams):
            return WorkerState.BEHIND
        full_at = FULL_LOAD if self._state is WorkerState.OK else ROOM_LOAD
        return WorkerState.FULL if load.load is not None and load.load >= full_at else WorkerState.OK

    def _recent_streams(self, until_s: float) -> Sequence[_Stream]:
        """The streams with a window in the last minute before `until_s`."""
        for stream in [stream for stream, known in self._streams.items() if known.seen_s < until_s - WINDOW_S]:
            del self._streams[stream]
        return list(self._streams.values())

    def _costly_step(self) -> tuple[str, float] | tuple[None, None]:
        """The step that costs most, and its share of the time of all steps."""
        total: defaultdict[str, float] = defaultdict(float)
        for slot in self._recent_slots():
            for step, seconds in slot.steps_s.items():
                total[step] += seconds
        if not (all_s := sum(total.values())):
            return None, None
        step = max(total, key=total.__getitem__)
        return step, total[step] / all_s

    def _share_time(self) -> None:
        now_s = self._clock()
        n_active = sum(self._active.values())
        for step, count in self._active.items():
            if count:
                self._steps_s[step] += (now_s - self._changed_s) * count / n_active
        self._changed_s = now_s

    def _slot(self) -> _Slot:
        now_s = self._clock()
        if not self._slots or now_s - self._slots[-1].started_s >= SLOT_S:
            self._slots.append(_Slot(now_s))
        return self._slots[-1]

    def _recent_slots(self) -> Sequence[_Slot]:
        oldest_s = self._clock() - WINDOW_S
        while self._slots and self._slots[0].started_s < oldest_s:
            self._slots.popleft()
        return list(self._slots)
