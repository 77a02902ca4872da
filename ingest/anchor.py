"""Where a stream's samples lie in time: anchors, lags, gaps, windows. Pure: `now` is always an argument.

    Anchor   finds when a session's sample 0 sounded, behind the burst of past audio
    Lag      notices that a source lost audio without breaking the connection
    Ledger   one stream: up to where its time is accounted for, and why what follows was not heard
    Session  one connection: PCM in, windows and gaps out, which tile the time line without overlap or hole

All instants are stream clock values (`ingest.timeline`), all durations samples.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from ingest import timeline
from ingest.wire import BYTES_PER_SAMPLE, Gap, GapReason, Record, Window

# The burst is over when, for this long, no more came in than a live source sends: longer than a burst's own pauses on
# a usual network, short enough not to be noticed.
SETTLE = timeline.samples(0.5)
LIVE_RATE = 1.5  # times real time; a burst comes at many times, a live source with jitter stays below

# A lag is for good when even its least value in this time is above LAG_MOST: HLS comes in lumps of up to 12 s.
LAG_WATCH = timeline.samples(20)
LAG_MOST = timeline.samples(2)

# A gap in progress grows in steps of this: often enough for the live page, rare enough for the ledger.
GAP_STEP = timeline.samples(5)


class Anchor:
    """Finds the stream clock of a session's sample 0.

    Servers send up to 40 s of past audio on connect, as fast as it goes. No sample can come in before it sounded, so
    each arrival bounds the anchor from above; the least bound, once the burst is over, is the anchor.
    """

    def __init__(self, burst_most: int) -> None:
        """`burst_most`: past audio beyond which a source is taken as it comes."""
        self.value: int | None = None
        self._burst_most = burst_most
        self._bound: int | None = None
        self._marks: deque[tuple[int, int]] = deque()

    def feed(self, now: int, received: int) -> None:
        """How much has come in so far; to be told a few times a second, also while nothing comes."""
        if received == 0 or self.value is not None:
            return
        self._bound = now - received if self._bound is None else min(self._bound, now - received)
        self._marks.append((now, received))
        while len(self._marks) > 1 and self._marks[1][0] <= now - SETTLE:
            self._marks.popleft()
        since, before = self._marks[0]
        settled = now - since >= SETTLE and received - before < LIVE_RATE * (now - since)
        if settled or received > self._burst_most:
            self.settle()

    def settle(self) -> None:
        """No more will come: what is known must do."""
        if self.value is None:
            self.value = self._bound


class Lag:
    """Watches how far a session's clock lies behind the present."""

    def __init__(self) -> None:
        self._since: int | None = None
        self._lows: deque[tuple[int, int]] = deque()  # (now, lag), rising: the first is the least of the watched time

    def feed(self, now: int, lag: int) -> int:
        """What the source lost for good; 0 while all is well."""
        if self._since is None:
            self._since = now
        while self._lows and self._lows[-1][1] >= lag:
            self._lows.pop()
        self._lows.append((now, lag))
        while self._lows[0][0] < now - LAG_WATCH:
            self._lows.popleft()
        least = self._lows[0][1]
        return least if now - self._since >= LAG_WATCH and least > LAG_MOST else 0


class Ledger:
    """Up to where one stream's time is accounted for by windows and gaps."""

    def __init__(self, stream_id: int, heard_until: int) -> None:
        self.stream_id = stream_id
        self.heard_until = heard_until
        self._reasons: list[tuple[int, GapReason]] = []  # since when it was not heard for which reason

    def lost(self, since: int, reason: GapReason) -> None:
        """From `since` on, and until told otherwise, the stream is not heard for this reason."""
        since = max(since, self.heard_until)
        self._reasons = [entry for entry in self._reasons if entry[0] < since]
        self._reasons.append((since, reason))

    def gaps(self, until: int) -> list[Gap]:
        """Accounts for the time up to `until` as not heard, one gap a reason."""
        gaps: list[Gap] = []
        while self.heard_until < until:
            reason, changes = self._reason()
            end = min(until, changes) if changes is not None else until
            if gaps and gaps[-1].reason is reason:
                gaps[-1] = Gap(self.stream_id, gaps[-1].start, end, reason)
            else:
                gaps.append(Gap(self.stream_id, self.heard_until, end, reason))
            self.heard_until = end
        self._reasons = [entry for entry, after in self._spans() if after is None or after > self.heard_until]
        return gaps

    def absent(self, until: int, reason: GapReason) -> list[Gap]:
        """Accounts for the time up to `until` as not heard for this one reason; what follows has its own."""
        self._reasons = [(self.heard_until, reason)]
        gaps = self.gaps(until)
        self._reasons.clear()
        return gaps

    def gaps_in_progress(self, until: int) -> list[Gap]:
        """The same, once it is worth a record."""
        return self.gaps(until) if until - self.heard_until >= GAP_STEP else []

    def heard(self, until: int) -> None:
        """Accounts for the time up to `until` as heard."""
        self.heard_until = until
        self._reasons.clear()

    def _reason(self) -> tuple[GapReason, int | None]:
        """Why it is not heard from `heard_until` on, and when that changes."""
        for (_, reason), until in self._spans():
            if until is None or until > self.heard_until:
                return reason, until
        return GapReason.CONNECTING, None

    def _spans(self) -> Iterator[tuple[tuple[int, GapReason], int | None]]:
        """Each reason with the moment at which the next one takes over."""
        for entry, after in pairwise([*self._reasons, None]):
            if entry is not None:
                yield entry, None if after is None else after[0]


