"""Windows and gaps tile a stream's timeline, whatever way the audio arrives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.reading.gap_ledger import GapLedger
from ingest.reading.session import Session
from ingest.timeline import samples
from ingest.wire import Gap, GapReason, Record, Window
from tests.unit.ingest.reading.arrivals import T0, TICK, Arrival, burst, steady, ticked

WINDOW = samples(2)
MAX_BURST = samples(45)


class Source:
    """Gives PCM whose sample k has the value k, so that each can be recognized."""

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


def test_a_live_stream_becomes_windows_after_a_gap_for_connecting() -> None:
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


def test_a_connection_that_ends_within_its_burst_is_heard_to_its_end() -> None:
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


def test_a_pause_that_is_made_up_for_is_not_a_gap() -> None:
    late = [*steady(0, 30), Arrival(samples(35), samples(5)), *steady(35, 70)]
    assert gaps(run_session(GapLedger(1, T0), late)) == []


def test_the_next_sample_of_a_fast_source_lies_in_the_future() -> None:
    session, source = Session(GapLedger(1, T0), WINDOW, samples(1)), Source()
    assert session.lead(T0) == 0
    session.feed(T0 + samples(1), source.give(samples(1.1)))
    assert session.is_live
    assert session.lead(T0 + samples(1)) == 0
    session.feed(T0 + samples(1), source.give(samples(3)))
    assert session.lead(T0 + samples(1)) == samples(3)
    assert session.lead(T0 + samples(5)) == -samples(1)


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
