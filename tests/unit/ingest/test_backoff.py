"""Waits double up to a bound, with jitter, until a success; `retry` waits them out, or stops."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.backoff import Backoff, retry

INSTANT = (0.0, 0.0)
HOUR_S = 3600.0


def failing(*errors: Exception, then: str = "done") -> Callable[[], Awaitable[str]]:
    """An action that raises these, one after the other, and then succeeds."""
    waiting = list(errors)

    async def action() -> str:
        if waiting:
            raise waiting.pop(0)
        return then

    return action


class Failures:
    """Counts what `on_error` is called with."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.waits_s: list[float] = []
        self.first = asyncio.Event()

    def note(self, error: Exception, wait_s: float) -> None:
        self.errors.append(str(error))
        self.waits_s.append(wait_s)
        self.first.set()


def test_waits_double_up_to_the_maximum() -> None:
    backoff = Backoff(1, 10, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_a_reset_starts_over() -> None:
    backoff = Backoff(1, 60, draw=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    assert Backoff(4, 60, draw=lambda: 0.0).next_s() == 2
    assert len({Backoff(4, 60).next_s() for _ in range(20)}) > 1


@given(st.floats(0.05, 60), st.floats(1, 3600), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_no_wait_is_longer_than_the_maximum(first_s: float, max_s: float, draws: list[float]) -> None:
    drawn = iter(draws)
    backoff = Backoff(first_s, max_s, draw=lambda: next(drawn))
    assert all(0 < backoff.next_s() <= max_s for _ in draws)


def test_a_first_wait_above_the_maximum_is_the_maximum() -> None:
    assert Backoff(60, 2, draw=lambda: 1.0).next_s() == 2


async def test_an_action_is_tried_until_it_succeeds_and_each_failure_is_reported_once() -> None:
    failures = Failures()
    backoff = Backoff(0.001, 1, draw=lambda: 1.0)
    action = failing(OSError("first"), OSError("second"))
    assert await retry(action, backoff=backoff, retry_on=OSError, on_error=failures.note) == "done"
    assert failures.errors == ["first", "second"]
    assert failures.waits_s == [0.001, 0.002]


async def test_a_success_resets_the_backoff() -> None:
    backoff = Backoff(0.001, 1, draw=lambda: 1.0)
    await retry(failing(OSError(), OSError()), backoff=backoff, retry_on=OSError, on_error=Failures().note)
    assert backoff.next_s() == 0.001


async def test_an_error_of_another_kind_is_raised_at_once() -> None:
    failures = Failures()
    with pytest.raises(ValueError, match="a bug"):
        await retry(
            failing(OSError("away"), ValueError("a bug")),
            backoff=Backoff(*INSTANT),
            retry_on=(OSError, KeyError),
            on_error=failures.note,
        )
    assert failures.errors == ["away"]


async def test_a_predicate_decides_which_errors_pass() -> None:
    failures = Failures()
    with pytest.raises(OSError, match="for good"):
        await retry(
            failing(OSError("for now"), OSError("for good")),
            backoff=Backoff(*INSTANT),
            retry_on=lambda error: "now" in str(error),
            on_error=failures.note,
        )
    assert failures.errors == ["for now"]


async def test_on_error_gives_up_by_raising() -> None:
    def give_up(error: Exception, wait_s: float) -> None:
        raise RuntimeError("enough") from error

    with pytest.raises(RuntimeError, match="enough"):
        await retry(failing(OSError()), backoff=Backoff(*INSTANT), retry_on=OSError, on_error=give_up)


async def test_a_stop_ends_the_wait_at_once_without_another_attempt() -> None:
    failures, stop = Failures(), asyncio.Event()
    backoff = Backoff(HOUR_S, HOUR_S)
    action = failing(OSError("away"))
    trying = asyncio.create_task(retry(action, backoff=backoff, retry_on=OSError, on_error=failures.note, stop=stop))
    await failures.first.wait()
    stop.set()
    async with asyncio.timeout(5):
        assert await trying is None
    assert failures.errors == ["away"]


async def test_nothing_is_tried_once_it_is_stopped() -> None:
    stop = asyncio.Event()
    stop.set()
    action = failing(OSError("tried"))
    retrying = retry(action, backoff=Backoff(*INSTANT), retry_on=OSError, on_error=Failures().note, stop=stop)
    assert await retrying is None
    with pytest.raises(OSError, match="tried"):
        await action()


async def test_a_stop_does_not_interrupt_the_action() -> None:
    stop = asyncio.Event()

    async def stop_and_finish() -> str:
        stop.set()
        await asyncio.sleep(0)
        return "finished"

    retrying = retry(stop_and_finish, backoff=Backoff(*INSTANT), retry_on=OSError, on_error=Failures().note, stop=stop)
    assert await retrying == "finished"


@pytest.mark.parametrize("stop", [None, asyncio.Event()])
async def test_a_cancellation_is_never_taken_for_a_failure(stop: asyncio.Event | None) -> None:
    failures, waiting = Failures(), asyncio.Event()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    trying = asyncio.create_task(
        retry(wait_for_ever, backoff=Backoff(*INSTANT), retry_on=Exception, on_error=failures.note, stop=stop)
    )
    await waiting.wait()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert failures.errors == []


@pytest.mark.parametrize("stop", [None, asyncio.Event()])
async def test_a_wait_can_be_cancelled(stop: asyncio.Event | None) -> None:
    failures = Failures()
    backoff = Backoff(HOUR_S, HOUR_S)
    trying = asyncio.create_task(
        retry(failing(OSError()), backoff=backoff, retry_on=OSError, on_error=failures.note, stop=stop)
    )
    await failures.first.wait()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
