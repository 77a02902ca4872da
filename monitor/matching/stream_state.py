"""The state of one stream: accounts for every record and matches the audio. Writes nothing.

Contiguous windows of a batch are matched as one run, so that a worker that catches up runs many times faster than
real time. The result does not depend on how the records are divided into batches.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ingest.bus.port import Delivery
from ingest.wire import Gap, GapReason, Window
from monitor.core.segmenter import Segmenter
from monitor.core.tracking.play import Play
from monitor.core.tracking.tracker import expire
from monitor.coverage.ledger import BatchLedger
from monitor.detect.detector import DetectorInfo
from monitor.matching.matcher import Matcher, Memory
from monitor.storage.records import Interval, Progress


def _never(_: Delivery) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch. It takes effect only when the worker writes it.

    skipped: samples that were too late to be matched. fenced: records of a reader whose lease on the stream had ended.
    """

    state: StreamState
    progress: Progress
    coverage: tuple[Interval, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    windows: int
    skipped: int = 0
    fenced: int = 0


@dataclass(frozen=True, slots=True)
class WindowRun:
    """Deliveries that are processed together: contiguous windows of a session, or one record of another kind."""

    deliveries: tuple[Delivery, ...]
    is_new: bool
    is_skipped: bool = False

    def is_contiguous_with(self, other: WindowRun) -> bool:
        """Whether the other run's first window directly follows our last one."""
        last, first = self.deliveries[-1].record, other.deliveries[0].record
        return (
            isinstance(last, Window)
            and isinstance(first, Window)
            and (last.session_id, last.end, last.anchor) == (first.session_id, first.start, first.anchor)
            and (self.is_new, self.is_skipped) == (other.is_new, other.is_skipped)
        )


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream's memory between batches. Immutable: processing a batch returns the next state.

    offsets: (offset, end) of each record that the memory was built from. epoch: the highest one processed so far.
    """

    name: str
    matcher: Matcher
    progress: Progress | None
    memory: Memory
    session: uuid.UUID | None = None
    segmenter: Segmenter = field(default_factory=Segmenter)
    offsets: tuple[tuple[int, int], ...] = ()
    epoch: int = 0

    @property
    def detector(self) -> DetectorInfo:
        return self.matcher.detector.info

    def refreshed(self, progress: Progress | None, plays: Memory) -> StreamState:
        """The state after another worker has written: keeps the recent segments, takes the rest as stored."""
        return replace(self, progress=progress, memory=replace(plays, recent=self.memory.recent))

    async def process(
        self, deliveries: Sequence[Delivery], is_late: Callable[[Delivery], bool] = _never
    ) -> BatchResult:
        """Processes a batch. Records that end before the stored position only restore the memory.

        New windows for which `is_late` is true are not matched but accounted as lost.

        Raises:
            ValueError: the batch has no records.
        """
        if not deliveries:
            raise ValueError("a batch without records has no result")
        ledger = BatchLedger(*((self.progress.position, self.progress.epoch) if self.progress else (None, 0)))
        state, progress = replace(self, segmenter=copy.copy(self.segmenter)), self.progress
        for run in self._runs(deliveries, ledger, is_late):
            state = await state._process_run(run, ledger)
            if run.is_new and ledger.position is not None:
                newest = run.deliveries[-1]
                replay_offset = state.offsets[0][0] if state.offsets else newest.offset + 1
                progress = Progress(ledger.position, newest.partition, newest.offset, replay_offset, ledger.epoch)
        if progress is None:
            raise ValueError("the first record of a stream is always new")
        return BatchResult(
            state=replace(state, progress=progress),
            progress=progress,
            coverage=tuple(ledger.coverage),
            opened=tuple(ledger.opened.values()),
            closed=tuple(ledger.closed.values()),
            windows=ledger.windows,
            skipped=ledger.skipped,
            fenced=ledger.fenced,
        )

    def _runs(
        self, deliveries: Sequence[Delivery], ledger: BatchLedger, is_late: Callable[[Delivery], bool]
    ) -> Iterator[WindowRun]:
        """The records to process, in as few runs as possible. Process each run before asking for the next one."""
        run, seen = None, self.epoch
        for delivery in deliveries:
            record = delivery.record
            if run is not None and not (isinstance(record, Window) and run.deliveries[-1].record.end == record.start):
                yield run
                run = None
            is_new = ledger.is_new(record)
            if record.epoch < (max(seen, ledger.epoch) if is_new else seen):
                ledger.fenced += is_new
                continue
            seen = max(seen, record.epoch)
            if not is_new and (self._is_before_memory(delivery) or self._is_in_memory(delivery)):
                continue
            late = is_new and isinstance(record, Window) and is_late(delivery)
            alone = WindowRun((delivery,), is_new, late)
            if run is not None and run.is_contiguous_with(alone):
                run = replace(run, deliveries=(*run.deliveries, delivery))
                continue
            if run is not None:
                yield run
            run = alone
        if run is not None:
            yield run

    def _is_before_memory(self, delivery: Delivery) -> bool:
        """Whether a record lies before those that the memory was built from."""
        progress = self.progress
        return (
            progress is not None
            and delivery.partition == progress.partition
            and delivery.offset < progress.replay_offset
        )

    def _is_in_memory(self, delivery: Delivery) -> bool:
        """Whether a record is in memory already: one that is read again although its partition stayed with us."""
        progress, offsets = self.progress, self.offsets
        is_ours = progress is not None and delivery.partition == progress.partition
        return is_ours and bool(offsets) and delivery.offset <= offsets[-1][0]

    async def _process_run(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        record = run.deliveries[-1].record
        if run.is_new:
            ledger.epoch = max(ledger.epoch, record.epoch)
        if run.is_skipped:
            state = self._skip(run, ledger)
        elif isinstance(record, Window):
            state = (await self._match(run, ledger))._with_offsets(run)
        elif run.is_new:
            state = self._account_gap(record, ledger)._with_offsets(run)
        else:
            state = self._with_offsets(run)
        return replace(state, epoch=max(self.epoch, record.epoch))

    def close_plays(self) -> BatchResult:
        """Closes all open plays, for a monitor that stops; the position stays.

        Raises:
            ValueError: the stream has no stored position yet.
        """
        if self.progress is None:
            raise ValueError("a stream without a stored position has no plays to close")
        state = replace(self, memory=replace(self.memory, open=()))
        return BatchResult(state, self.progress, (), (), self.memory.open, 0)

    async def _match(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        """Matches a run of windows; audio that was decided on before only restores the memory."""
        windows = [each.record for each in run.deliveries if isinstance(each.record, Window)]
        window, end, segmenter = windows[0], windows[-1].end, self.segmenter
        if window.session_id != self.session or segmenter.next_sample != window.first_sample:
            segmenter = Segmenter(window.first_sample)
        first, pcm = segmenter.feed(np.concatenate([np.frombuffer(each.pcm, "<i2") for each in windows]))
        start, memory = window.anchor + first, self.memory
        if not run.is_new:
            memory = await self.matcher.replay(memory, start, pcm)
        else:
            if ledger.position is not None and window.start > ledger.position:  # lost audio is a gap, too
                memory = self._close_expired(memory, window.start, ledger)
            memory, update = await self.matcher.match(memory, start, pcm, self.name, window.anchor)
            ledger.opened.update({play.id: play for play in update.opened})
            ledger.closed.update({play.id: play for play in update.closed})
            ledger.account(window.start, end, None)
            ledger.windows += len(windows)
        return replace(self, session=window.session_id, segmenter=segmenter, memory=memory)

    def _skip(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        """Accounts a run as lost and forgets the recent segments: no play and no replay may cross what was skipped."""
        start, end = run.deliveries[0].record.start, run.deliveries[-1].record.end
        before = start if ledger.position is None else ledger.position
        ledger.account(start, end, GapReason.LOST.value)
        ledger.skipped += end - max(start, before)
        memory = replace(self._close_expired(self.memory, end, ledger), recent=())
        return replace(self, session=None, segmenter=Segmenter(), memory=memory, offsets=())

    def _account_gap(self, gap: Gap, ledger: BatchLedger) -> StreamState:
        ledger.account(gap.start, gap.end, gap.reason.value)
        return replace(self, memory=self._close_expired(self.memory, gap.end, ledger))

    def _close_expired(self, memory: Memory, gap_end: int, ledger: BatchLedger) -> Memory:
        """The memory without the plays that a gap up to this stream clock value has ended."""
        open_plays, closed = expire(memory.open, gap_end, self.matcher.thresholds)
        ledger.closed.update({play.id: play for play in closed})
        return replace(memory, open=open_plays, ended=(*memory.ended, *closed))

    def _with_offsets(self, run: WindowRun) -> StreamState:
        """The state with a run's offsets, and without those of records that have left the memory."""
        end = run.deliveries[-1].record.end
        offsets = (*self.offsets, *((each.offset, each.record.end) for each in run.deliveries))
        return replace(self, offsets=tuple(one for one in offsets if one[1] > end - self.matcher.memory_samples))
