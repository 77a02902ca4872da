"""Finds where a session's samples lie in time, and notices audio that the source lost. Pure."""

from __future__ import annotations

from collections import deque

from ingest import timeline

# The burst is over when, for this long, no more came in than a live source sends: longer than a burst's own pauses on
# a usual network, short enough not to be noticed.
SETTLE = timeline.samples(0.5)
LIVE_RATE = 1.5  # times real time; a burst comes at many times, a live source with jitter stays below

# A lag is for good when even its least value in this time is above MAX_LAG: HLS comes in lumps of up to 12 s.
LAG_WATCH = timeline.samples(20)
MAX_LAG = timeline.samples(2)


class LiveEdge:
    """Finds the stream clock of a session's sample 0.

    Servers send up to 40 s of past audio on connect, as fast as it goes. No sample can come in before it sounded, so
    each arrival bounds the anchor from above; the least bound, once the burst is over, is the anchor.
    """

    def __init__(self, max_burst: int) -> None:
        """`burst_most`: past audio beyond which a source is taken as it comes."""
        self.value: int | None = None
        self._max_burst = max_burst
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
        if settled or received > self._max_burst:
            self.settle()

    def settle(self) -> None:
        """No more will come: what is known must do."""
        if self.value is None:
            self.value = self._bound


class LostAudioDetector:
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
        minimum = self._lows[0][1]
        return minimum if now - self._since >= LAG_WATCH and minimum > MAX_LAG else 0
