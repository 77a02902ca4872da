"""When a stream keeps up, and which plays were found."""

from __future__ import annotations

import math

import pytest

from tests.bench.live import delays, report, systems, usage
from tests.bench.live.delays import Match, StreamDelays
from tests.bench.live.programs import Play


def _stream(*stored: tuple[float, float]) -> StreamDelays:
    """A stream with windows of 2 s: (position, when it was stored)."""
    stream = StreamDelays(2.0)
    for position_s, now_s in stored:
        stream.reached(position_s, now_s)
    return stream


def test_the_delay_runs_from_the_end_of_a_window() -> None:
    stream = _stream((100, 100.5), (102, 102.7), (104, 105.0))
    assert [delay for _, delay in stream.samples] == pytest.approx([0.7, 1.0])


def test_windows_stored_together_count_one_by_one() -> None:
    stream = _stream((100, 100.5), (106, 107.0))
    assert [delay for _, delay in stream.samples] == pytest.approx([5, 3, 1])


def test_windows_that_are_overdue_at_the_end_count() -> None:
    stream = _stream((100, 100.5), (102, 102.5))
    stream.end(109.0)  # those that ended at 104 and 106; the one that ended at 108 is not late yet
    assert [delay for _, delay in stream.samples] == pytest.approx([0.5, 5, 5])


def test_a_stream_that_stops_falls_behind() -> None:
    stream = _steady(*[0.5] * 10)
    stream.end(60.0)
    assert stream.growth_s == pytest.approx(37.5)
    assert not stream.keeps_up


def test_nothing_is_overdue_in_a_stream_that_keeps_up() -> None:
    stream = _stream((100, 100.5), (102, 102.5))
    stream.end(104.9)
    assert len(stream.samples) == 1


def _steady(*delays_s: float) -> StreamDelays:
    return _stream((0, 0), *((2.0 * (i + 1), 2.0 * (i + 1) + delay_s) for i, delay_s in enumerate(delays_s)))


def test_a_stream_keeps_up_within_two_seconds_of_the_air() -> None:
    assert _steady(*[1.0] * 60).keeps_up
    assert _steady(*[1.0] * 58, 5, 5).keeps_up
    assert not _steady(*[1.0] * 50, *[3.0] * 10).keeps_up
    assert not StreamDelays(2.0).keeps_up


def test_a_stream_whose_delay_grows_does_not_keep_up() -> None:
    growing = _steady(*(0.5 + 0.024 * i for i in range(60)))
    assert delays.percentile([delay for _, delay in growing.samples], 0.95) < delays.LIMIT_S
    assert growing.growth_s == pytest.approx(0.96, abs=0.01)
    assert _steady(*(0.3 + 0.027 * i for i in range(60))).growth_s > delays.GROWTH_S
    assert not _steady(*(0.3 + 0.027 * i for i in range(60))).keeps_up


def test_percentiles_are_values_that_occurred() -> None:
    assert delays.percentile(range(1, 101), 0.95) == 95
    assert delays.percentile([7], 0.95) == 7
    assert math.isnan(delays.percentile([], 0.5))


PLAYS = {0: [Play("/m/a.ogg", 10, 40), Play("/m/b.ogg", 60, 90)], 1: [Play("/m/a.ogg", 95, 125)]}


def test_a_play_waits_from_its_first_sound_to_its_first_match() -> None:
    matches = {0: [Match("/x/a.ogg", 10.3, 39, 15), Match("a.ogg", 11, 39, 14), Match("b.ogg", 60, 89, 66)]}
    assert delays.opened_after_s(PLAYS, matches, 0, 100) == [4, 6]


def test_plays_that_began_before_or_were_too_short_on_the_air_do_not_count() -> None:
    assert delays.opened_after_s(PLAYS, {}, 50, 100) == [None]
    assert delays.opened_after_s(PLAYS, {}, 50, 106) == [None, None]


def test_a_match_after_the_measurement_is_none() -> None:
    assert delays.opened_after_s(PLAYS, {0: [Match("b.ogg", 60, 89, 101)]}, 50, 100) == [None]


def test_matches_that_belong_to_no_play_are_listed() -> None:
    stray = Match("c.ogg", 10, 20, 15)
    at_another_time = Match("a.ogg", 50, 58, 55)
    assert delays.strays(PLAYS, {0: [Match("a.ogg", 10, 40, 15), stray, at_another_time]}) == [stray, at_another_time]


def test_the_sums_of_steps_are_read_from_metrics() -> None:
    text = 'airtrace_worker_step_seconds_sum{step="embed"} 1.5\nairtrace_worker_step_seconds_count{step="embed"} 3.0\n'
    assert list(systems.steps(text)) == [("embed", 1.5)]


@pytest.mark.parametrize(
    ("name", "part"), [("airtrace_0", "airtrace"), ("asyncio-waitpid", "asyncio-waitpid"), ("spool_0", "spool")]
)
def test_threads_of_a_pool_count_together(name: str, part: str) -> None:
    assert usage.thread_part(name) == part


def test_cores_are_the_cpu_time_between_two_snapshots() -> None:
    before = {(1, 0): usage.Counted("a", 5.0), (3, 0): usage.Counted("gone", 1.0)}
    after = {(1, 0): usage.Counted("a", 6.0), (2, 0): usage.Counted("b", 4.0)}
    assert usage.cores(before, after, 2.0) == {"b": 2.0, "a": 0.5}


def test_a_table_has_a_row_for_each_measurement() -> None:
    cell = {
        "mode": "embedded",
        "streams": 10,
        "tracks": 300,
        "streams_keeping_up": 9,
        "plays": 0,
        "plays_found": 0,
        "delay_s": {},
        "delay_growth_s": {"median": 0.1},
        "air_to_match_s": {},
        "cores": 0.5,
        "cores_by_part": {},
        "cores_of_everything_else": 1.0,
        "memory_mb": {"airtrace": {"pss": 100.4}},
    }
    lines = report.table([cell, cell]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "9 of 10 streams" in report.line(cell)
