"""One stream's listening: accounts for every record, and matches the audio. Writes nothing.

Contiguous windows of a batch are heard as one run: a worker that catches up is many times as fast as the air. How a
batch is cut changes nothing.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ingest.bus.port import Delivery
from ingest.wire import Gap, GapReason, Window
from monitor.core.play import Play
from monitor.core.segmenter import Segmenter
from monitor.core.tracker import expire
from monitor.coverage.ledger import BatchLedger
from monitor.detect.detector import DetectorInfo
from monitor.matching.matcher import Matcher, Memory
from monitor.storage.records import Interval, Progress


def _never(_: Delivery) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch came to; nothing of it has happened until it is written.

    skipped: samples that were too late to be matched. fenced: records of a reader whose claim on the stream had ended.
    """

    listener: StreamState
    progress: Progress
    coverage: tuple[Interval, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    windows: int
    skipped: int = 0
    fenced: int = 0


@dataclass(frozen=True, slots=True)
class WindowRun:
    """Deliveries that are heard at once: contiguous windows of a session, or a single record of another kind."""

    deliveries: tuple[Delivery, ...]
    is_new: bool
    is_skipped: bool = False

    def is_contiguous_with(self, other: WindowRun) -> bool:
        """Whether another run's first window is the next behind our last."""
        last, first = self.deliveries[-1].record, other.deliveries[0].record
        return (
            isinstance(last, Window)
            and isinstance(first, Window)
            and (last.session_id, last.end, last.anchor) == (first.session_id, first.start, first.anchor)
            and (self.is_new, self.is_skipped) == (other.is_new, other.is_skipped)
        )


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream's memory between batches: a value; hearing a batch gives the next one."""

    name: str
    matcher: Matcher
    progress: Progress | None
    memory: Memory
    session: uuid.UUID | None = None
    cutter: Segmenter = field(default_factory=Segmenter)
    marks: tuple[tuple[int, int], ...] = ()  # (offset, end) of the records that the memory is made of
    epoch: int = 0  # the newest among the records that were heard or remembered

    @classmethod
    def recalled(cls, name: str, matcher: Matcher, progress: Progress | None, plays: Memory) -> StreamState:
        """A listener with the plays that are stored; its recent audio comes back with the replayed records."""
        return cls(name, matcher, progress, plays)

    @property
    def detector(self) -> DetectorInfo:
        return self.matcher.detector.info

    def refreshed(self, progress: Progress | None, plays: Memory) -> StreamState:
        """The listener where another worker has written meanwhile: what was heard stays, the rest is as stored."""
        return replace(self, progress=progress, memory=replace(plays, recent=self.memory.recent))

    async def hear(self, deliveries: Sequence[Delivery], is_late: Callable[[Delivery], bool] = _never) -> BatchResult:
        """Takes a batch in. Records that end before the stored position are only remembered.

        What `is_late` says of new windows is not matched but booked as lost.
        """
        if not deliveries:
            raise ValueError("a batch without records has no outcome")
        ledger = BatchLedger(*((self.progress.position, self.progress.epoch) if self.progress else (None, 0)))
        listener, last = replace(self, cutter=copy.copy(self.cutter)), self.progress
        for run in self._runs(deliveries, ledger, is_late):
            listener = await listener._take(run, ledger)
            if run.is_new and ledger.position is not None:
                newest = run.deliveries[-1]
                replay_offset = listener.marks[0][0] if listener.marks else newest.offset + 1
                last = Progress(ledger.position, newest.partition, newest.offset, replay_offset, ledger.epoch)
        if last is None:
            raise ValueError("the first record of a stream is always new")
        return BatchResult(
            listener=replace(listener, progress=last),
            progress=last,
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
        """What of the batch is to be heard, in as few runs as possible; each must be taken before the next is asked."""
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
            if not is_new and (self._is_forgotten(delivery) or self._is_remembered(delivery)):
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

    def _is_forgotten(self, delivery: Delivery) -> bool:
        """Whether a record lies before what the memory was made of when it was left."""
        progress = self.progress
        return (
            progress is not None
            and delivery.partition == progress.partition
            and delivery.offset < progress.replay_offset
        )

    def _is_remembered(self, delivery: Delivery) -> bool:
        """Whether a record is in memory already, as it comes again although nobody else has had its partition."""
        progress, marks = self.progress, self.marks
        is_ours = progress is not None and delivery.partition == progress.partition
        return is_ours and bool(marks) and delivery.offset <= marks[-1][0]

    async def _take(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        record = run.deliveries[-1].record
        if run.is_new:
            ledger.epoch = max(ledger.epoch, record.epoch)
        if run.is_skipped:
            listener = self._skipped(run, ledger)
        elif isinstance(record, Window):
            listener = (await self._windows(run, ledger))._marked(run)
        elif run.is_new:
            listener = self._gap(record, ledger)._marked(run)
        else:
            listener = self._marked(run)
        return replace(listener, epoch=max(self.epoch, record.epoch))

    def stopped(self) -> BatchResult:
        """All plays closed, for a monitor that stops; the position stays."""
        if self.progress is None:
            raise ValueError("a stream that was never heard has nothing to stop")
        listener = replace(self, memory=replace(self.memory, open=()))
        return BatchResult(listener, self.progress, (), (), self.memory.open, 0)

    async def _windows(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        """A run of audio; what was decided on before only comes back to memory."""
        windows = [each.record for each in run.deliveries if isinstance(each.record, Window)]
        window, end, cutter = windows[0], windows[-1].end, self.cutter
        if window.session_id != self.session or cutter.next_sample != window.first_sample:
            cutter = Segmenter(window.first_sample)
        first, pcm = cutter.feed(np.concatenate([np.frombuffer(each.pcm, "<i2") for each in windows]))
        start, memory = window.anchor + first, self.memory
        if not run.is_new:
            memory = await self.matcher.remember(memory, start, pcm)
        else:
            if ledger.position is not None and window.start > ledger.position:  # what was lost is a gap too
                memory = self._expired(memory, window.start, ledger)
            memory, step = await self.matcher.match(memory, start, pcm, self.name)
            ledger.opened.update({play.id: play for play in step.opened})
            ledger.closed.update({play.id: play for play in step.closed})
            ledger.account(window.start, end, None)
            ledger.windows += len(windows)
        return replace(self, session=window.session_id, cutter=cutter, memory=memory)

    def _skipped(self, run: WindowRun, ledger: BatchLedger) -> StreamState:
        """Without what was heard before: no play may reach over what was not listened to, nor a replay go there."""
        start, end = run.deliveries[0].record.start, run.deliveries[-1].record.end
        before = start if ledger.position is None else ledger.position
        ledger.account(start, end, GapReason.LOST.value)
        ledger.skipped += end - max(start, before)
        memory = replace(self._expired(self.memory, end, ledger), recent=())
        return replace(self, session=None, cutter=Segmenter(), memory=memory, marks=())

    def _gap(self, gap: Gap, ledger: BatchLedger) -> StreamState:
        ledger.account(gap.start, gap.end, gap.reason.value)
        return replace(self, memory=self._expired(self.memory, gap.end, ledger))

    def _expired(self, memory: Memory, heard_until: int, ledger: BatchLedger) -> Memory:
        """The memory without the plays that a gap up to here has ended."""
        kept, closed = expire(memory.open, heard_until, self.matcher.thresholds)
        ledger.closed.update({play.id: play for play in closed})
        return replace(memory, open=kept, ended=(*memory.ended, *closed))

    def _marked(self, run: WindowRun) -> StreamState:
        end = run.deliveries[-1].record.end
        marks = (*self.marks, *((each.offset, each.record.end) for each in run.deliveries))
        return replace(self, marks=tuple(mark for mark in marks if mark[1] > end - self.matcher.memory_samples))
