"""Samples find their place in time, and windows and gaps tile it, whatever way the audio comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.reading.gap_ledger import GapLedger
from ingest.reading.live_edge import LiveEdge, LostAudioDetector
from ingest.reading.session import Session
from ingest.timeline import samples
from ingest.wire import Gap, GapReason, Record, Window

T0 = samples(1_700_000_000)
TICK = samples(0.1)
WINDOW = samples(2)
MAX_BURST = samples(45)


@dataclass(frozen=True, slots=True)
class Arrival:
    """`n` samples that come in `at` a moment after T0."""

    at: int
    n: int


def steady(since_s: float, until_s: float) -> Iterator[Arrival]:
    """A live source: each tenth of a second brings what sounded in it."""
    for at in range(samples(since_s) + TICK, samples(until_s) + 1, TICK):
        yield Arrival(at, TICK)


def burst(at_s: float, length_s: float) -> Iterator[Arrival]:
    """Past audio, at 100 times real time."""
    yield from (Arrival(samples(at_s + i * 0.01), samples(1)) for i in range(round(length_s)))


def lumps(since_s: float, until_s: float, length_s: float, first: int) -> Iterator[Arrival]:
    """HLS: some segments at once, and later one after the other, each in pieces."""
    for i in range(round((until_s - since_s) / length_s)):
        for _ in range((first if i == 0 else 1) * round(length_s / 0.1)):
            yield Arrival(samples(since_s + i * length_s), TICK)


def file_at_full_speed(since_s: float, length_s: float) -> Iterator[Arrival]:
    """No live source at all: 300 times real time."""
    yield from (Arrival(samples(since_s + i / 3000), TICK) for i in range(round(length_s * 10)))


def ticked(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """The same with the reader's ticks while nothing comes."""
    now = 0
    for arrival in arrivals:
        while arrival.at - now > TICK:
            now += TICK
            yield Arrival(now, 0)
        now = arrival.at
        yield arrival
    for _ in range(10):
        now += TICK
        yield Arrival(now, 0)


def anchored(arrivals: Iterable[Arrival], max_burst: int = MAX_BURST) -> tuple[float, float]:
    """Where sample 0 lies, and when that was known, in seconds after T0."""
    anchor, received = LiveEdge(max_burst), 0
    for arrival in ticked(arrivals):
        received += arrival.n
        anchor.feed(T0 + arrival.at, received)
        if anchor.value is not None:
            return (anchor.value - T0) / samples(1), arrival.at / samples(1)
    raise AssertionError("never anchored")


def test_a_steady_stream_is_anchored_when_its_first_sample_came() -> None:
    at_s, known_s = anchored(steady(3, 10))
    assert at_s == pytest.approx(3, abs=0.01)
    assert known_s == pytest.approx(3.6, abs=0.11)


def test_a_burst_lies_in_the_past() -> None:
    at_s, known_s = anchored([*burst(1, 20), *steady(1.2, 10)])
    assert at_s == pytest.approx(1.2 - 20, abs=0.05)
    assert known_s < 2


def test_hls_lumps_lie_behind_the_moment_when_they_came() -> None:
    at_s, known_s = anchored(lumps(1, 30, 6, first=3))
    assert at_s == pytest.approx(1 - 18, abs=0.01)
    assert known_s < 1.7


def test_a_file_at_full_speed_is_anchored_when_more_than_the_longest_burst_came() -> None:
    at_s, known_s = anchored(file_at_full_speed(1, 300))
    assert at_s == pytest.approx(1.15 - 45, abs=0.2)
    assert known_s < 1.3


def test_without_a_burst_allowed_the_first_sample_is_now() -> None:
    at_s, known_s = anchored([*burst(1, 20), *steady(1.2, 10)], max_burst=0)
    assert (at_s, known_s) == (0, 1)


def test_jitter_does_not_push_the_anchor_back() -> None:
    late = [*steady(0, 0.2), Arrival(samples(0.9), samples(0.7)), *steady(0.9, 5)]
    assert anchored(late)[0] == pytest.approx(0, abs=0.01)


def test_nothing_received_is_never_anchored() -> None:
    anchor = LiveEdge(0)
    anchor.feed(T0, 0)
    anchor.settle()
    assert anchor.value is None