class Session:
    """What one connection gives. A connection that lost audio goes on as a new session, with a new id and anchor."""

    def __init__(self, ledger: Ledger, window: int, burst_most: int) -> None:
        """`window`: the length of a window."""
        self.received = 0
        self.lost = 0  # by the source, without breaking the connection
        self._ledger = ledger
        self._window_bytes = window * BYTES_PER_SAMPLE
        self._finding = Anchor(burst_most)
        self._lag = Lag()
        self._id = uuid.uuid4()
        self._sequence = 0
        self._first = 0  # sample of the session that `_waiting` begins with
        self._waiting = bytearray()

    @property
    def is_live(self) -> bool:
        """Whether the live edge was found: until then nothing is published."""
        return self._finding.value is not None

    def ahead(self, now: int) -> int:
        """How far in the future the next sample lies; negative behind the present, 0 before the live edge was found."""
        return 0 if self._finding.value is None else self._end(self._finding.value) - now

    def hear(self, now: int, pcm: bytes) -> list[Record]:
        """Takes whole samples in; the records that are due. Without samples: time has passed."""
        self._waiting += pcm
        self.received += len(pcm) // BYTES_PER_SAMPLE
        self._finding.feed(now, self.received)
        anchor = self._finding.value
        if anchor is None:
            return []
        records = self._cut(anchor)
        if pcm and (lost := self._lag.feed(now, now - self._end(anchor))):
            records += self._restart(anchor, lost)
        return records

    def flush(self) -> list[Record]:
        """The rest, as a last and shorter window."""
        self._finding.settle()
        anchor = self._finding.value
        if anchor is None:
            return []
        return [*self._cut(anchor), *self._take(anchor, len(self._waiting))]

    def _end(self, anchor: int) -> int:
        return anchor + self._first + len(self._waiting) // BYTES_PER_SAMPLE

    def _cut(self, anchor: int) -> list[Record]:
        """The whole windows, without what was accounted for before, behind the gap that they end."""
        accounted = self._ledger.heard_until - (anchor + self._first)
        if accounted > 0:
            self._skip(min(accounted * BYTES_PER_SAMPLE, len(self._waiting)))
        records: list[Record] = []
        if self._waiting:
            records += self._ledger.gaps(anchor + self._first)
        while len(self._waiting) >= self._window_bytes:
            records += self._take(anchor, self._window_bytes)
        return records

    def _take(self, anchor: int, n_bytes: int) -> list[Record]:
        if n_bytes == 0:
            return []
        pcm = bytes(self._waiting[:n_bytes])
        window = Window(self._ledger.stream_id, self._id, self._sequence, anchor, self._first, pcm)
        self._sequence += 1
        self._skip(n_bytes)
        self._ledger.heard(window.end)
        return [window]

    def _skip(self, n_bytes: int) -> None:
        del self._waiting[:n_bytes]
        self._first += n_bytes // BYTES_PER_SAMPLE

    def _restart(self, anchor: int, lost: int) -> list[Record]:
        """The next sample sounds `lost` later than the clock says: the clock is set anew, the hole becomes a gap."""
        records = self._take(anchor, len(self._waiting))
        self._ledger.lost(self._ledger.heard_until, GapReason.STALLED)
        self._finding.value = anchor + self._first + lost
        self.lost += lost
        self._lag = Lag()
        self._id = uuid.uuid4()
        self._sequence = self._first = 0
        return records
