"""Whatever clocks, delays and pauses do, two processes may never publish one stream at once, and shares are fair."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.leases.lease import MARGIN, Lease, LeaseTiming, fair_share

TIMING = LeaseTiming.within(15, 1)
STREAM = 1


@dataclass
class Row:
    """The lease as PostgreSQL keeps it, by PostgreSQL's clock."""

    holder: int | None = None
    epoch: int = 0
    expires_s: float = -math.inf


@dataclass
class World:
    """One stream, some processes with clocks of their own, and the messages between them and the database."""

    rates: list[float]
    timing: LeaseTiming = TIMING
    now_s: float = 1000.0
    row: Row = field(default_factory=Row)
    leases: dict[int, Lease] = field(default_factory=dict)
    requested: dict[int, float] = field(default_factory=dict)  # when, by its own clock; requests on their way
    answers: dict[int, tuple[int, float] | None] = field(default_factory=dict)  # (epoch, requested) on their way back
    epochs: list[int] = field(default_factory=list)

    def clock(self, process: int) -> float:
        """A monotonic clock that starts anywhere and runs a little fast or slow."""
        return 77.0 * process + self.rates[process] * self.now_s

    def request(self, process: int) -> None:
        if process not in self.requested and process not in self.answers:
            self.requested[process] = self.clock(process)

    def decide(self, process: int) -> None:
        """The database receives the request: it renews the lease, or lets it be claimed if it is free or expired."""
        if (requested_s := self.requested.pop(process, None)) is None:
            return
        row, is_expired = self.row, self.row.expires_s <= self.now_s
        if row.holder != process and not is_expired:
            self.answers[process] = None
            return
        if is_expired:
            row.epoch += 1
            self.epochs.append(row.epoch)
        row.holder, row.expires_s = process, self.now_s + self.timing.length_s
        self.answers[process] = (row.epoch, requested_s)

    def answer(self, process: int) -> None:
        if process not in self.answers:
            return
        answer = self.answers.pop(process)
        if answer is None:
            if lease := self.leases.pop(process, None):
                lease.revoke()
            return
        epoch, requested_s = answer
        if process in self.leases:
            self.leases[process].extend(epoch, self.timing.until_s(requested_s))
        else:
            self.leases[process] = Lease(epoch, self.timing.until_s(requested_s), lambda: self.clock(process))

    def may_publish(self) -> list[int]:
        return [process for process, lease in self.leases.items() if lease.is_valid]


STEPS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["request", "decide", "answer"]),
    st.sampled_from([0, 0.01, 0.3, 1, 5, 12.7, 20, 90]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(1 - MARGIN / 2, 1 + MARGIN / 2), min_size=3, max_size=3), st.lists(STEPS, max_size=80))
def test_two_processes_may_never_publish_at_once(rates: list[float], steps: list[tuple[int, str, float]]) -> None:
    """A process that sends no request is paused, one whose answer is late was; time passes between any two steps."""
    world = World(rates)
    for process, step, after_s in steps:
        getattr(world, step)(process)
        for _ in range(2):
            allowed = world.may_publish()
            assert len(allowed) <= 1
            for one in allowed:
                assert (world.row.holder, world.row.epoch) == (one, world.leases[one].epoch)
                assert world.now_s < world.row.expires_s, "it stops before the lease expires"
            world.now_s += after_s / 2
    assert world.epochs == sorted(set(world.epochs)), "each epoch is given out once, and they only rise"


def test_the_model_above_would_notice_two_at_once() -> None:
    too_long = replace(TIMING, margin=-1.0)  # a holder that trusts its lease for twice its length
    world = World([1.0, 1.0, 1.0], too_long)
    for process in (0, 1):
        for step in (world.request, world.decide, world.answer):
            step(process)
        world.now_s += TIMING.length_s + 0.1
    world.now_s -= TIMING.length_s
    assert world.may_publish() == [0, 1]


@settings(deadline=None)
@given(st.floats(1, 600), st.floats(0.1, 60))
def test_the_streams_of_a_dead_process_are_taken_over_in_time(takeover_s: float, poll_s: float) -> None:
    timing = LeaseTiming.within(takeover_s, poll_s)
    assert timing.length_s + timing.turn_s == pytest.approx(takeover_s)
    assert timing.until_s(0) > 3 * timing.turn_s, "a turn or two may fail"


HELD = st.dictionaries(st.integers(0, 20), st.integers(0, 30), min_size=1, max_size=8)


@settings(deadline=None)
@given(HELD, st.integers(0, 100))
def test_shares_differ_by_at_most_one_and_add_up_to_all_streams(held: dict[int, int], n_streams: int) -> None:
    shares = [fair_share(n_streams, held, process) for process in held]
    assert sum(shares) == n_streams
    assert max(shares) - min(shares) <= 1


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.randoms(use_true_random=False))
def test_whoever_takes_the_next_turn_the_streams_end_up_evenly_shared_and_stay(
    n_processes: int, n_streams: int, random
) -> None:
    """Each turn sees the counts of its moment; what is given up is free for the next one."""
    held, free = dict.fromkeys(range(n_processes), 0), n_streams
    held[0], free = n_streams, 0  # the first one has them all
    for _ in range(20 * n_processes):
        process = random.randrange(n_processes)
        share = fair_share(n_streams, held, process)
        moved = min(share - held[process], free) if share > held[process] else share - held[process]
        held[process] += moved
        free -= moved
    for process in list(range(n_processes)) * 3:
        share = fair_share(n_streams, held, process)
        moved = min(share - held[process], free)
        held[process] += moved
        free -= moved
    assert free == 0
    assert max(held.values()) - min(held.values()) <= 1
    assert all(fair_share(n_streams, held, process) == n for process, n in held.items()), "nothing moves any more"


async def test_waiting_for_a_lease_ends_when_it_is_renewed_and_when_it_is_lost() -> None:
    now = [10.0]
    lease = Lease(1, 10.0, lambda: now[0])
    assert not lease.is_valid
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(lease.wait_until_valid(), name="one")
        await asyncio.sleep(0)
        lease.extend(2, 20.0)
        assert await waiting == 2
        now[0] = 30.0
        waiting = group.create_task(lease.wait_until_valid(), name="two")
        await asyncio.sleep(0)
        lease.revoke()
        assert await waiting is None


async def test_the_lease_of_a_process_that_has_all_streams_never_expires() -> None:
    assert await Lease().wait_until_valid() == 0
