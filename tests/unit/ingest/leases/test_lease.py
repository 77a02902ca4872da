"""Whatever clocks, delays and pauses do: two processes never may publish one stream at once, and shares are fair."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.leases.lease import MARGIN, Lease, LeaseTiming, fair_share

TERMS = LeaseTiming.within(15, 1)
STREAM = 1


@dataclass
class Row:
    """The claim as PostgreSQL keeps it, by PostgreSQL's clock."""

    holder: int | None = None
    epoch: int = 0
    expires_s: float = -math.inf


@dataclass
class World:
    """One stream, some processes with clocks of their own, and what is under way between them and the database."""

    rates: list[float]
    now_s: float = 1000.0
    row: Row = field(default_factory=Row)
    permits: dict[int, Lease] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)  # by the own clock, of questions under way
    answers: dict[int, tuple[int, float] | None] = field(default_factory=dict)  # (epoch, asked) on their way back
    epochs: list[int] = field(default_factory=list)

    def clock(self, process: int) -> float:
        """A monotonic clock that began somewhere and runs a little fast or slow."""
        return 77.0 * process + self.rates[process] * self.now_s

    def ask(self, process: int) -> None:
        if process not in self.asked and process not in self.answers:
            self.asked[process] = self.clock(process)

    def decide(self, process: int) -> None:
        """The database gets the question: renew, or claim what is free or has run out."""
        if (asked_s := self.asked.pop(process, None)) is None:
            return
        row, is_over = self.row, self.row.expires_s <= self.now_s
        if row.holder != process and not is_over:
            self.answers[process] = None
            return
        if is_over:
            row.epoch += 1
            self.epochs.append(row.epoch)
        row.holder, row.expires_s = process, self.now_s + TERMS.length_s
        self.answers[process] = (row.epoch, asked_s)

    def answer(self, process: int) -> None:
        if process not in self.answers:
            return
        answer = self.answers.pop(process)
        if answer is None:
            if permit := self.permits.pop(process, None):
                permit.revoke()
            return
        epoch, asked_s = answer
        if process in self.permits:
            self.permits[process].extend(epoch, TERMS.until_s(asked_s))
        else:
            self.permits[process] = Lease(epoch, TERMS.until_s(asked_s), lambda: self.clock(process))

    def may_publish(self) -> list[int]:
        return [process for process, permit in self.permits.items() if permit.is_valid]


STEPS = st.tuples(
    st.integers(0, 2), st.sampled_from(["ask", "decide", "answer"]), st.sampled_from([0, 0.01, 0.3, 1, 5, 12.7, 20, 90])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(1 - MARGIN / 2, 1 + MARGIN / 2), min_size=3, max_size=3), st.lists(STEPS, max_size=80))
def test_two_processes_never_may_publish_at_once(rates: list[float], steps: list[tuple[int, str, float]]) -> None:
    """A process that does not ask is paused; an answer that is late was; time passes between any two steps."""
    world = World(rates)
    for process, step, after_s in steps:
        getattr(world, step)(process)
        for _ in range(2):
            allowed = world.may_publish()
            assert len(allowed) <= 1
            for one in allowed:
                assert (world.row.holder, world.row.epoch) == (one, world.permits[one].epoch)
                assert world.now_s < world.row.expires_s, "it stops before the claim runs out"
            world.now_s += after_s / 2
    assert world.epochs == sorted(set(world.epochs)), "an epoch is given once, and they only rise"


def test_the_model_above_would_see_two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeaseTiming, "until_s", lambda self, asked_s: asked_s + 2 * self.length_s)
    world = World([1.0, 1.0, 1.0])
    for process in (0, 1):
        for step in (world.ask, world.decide, world.answer):
            step(process)
        world.now_s += TERMS.length_s + 0.1
    world.now_s -= TERMS.length_s
    assert world.may_publish() == [0, 1]


@settings(deadline=None)
@given(st.floats(1, 600), st.floats(0.1, 60))
def test_a_dead_process_is_followed_within_the_time_that_was_set(takeover_s: float, poll_s: float) -> None:
    terms = LeaseTiming.within(takeover_s, poll_s)
    assert terms.length_s + terms.turn_s == pytest.approx(takeover_s)
    assert terms.until_s(0) > 3 * terms.turn_s, "a turn or two may fail"


HELD = st.dictionaries(st.integers(0, 20), st.integers(0, 30), min_size=1, max_size=8)


@settings(deadline=None)
@given(HELD, st.integers(0, 100))
def test_shares_are_equal_but_for_one_and_together_everything(held: dict[int, int], n_streams: int) -> None:
    shares = [fair_share(n_streams, held, process) for process in held]
    assert sum(shares) == n_streams
    assert max(shares) - min(shares) <= 1


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.randoms(use_true_random=False))
def test_whoever_looks_when_the_streams_come_to_be_shared_out_and_stay(
    n_processes: int, n_streams: int, random
) -> None:
    """Each look sees the counts of that moment; what is given up is free for the next one that looks."""
    held, free = dict.fromkeys(range(n_processes), 0), n_streams
    held[0], free = n_streams, 0  # who was first has them all
    for _ in range(20 * n_processes):
        process = random.randrange(n_processes)
        part = fair_share(n_streams, held, process)
        moved = min(part - held[process], free) if part > held[process] else part - held[process]
        held[process] += moved
        free -= moved
    for process in list(range(n_processes)) * 3:
        part = fair_share(n_streams, held, process)
        moved = min(part - held[process], free)
        held[process] += moved
        free -= moved
    assert free == 0
    assert max(held.values()) - min(held.values()) <= 1
    assert all(fair_share(n_streams, held, process) == n for process, n in held.items()), "nobody moves any more"


async def test_who_waits_for_a_permit_hears_of_a_renewal_and_of_a_loss() -> None:
    now = [10.0]
    permit = Lease(1, 10.0, lambda: now[0])
    assert not permit.is_valid
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(permit.wait_until_valid(), name="one")
        await asyncio.sleep(0)
        permit.extend(2, 20.0)
        assert await waiting == 2
        now[0] = 30.0
        waiting = group.create_task(permit.wait_until_valid(), name="two")
        await asyncio.sleep(0)
        permit.revoke()
        assert await waiting is None


async def test_a_permit_of_a_process_that_has_all_streams_never_ends() -> None:
    assert await Lease().wait_until_valid() == 0
