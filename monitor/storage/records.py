"""What is stored and read back: rows as frozen values, apart from how PostgreSQL keeps them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from monitor.core.play import Play
from monitor.core.segments import SAMPLE_RATE_HZ, grid
from monitor.detect.detector import DetectorInfo


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about a recording besides its sound. `source` is the path or name that it came from.

    territories: ISO 3166-1 codes, none for everywhere. own_id: what its owner calls it. fields: whatever else.
    """

    title: str
    source: str
    artist: str | None = None
    album: str | None = None
    isrc: str | None = None
    label: str | None = None
    rights_holder: str | None = None
    iswc: str | None = None
    upc: str | None = None
    territories: tuple[str, ...] = ()
    valid_from: date | None = None
    valid_until: date | None = None
    own_id: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An interval of a track that never matches, in samples, and why."""

    starts: int
    ends: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A reference recording in the catalog.

    status: pending, ready, failed (`error` says why), retiring or retired. detectors: whose vectors are stored.
    """

    id: int
    status: str
    metadata: Metadata
    duration_s: float
    added_at: datetime
    sha256: bytes = b""
    excluded: tuple[Excluded, ...] = ()
    detectors: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A track, as one of a family."""

    id: int
    title: str
    artist: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A track's vectors, float32 (k, dimensions), with the model that made them."""

    info: DetectorInfo
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A track's vectors as the index must contain them, float32 (k, dimensions), zero in excluded intervals.

    revision: of the track; indexed: the revision that the index contains, 0 for none.
    """

    track: int
    vectors: NDArray[np.float32]
    revision: int
    indexed: int


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream and what is known of it now. `position` is the stream clock up to which it has been processed."""

    id: int
    name: str
    url: str
    added_at: datetime
    position: int | None
    state: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Match:
    """A stored match. starts and ends are stream clock values, track positions are in seconds.

    evidence, bridged_s, is_ambiguous: as of a Play (monitor/core/play.py).
    """

    id: uuid.UUID
    stream_id: int
    stream_name: str
    track: dict[str, object]
    detector: str
    version: str
    state: str
    starts: int
    ends: int
    track_start_s: float
    track_end_s: float
    score: float
    llr: float
    bridged_s: float
    is_ambiguous: bool

    @property
    def track_id(self) -> int:
        """Of the track when the match opened: it stays when that is deleted."""
        return _identity(self.track)

    @property
    def speed(self) -> float:
        """How many times as fast as in the catalog the track was played."""
        return (self.track_end_s - self.track_start_s) * SAMPLE_RATE_HZ / (self.ends - self.starts)


@dataclass(frozen=True, slots=True)
class Coverage:
    """An interval of a stream's wall clock: listened to, or a gap with its reason."""

    stream_name: str
    starts: int
    ends: int
    state: str
    reason: str | None
    stream_id: int = 0  # 0 where nobody asks


@dataclass(frozen=True, slots=True)
class Alert:
    """A match that somebody must see."""

    id: int
    match_id: uuid.UUID
    severity: str
    state: str
    track: dict[str, object]
    stream_name: str
    raised_at: datetime
    starts: int
    ends: int

    @property
    def track_id(self) -> int:
        """As of a Match."""
        return _identity(self.track)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold that was set by unknown audio (monitor/core/calibration.py).

    open_llr: what a play needs by it. fitted, with its 95 % interval: what the tail says for the rate, in false
    plays per 1,000 hours; less than open_llr where that is the least allowed. sound_s: of sound that was heard.
    n_peaks: that were noted; the n_tail largest are above tail_level, by mean_excess on average.
    n_tracks: of the catalog then.
    """

    open_llr: float
    fitted: float
    fitted_low: float
    fitted_high: float
    rate_per_1000_h: float
    sound_s: float
    n_peaks: int
    n_tail: int
    tail_level: float
    mean_excess: float
    n_tracks: int
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to where a stream is processed (stream clock), and where that lies in the log.

    epoch: the newest claim on the stream whose windows were processed (see `ingest.leases.lease`).
    """

    position: int
    partition: int
    offset: int
    replay_offset: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A piece of the coverage ledger to write; covered when there is no reason."""

    starts: int
    ends: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one stream's batch changes, written in one transaction.

    expected is the position that the batch started from, None for a stream that was never processed.
    """

    stream_id: int
    expected: int | None
    progress: Progress
    coverage: tuple[Interval, ...]
    opened: tuple[Play, ...]
    open: tuple[Play, ...]
    closed: tuple[Play, ...]
    severity: str

    @property
    def is_stop(self) -> bool:
        """Whether nothing was heard: a monitor that stops closes its plays, which may go on when it is back."""
        return self.expected == self.progress.position


def mask_excluded(vectors: NDArray[np.float32], excluded: Iterable[Excluded], detector: str) -> NDArray[np.float32]:
    """Vectors with those of every segment zeroed that has a sample in an excluded interval: as if it were silence."""
    kept, of = vectors.copy(), grid(detector)
    for each in excluded:
        first = max(0, (each.starts - of.length_samples) // of.hop_samples + 1)
        kept[first : -(-each.ends // of.hop_samples)] = 0
    return kept


def _identity(track: dict[str, object]) -> int:
    identity = track["id"]
    assert isinstance(identity, int)  # noqa: S101 - we wrote it
    return identity
