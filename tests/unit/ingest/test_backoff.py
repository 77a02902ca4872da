"""Waits double up to a bound, with jitter, until a success."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.backoff import Backoff


def test_waits_double_up_to_the_most() -> None:
    backoff = Backoff(1, 10, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(1, 60, draw=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    assert Backoff(4, 60, draw=lambda: 0.0).next_s() == 2
    assert len({Backoff(4, 60).next_s() for _ in range(20)}) > 1


@given(st.floats(0.05, 60), st.floats(1, 3600), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_no_wait_is_longer_than_the_most(first_s: float, max_s: float, draws: list[float]) -> None:
    drawn = iter(draws)
    backoff = Backoff(first_s, max_s, draw=lambda: next(drawn))
    assert all(0 < backoff.next_s() <= max_s for _ in draws)


def test_a_first_wait_above_the_most_is_the_most() -> None:
    assert Backoff(60, 2, draw=lambda: 1.0).next_s() == 2
