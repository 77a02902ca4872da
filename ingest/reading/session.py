"""One connection to a stream: PCM in, windows and gaps out. Pure: `now` is always an argument.

    LiveEdge           finds when the session's sample 0 sounded, despite the burst of past audio
    LostAudioDetector  detects that the source lost audio without breaking the connection
    GapLedger          one stream: how far its time is accounted for, and why the rest is missing
    Session            one connection: windows and gaps that tile the timeline without overlap or hole

All instants are stream clock values (`ingest.timeline`), all durations are samples.
"""

from __future__ import annotations

import uuid

from ingest.reading.gap_ledger import GapLedger
from ingest.reading.live_edge import LiveEdge, LostAudioDetector
from ingest.wire import BYTES_PER_SAMPLE, GapReason, Record, Window


class Session:
    """The audio of one connection. After lost audio it continues as a new session, with a new id and anchor.

    received: samples that came in. lost: samples that the source lost without breaking the connection.
    """

    def __init__(self, ledger: GapLedger, window: int, max_burst: int) -> None:
        """`window`: length of a window in samples. `max_burst`: see `LiveEdge`."""
        self.received = 0
        self.lost = 0
        self._ledger = ledger
        self._window_bytes = window * BYTES_PER_SAMPLE
        self._live_edge = LiveEdge(max_burst)
        self._lost_audio = LostAudioDetector()
        self._id = uuid.uuid4()
        self._sequence = 0
        self._first = 0  # number, within the session, of the first sample in `_pending`
        self._pending = bytearray()

    @property
    def is_live(self) -> bool:
        """Whether the live edge has been found: nothing is published before."""
        return self._live_edge.value is not None

    @property
    def missing(self) -> int:
        """How many samples the next window still needs."""
        return max(0, (self._window_bytes - len(self._pending)) // BYTES_PER_SAMPLE)

    def lead(self, now: int) -> int:
        """How many samples the next one lies ahead of `now` (negative: behind); 0 before the live edge is found."""
        return 0 if self._live_edge.value is None else self._end(self._live_edge.value) - now

    def feed(self, now: int, pcm: bytes) -> list[Record]:
        """Takes PCM in whole samples (s16le, mono), or b"" as time passes; returns the records that are due."""
        self._pending += pcm
        self.received += len(pcm) // BYTES_PER_SAMPLE
        self._live_edge.feed(now, self.received)
        anchor = self._live_edge.value
        if anchor is None:
            return []
        records = self._cut(anchor)
        if pcm and (lost := self._lost_audio.feed(now, now - self._end(anchor))):
            records += self._restart(anchor, lost)
        return records

    def flush(self) -> list[Record]:
        """Ends the session: returns the rest, its last window a shorter one."""
        self._live_edge.settle()
        anchor = self._live_edge.value
        if anchor is None:
            return []
        return [*self._cut(anchor), *self._take(anchor, len(self._pending))]

    def _end(self, anchor: int) -> int:
        return anchor + self._first + len(self._pending) // BYTES_PER_SAMPLE

    def _cut(self, anchor: int) -> list[Record]:
        """The complete windows, after the gap that they end; audio already accounted for is skipped."""
        accounted = self._ledger.heard_until - (anchor + self._first)
        if accounted > 0:
            self._skip(min(accounted * BYTES_PER_SAMPLE, len(self._pending)))
        records: list[Record] = []
        if self._pending:
            records += self._ledger.gaps(anchor + self._first)
        while len(self._pending) >= self._window_bytes:
            records += self._take(anchor, self._window_bytes)
        return records

    def _take(self, anchor: int, n_bytes: int) -> list[Record]:
        if n_bytes == 0:
            return []
        pcm = bytes(self._pending[:n_bytes])
        window = Window(self._ledger.stream_id, self._id, self._sequence, anchor, self._first, pcm)
        self._sequence += 1
        self._skip(n_bytes)
        self._ledger.heard(window.end)
        return [window]

    def _skip(self, n_bytes: int) -> None:
        del self._pending[:n_bytes]
        self._first += n_bytes // BYTES_PER_SAMPLE

    def _restart(self, anchor: int, lost: int) -> list[Record]:
        """Starts a new session whose next sample lies `lost` samples later; the hole becomes a gap."""
        records = self._take(anchor, len(self._pending))
        self._ledger.open_gap(self._ledger.heard_until, GapReason.STALLED)
        self._live_edge.value = anchor + self._first + lost
        self.lost += lost
        self._lost_audio = LostAudioDetector()
        self._id = uuid.uuid4()
        self._sequence = self._first = 0
        return records