def test_a_lag_counts_when_its_least_stays_high() -> None:
    lag = LostAudioDetector()
    seen = [lag.feed(T0 + i * TICK, samples(5) + (i % 7) * TICK) for i in range(220)]
    assert seen[: samples(20) // TICK] == [0] * 200
    assert seen[200] == samples(5)


def test_lumps_are_no_lag() -> None:
    lag = LostAudioDetector()
    assert not any(lag.feed(T0 + i * TICK, TICK * (i % 100)) for i in range(1000))


def test_a_lag_that_is_caught_up_is_forgotten() -> None:
    lag = LostAudioDetector()
    assert not any(lag.feed(T0 + i * TICK, samples(9) if i % 190 else 0) for i in range(1000))


def test_gaps_tell_each_reason_for_its_own_time() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0, GapReason.ENDED)
    ledger.open_gap(T0 + 100, GapReason.CONNECTING)
    ledger.open_gap(T0 + 200, GapReason.CONNECTING)
    ledger.open_gap(T0 + 300, GapReason.NOT_AUDIO)
    assert ledger.gaps(T0 + 50) == [Gap(1, T0, T0 + 50, GapReason.ENDED)]
    assert ledger.gaps(T0 + 350) == [
        Gap(1, T0 + 50, T0 + 100, GapReason.ENDED),
        Gap(1, T0 + 100, T0 + 300, GapReason.CONNECTING),
        Gap(1, T0 + 300, T0 + 350, GapReason.NOT_AUDIO),
    ]
    assert ledger.gaps(T0 + 350) == []
    assert ledger.gaps(T0 + 400) == [Gap(1, T0 + 350, T0 + 400, GapReason.NOT_AUDIO)]


def test_a_reason_holds_from_where_the_stream_was_last_heard() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0, GapReason.CONNECTING)
    ledger.heard(T0 + 500)
    ledger.open_gap(T0 + 400, GapReason.STALLED)
    assert ledger.gaps(T0 + 600) == [Gap(1, T0 + 500, T0 + 600, GapReason.STALLED)]


def test_an_absence_has_one_reason_and_what_follows_its_own() -> None:
    ledger = GapLedger(1, T0)
    ledger.open_gap(T0 + 100, GapReason.ENDED)
    assert ledger.close_gap(T0 + 200, GapReason.STOPPED) == [Gap(1, T0, T0 + 200, GapReason.STOPPED)]
    ledger.open_gap(T0 + 210, GapReason.NOT_AUDIO)
    assert ledger.gaps(T0 + 300) == [Gap(1, T0 + 200, T0 + 300, GapReason.NOT_AUDIO)]


def test_a_gap_in_progress_is_written_in_steps() -> None:
    ledger = GapLedger(1, T0)
    assert ledger.gaps_in_progress(T0 + samples(4.9)) == []
    assert ledger.gaps_in_progress(T0 + samples(5.1)) == [Gap(1, T0, T0 + samples(5.1), GapReason.CONNECTING)]
    assert ledger.gaps_in_progress(T0 + samples(6)) == []


class Source:
    """Gives PCM whose sample k has the value k, so that each can be recognised."""

    def __init__(self) -> None:
        self._next = 0

    def give(self, n: int) -> bytes:
        pcm = np.arange(self._next, self._next + n, dtype=np.uint64).astype("<u2").tobytes()
        self._next += n
        return pcm


def run_session(ledger: GapLedger, arrivals: Iterable[Arrival], window: int = WINDOW) -> list[Record]:
    """All records of one connection, which then ends."""
    session, source, records = Session(ledger, window, MAX_BURST), Source(), list[Record]()
    for arrival in ticked(arrivals):
        records += session.feed(T0 + arrival.at, source.give(arrival.n))
    return records + session.flush()


def windows(records: Sequence[Record]) -> list[Window]:
    return [record for record in records if isinstance(record, Window)]


def gaps(records: Sequence[Record]) -> list[Gap]:
    return [record for record in records if isinstance(record, Gap)]


def assert_tiles(records: Sequence[Record], since: int, until: int) -> None:
    assert records[0].start == since
    assert all(one.end == two.start for one, two in pairwise(records))
    assert records[-1].end == until
    assert all(record.end > record.start for record in records)


def assert_samples_are_where_they_belong(records: Sequence[Record]) -> None:
    """A window's first sample has its own number, whatever was skipped before it."""
    for window in windows(records):
        assert np.frombuffer(window.pcm, "<u2")[0] == window.first_sample % 65536


def test_a_live_stream_becomes_windows_and_its_connecting_a_gap() -> None:
    records = run_session(GapLedger(1, T0), steady(3, 10))
    assert gaps(records) == [Gap(1, T0, T0 + samples(3), GapReason.CONNECTING)]
    assert [window.sequence for window in windows(records)] == [0, 1, 2, 3]
    assert [window.end - window.start for window in windows(records)] == [WINDOW] * 3 + [samples(1)]
    assert len({(window.session_id, window.anchor) for window in windows(records)}) == 1
    assert_tiles(records, T0, T0 + samples(10))
    assert_samples_are_where_they_belong(records)


def test_a_burst_from_before_the_start_is_not_heard() -> None:
    records = run_session(GapLedger(1, T0), [*burst(1, 20), *steady(1.2, 10)])
    assert gaps(records) == []
    assert windows(records)[0].start == T0
    assert windows(records)[0].first_sample > samples(18)
    assert_tiles(records, T0, records[-1].end)
    assert_samples_are_where_they_belong(records)


