"""One stream's listening: accounts for every record, and matches the audio. Writes nothing."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ingest.bus import Delivery
from ingest.wire import Gap, GapReason, Window
from monitor.core.cutter import Cutter
from monitor.core.match import Play
from monitor.core.track import expire
from monitor.detect.detector import DetectorInfo
from monitor.pipeline.matcher import Matcher, Memory
from monitor.records import Interval, Progress


@dataclass(slots=True)
class Ledger:
    """What one batch adds to the coverage ledger and to the plays, while it is being heard."""

    position: int | None
    coverage: list[Interval] = field(default_factory=list)
    opened: dict[uuid.UUID, Play] = field(default_factory=dict)
    closed: dict[uuid.UUID, Play] = field(default_factory=dict)
    windows: int = 0

    def account(self, starts: int, ends: int, reason: str | None) -> None:
        """Books [starts, ends) behind what is booked; what is missing in between was lost."""
        if self.position is not None and starts > self.position:
            self._book(self.position, starts, GapReason.LOST)
        self._book(starts if self.position is None else max(starts, self.position), ends, reason)

    def _book(self, starts: int, ends: int, reason: str | None) -> None:
        if self.coverage and self.coverage[-1].ends == starts and self.coverage[-1].reason == reason:
            self.coverage[-1] = replace(self.coverage[-1], ends=ends)
        else:
            self.coverage.append(Interval(starts, ends, reason))
        self.position = ends


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch came to; nothing of it has happened until it is written."""

    listener: Listener
    progress: Progress
    coverage: tuple[Interval, ...]
    opened: tuple[Play, ...]
    closed: tuple[Play, ...]
    windows: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A stream's memory between batches: a value; hearing a batch gives the next one."""

    name: str
    matcher: Matcher
    progress: Progress | None
    memory: Memory
    session: uuid.UUID | None = None
    cutter: Cutter = field(default_factory=Cutter)
    marks: tuple[tuple[int, int], ...] = ()  # (offset, end) of the records that the memory is made of

    @classmethod
    def recalled(cls, name: str, matcher: Matcher, progress: Progress | None, plays: Memory) -> Listener:
        """A listener with the plays that are stored; its recent audio comes back with the replayed records."""
        return cls(name, matcher, progress, plays)

    @property
    def detector(self) -> DetectorInfo:
        return self.matcher.detector.info

    async def hear(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Takes a batch in. Records that end before the stored position are only remembered."""
        ledger = Ledger(self.progress.position if self.progress else None)
        listener = replace(self, cutter=copy.copy(self.cutter))
        last = self.progress
        for delivery in deliveries:
            record = delivery.record
            is_new = ledger.position is None or record.end > ledger.position
            if isinstance(record, Window):
                listener = await listener._window(record, ledger if is_new else None)
            elif is_new:
                listener = listener._gap(record, ledger)
            listener = listener._mark(delivery)
            if is_new and ledger.position is not None:
                last = Progress(ledger.position, delivery.partition, delivery.offset, listener.marks[0][0])
        if last is None:
            raise ValueError("a batch without records has no outcome")
        return Outcome(
            listener=replace(listener, progress=last),
            progress=last,
            coverage=tuple(ledger.coverage),
            opened=tuple(ledger.opened.values()),
            closed=tuple(ledger.closed.values()),
            windows=ledger.windows,
        )

    def stopped(self) -> Outcome:
        """All plays closed, for a monitor that stops; the position stays."""
        if self.progress is None:
            raise ValueError("a stream that was never heard has nothing to stop")
        listener = replace(self, memory=replace(self.memory, open=()))
        return Outcome(listener, self.progress, (), (), self.memory.open, 0)

    async def _window(self, window: Window, ledger: Ledger | None) -> Listener:
        """A window of audio; without a ledger it was decided on before and only comes back to memory."""
        cutter = self.cutter
        if window.session_id != self.session or cutter.next_sample != window.first_sample:
            cutter = Cutter(window.first_sample)
        first, pcm = cutter.feed(np.frombuffer(window.pcm, "<i2"))
        start, memory = window.anchor + first, self.memory
        if ledger is None:
            memory = await self.matcher.remember(memory, start, pcm)
        else:
            if ledger.position is not None and window.start > ledger.position:  # what was lost is a gap too
                memory = self._expired(memory, window.start, ledger)
            memory, step = await self.matcher.listen(memory, start, pcm, self.name)
            ledger.opened.update({play.id: play for play in step.opened})
            ledger.closed.update({play.id: play for play in step.closed})
            ledger.account(window.start, window.end, None)
            ledger.windows += 1
        return replace(self, session=window.session_id, cutter=cutter, memory=memory)

    def _gap(self, gap: Gap, ledger: Ledger) -> Listener:
        ledger.account(gap.start, gap.end, gap.reason.value)
        return replace(self, memory=self._expired(self.memory, gap.end, ledger))

    def _expired(self, memory: Memory, heard_until: int, ledger: Ledger) -> Memory:
        """The memory without the plays that a gap up to here has ended."""
        kept, closed = expire(memory.open, heard_until, self.matcher.thresholds)
        ledger.closed.update({play.id: play for play in closed})
        return replace(memory, open=kept, ended=(*memory.ended, *closed))

    def _mark(self, delivery: Delivery) -> Listener:
        end = delivery.record.end
        kept = tuple(mark for mark in self.marks if mark[1] > end - self.matcher.memory_samples)
        return replace(self, marks=(*kept, (delivery.offset, end)))
