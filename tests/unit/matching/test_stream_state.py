"""The state of a stream accounts for every sample, replays silently, and does not depend on the batches."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.bus.port import Delivery
from ingest.wire import Gap, GapReason, Record, Window
from monitor.core.segments import HOP_SAMPLES, SAMPLE_RATE_HZ, Segment, count_segments
from monitor.core.tracking.tracker import TrackerUpdate
from monitor.detect.detector import DetectorInfo
from monitor.detect.fingerprint import NeuralDetector
from monitor.matching.matcher import Memory
from monitor.matching.stream_state import StreamState
from monitor.storage.records import Interval, Progress

ANCHOR = 1_700_000_000 * SAMPLE_RATE_HZ
SECOND = SAMPLE_RATE_HZ


class _NoMatches:
    """Stands in for the matcher: keeps segments, decides nothing, and records its calls."""

    memory_samples = 60 * SAMPLE_RATE_HZ
    thresholds = NeuralDetector.thresholds

    class detector:
        info = DetectorInfo("fingerprint", "none", "0", 1)

    def __init__(self) -> None:
        self.decided: list[int] = []
        self.replayed: list[int] = []
        self.origins: set[int] = set()

    async def match(
        self, memory: Memory, start: int, pcm: NDArray[np.int16], name: str, origin: int
    ) -> tuple[Memory, TrackerUpdate]:
        self.origins.add(origin)
        starts = [start + i * HOP_SAMPLES for i in range(count_segments(len(pcm)))]
        self.decided += starts
        return self._grown(memory, starts), TrackerUpdate(memory.open, memory.ended, (), (), {})

    async def replay(self, memory: Memory, start: int, pcm: NDArray[np.int16]) -> Memory:
        starts = [start + i * HOP_SAMPLES for i in range(count_segments(len(pcm)))]
        self.replayed += starts
        return self._grown(memory, starts)

    def _grown(self, memory: Memory, starts: Sequence[int]) -> Memory:
        return replace(memory, recent=(*memory.recent, *(Segment(start, None) for start in starts)))


def _state(matcher: _NoMatches, progress: Progress | None = None) -> StreamState:
    return StreamState("1", matcher, progress, Memory())  # type: ignore[arg-type]


def _windows(lengths: Sequence[int], session: int = 0, anchor: int = ANCHOR) -> list[Record]:
    records: list[Record] = []
    first = 0
    for sequence, length in enumerate(lengths):
        pcm = b"\x01\x00" * length
        records.append(Window(1, uuid.UUID(int=session), sequence, anchor, first, pcm))
        first += length
    return records


def _deliveries(records: Sequence[Record], first_offset: int = 0) -> list[Delivery]:
    return [Delivery(0, first_offset + i, record) for i, record in enumerate(records)]


def _process(state: StreamState, records: Sequence[Record], first_offset: int = 0):  # type: ignore[no-untyped-def]
    return asyncio.run(state.process(_deliveries(records, first_offset)))


def test_windows_are_covered_from_their_first_to_their_last_sample() -> None:
    result = _process(_state(_NoMatches()), _windows([2 * SECOND] * 3))
    assert result.coverage == (Interval(ANCHOR, ANCHOR + 6 * SECOND),)
    assert result.progress == Progress(ANCHOR + 6 * SECOND, 0, 2, 0)
    assert result.windows == 3


def test_missing_windows_are_a_gap_of_lost_audio() -> None:
    first, _, third = _windows([2 * SECOND] * 3)
    result = _process(_state(_NoMatches()), [first, third])
    assert result.coverage == (
        Interval(ANCHOR, ANCHOR + 2 * SECOND),
        Interval(ANCHOR + 2 * SECOND, ANCHOR + 4 * SECOND, GapReason.LOST),
        Interval(ANCHOR + 4 * SECOND, ANCHOR + 6 * SECOND),
    )


def test_gaps_are_accounted_with_their_reason_and_merged() -> None:
    gaps = [Gap(1, ANCHOR + i * SECOND, ANCHOR + (i + 1) * SECOND, GapReason.STALLED) for i in range(3)]
    result = _process(_state(_NoMatches()), gaps)
    assert result.coverage == (Interval(ANCHOR, ANCHOR + 3 * SECOND, "stalled"),)


def test_segments_continue_across_window_boundaries() -> None:
    matcher = _NoMatches()
    _process(_state(matcher), _windows([SECOND // 3] * 12))
    assert matcher.decided == [ANCHOR + i * HOP_SAMPLES for i in range(count_segments(12 * (SECOND // 3)))]


def test_a_new_session_starts_new_segments() -> None:
    matcher = _NoMatches()
    later = ANCHOR + 2 * SECOND
    _process(_state(matcher), _windows([SECOND + 100]) + _windows([SECOND + 100], session=1, anchor=later))
    assert matcher.decided == [ANCHOR, later]


def test_replayed_records_restore_the_memory_and_change_nothing() -> None:
    records = _windows([2 * SECOND] * 4)
    before = _process(_state(_NoMatches()), records[:3])
    matcher = _NoMatches()
    again = _process(_state(matcher, before.progress), records[:3])
    assert (again.progress, again.coverage, again.windows) == (before.progress, (), 0)
    assert matcher.decided == []
    onward = _process(again.state, records[3:], first_offset=3)
    assert onward.coverage == (Interval(ANCHOR + 6 * SECOND, ANCHOR + 8 * SECOND),)
    assert matcher.decided[0] == ANCHOR + 5 * SECOND + HOP_SAMPLES


def test_a_replay_starts_at_the_first_record_of_the_last_minute() -> None:
    result = _process(_state(_NoMatches()), _windows([2 * SECOND] * 60))
    assert result.progress.replay_offset == 60 - 30


def test_processing_a_batch_does_not_change_the_old_state() -> None:
    state = _process(_state(_NoMatches()), _windows([SECOND + 77])).state
    more = _windows([SECOND + 77] * 2)[1:]
    assert _process(state, more, 1).coverage == _process(state, more, 1).coverage
    assert _process(state, more, 1).state.memory == _process(state, more, 1).state.memory


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3 * SECOND), st.booleans()), min_size=1, max_size=10),
    st.lists(st.integers(0, 10), max_size=5),
)
def test_every_sample_is_accounted_once_whatever_the_batches(pieces: list[tuple[int, bool]], cuts: list[int]) -> None:
    records: list[Record] = []
    clock, session, first = ANCHOR, 0, 0
    for sequence, (length, is_gap) in enumerate(pieces):
        if is_gap:
            records.append(Gap(1, clock, clock + length, GapReason.CONNECTING))
            session, first = session + 1, 0
        else:
            records.append(Window(1, uuid.UUID(int=session), sequence, clock - first, first, b"\x01\x00" * length))
            first += length
        clock += length
    whole = _NoMatches()
    expected = _process(_state(whole), records)
    parted, state, booked = _NoMatches(), _state(_NoMatches()), []
    state = replace(state, matcher=parted)  # type: ignore[arg-type]
    edges = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    for begin, end in itertools.pairwise(edges):
        if begin < end:
            result = _process(state, records[begin:end], begin)
            state, booked = result.state, booked + list(result.coverage)
    assert sum(interval.ends - interval.starts for interval in booked) == clock - ANCHOR
    assert all(one.ends == two.starts for one, two in itertools.pairwise(booked))
    assert parted.decided == whole.decided
    assert state.progress == expected.progress


def test_contiguous_windows_of_a_batch_are_matched_together() -> None:
    class Counting(_NoMatches):
        calls = 0

        async def match(self, *arguments):  # type: ignore[no-untyped-def]
            self.calls += 1
            return await super().match(*arguments)

    matcher = Counting()
    later = ANCHOR + 8 * SECOND
    result = _process(_state(matcher), _windows([2 * SECOND] * 4) + _windows([2 * SECOND] * 2, 1, later))
    assert (matcher.calls, result.windows) == (2, 6)
    assert matcher.origins == {ANCHOR, later}


def test_late_windows_are_accounted_as_lost_and_never_replayed() -> None:
    records = _windows([2 * SECOND] * 6)
    matcher = _NoMatches()
    late = {2, 3}
    result = asyncio.run(_state(matcher).process(_deliveries(records), lambda delivery: delivery.offset in late))
    assert result.coverage == (
        Interval(ANCHOR, ANCHOR + 4 * SECOND),
        Interval(ANCHOR + 4 * SECOND, ANCHOR + 8 * SECOND, GapReason.LOST),
        Interval(ANCHOR + 8 * SECOND, ANCHOR + 12 * SECOND),
    )
    assert (result.skipped, result.windows) == (4 * SECOND, 4)
    assert not any(ANCHOR + 4 * SECOND <= start < ANCHOR + 8 * SECOND for start in matcher.decided)
    assert result.progress.replay_offset == 4
    again = _NoMatches()
    replayed = _process(_state(again, result.progress), records)
    assert replayed.state.memory.recent == result.state.memory.recent
    assert replayed.state.offsets == result.state.offsets


def test_recent_segments_stay_when_another_worker_has_written() -> None:
    """Otherwise an earlier play would be found later, or not at all, from the rest of it."""
    records = _windows([2 * SECOND] * 6)
    heard = _process(_state(_NoMatches()), records[:3]).state
    theirs = _process(_state(_NoMatches()), records[:5]).progress
    refreshed = heard.refreshed(theirs, Memory())
    matcher = _NoMatches()
    result = _process(replace(refreshed, matcher=matcher), records[3:], 3)
    undisturbed = _process(_state(_NoMatches()), records)
    assert result.coverage == (Interval(ANCHOR + 10 * SECOND, ANCHOR + 12 * SECOND),)
    assert result.state.memory == undisturbed.state.memory
    assert result.progress == undisturbed.progress
    assert min(matcher.decided) > ANCHOR + 8 * SECOND


def test_records_that_are_in_memory_already_change_nothing() -> None:
    records = _windows([SECOND // 3] * 12)
    heard = _process(_state(_NoMatches()), records[:8])
    again = _process(heard.state, records[5:8], 5)
    assert (again.state.memory, again.state.offsets) == (heard.state.memory, heard.state.offsets)
    whole, parted = _NoMatches(), _NoMatches()
    _process(_state(whole), records)
    _process(replace(again.state, matcher=parted), records[8:], 8)
    assert parted.decided == whole.decided[-len(parted.decided) :]
    assert parted.decided[0] == whole.decided[len(heard.state.memory.recent)]