def test_a_repeated_burst_is_heard_once_and_covers_the_break() -> None:
    ledger = GapLedger(1, T0)
    first = run_session(ledger, steady(0, 30))
    ledger.open_gap(ledger.heard_until, GapReason.ENDED)
    second = run_session(ledger, [*burst(35, 20), *steady(35.2, 50)])
    assert gaps(second) == []
    assert windows(second)[0].start == first[-1].end == T0 + samples(30)
    assert windows(second)[0].session_id != windows(first)[0].session_id
    assert_tiles([*first, *second], T0, second[-1].end)
    assert_samples_are_where_they_belong(second)


def test_a_break_longer_than_the_burst_is_a_gap_with_the_reason_of_the_break() -> None:
    ledger = GapLedger(1, T0)
    first = run_session(ledger, steady(0, 30))
    ledger.open_gap(ledger.heard_until, GapReason.STALLED)
    second = run_session(ledger, [*burst(60, 20), *steady(60.2, 70)])
    (gap,) = gaps(second)
    assert (gap.start, gap.reason) == (T0 + samples(30), GapReason.STALLED)
    assert gap.end == pytest.approx(T0 + samples(40.2), abs=samples(0.05))
    assert_tiles([*first, *second], T0, second[-1].end)


def test_audio_that_is_already_accounted_for_is_skipped_to_the_end() -> None:
    assert run_session(GapLedger(1, T0 + samples(60)), steady(0, 30)) == []


def test_a_connection_that_ends_within_its_burst_is_heard_up_to_its_end() -> None:
    session = Session(GapLedger(1, T0), WINDOW, MAX_BURST)
    assert session.feed(T0 + samples(3), Source().give(samples(2))) == []
    assert [type(record) for record in session.flush()] == [Gap, Window]


def test_audio_that_a_source_lost_becomes_a_gap_and_a_new_session() -> None:
    lossy = [*steady(0, 30), *(Arrival(samples(35) + i * TICK, TICK) for i in range(300))]
    records = run_session(GapLedger(1, T0), lossy)
    (gap,) = gaps(records)
    assert gap.reason is GapReason.STALLED
    assert gap.end - gap.start == pytest.approx(samples(5), abs=TICK)
    before = [window for window in windows(records) if window.end <= gap.start]
    after = windows(records)[len(before) :]
    assert len({window.session_id for window in before}) == len({window.session_id for window in after}) == 1
    assert before[0].session_id != after[0].session_id
    assert (after[0].sequence, after[0].first_sample, after[0].anchor) == (0, 0, gap.end)
    assert_tiles(records, T0, T0 + samples(65) - TICK)


def test_a_pause_that_is_made_up_for_is_no_gap() -> None:
    late = [*steady(0, 30), Arrival(samples(35), samples(5)), *steady(35, 70)]
    assert gaps(run_session(GapLedger(1, T0), late)) == []


def test_the_next_sample_of_a_fast_source_is_seen_to_lie_in_the_future() -> None:
    session, source = Session(GapLedger(1, T0), WINDOW, samples(1)), Source()
    assert session.ahead(T0) == 0
    session.feed(T0 + samples(1), source.give(samples(1.1)))
    assert session.is_live
    assert session.ahead(T0 + samples(1)) == 0
    session.feed(T0 + samples(1), source.give(samples(3)))
    assert session.ahead(T0 + samples(1)) == samples(3)
    assert session.ahead(T0 + samples(5)) == -samples(1)


PIECES = st.lists(st.tuples(st.integers(0, samples(4)), st.integers(1, samples(4))), min_size=1, max_size=10)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PIECES, st.sampled_from(GapReason)), min_size=1, max_size=4), st.integers(1, samples(3)))
def test_any_arrivals_and_breaks_are_tiled_without_overlap_or_hole(
    connections: list[tuple[list[tuple[int, int]], GapReason]], window: int
) -> None:
    ledger, now, records = GapLedger(1, T0), T0, list[Record]()
    for pieces, reason in connections:
        session, source = Session(ledger, window, MAX_BURST), Source()
        for wait, n in pieces:
            now += wait
            records += session.feed(now, b"")
            records += session.feed(now, source.give(n))
        records += session.flush()
        ledger.open_gap(ledger.heard_until, reason)
    records += ledger.gaps(now)
    if records:
        assert_tiles(records, T0, ledger.heard_until)
    for session_id in {window.session_id for window in windows(records)}:
        own = [window for window in windows(records) if window.session_id == session_id]
        assert [window.sequence for window in own] == list(range(len(own)))
        assert len({window.anchor for window in own}) == 1
