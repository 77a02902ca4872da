"""The values that storage reads and writes, independent of how PostgreSQL stores them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import SAMPLE_RATE_HZ, grid
from monitor.core.tracking.play import Play
from monitor.detect.detector import DetectorInfo


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about a recording besides its audio.

    source: the path or name of the file. territories: ISO 3166-1 codes, none for everywhere. own_id: the owner's id.
    fields: any others, by name.
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
    """An interval of a track, in samples, that never matches, and why."""

    starts: int
    ends: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A reference recording in the catalog.

    status: pending, ready, failed (see `error`), retiring, or retired. detectors: those whose vectors are stored.
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
    """A track as it is listed in a family."""

    id: int
    title: str
    artist: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A track's vectors, float32 (k, dimensions), and the model that computed them."""

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
    """A stream and its current state.

    position: the stream clock up to which it has been processed. advanced_at: when it was processed last.
    """

    id: int
    name: str
    url: str
    added_at: datetime
    position: int | None
    state: str | None
    reason: str | None
    advanced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A stored match. starts and ends are stream clock values; track positions are in seconds.

    llr, bridged_s, is_ambiguous: see Play in monitor/core/tracking/play.py.
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
        """The id of the track, even if it has been deleted."""
        return _identity(self.track)

    @property
    def speed(self) -> float:
        """Playback speed relative to the track in the catalog: 1.05 is 5 % faster."""
        return (self.track_end_s - self.track_start_s) * SAMPLE_RATE_HZ / (self.ends - self.starts)


@dataclass(frozen=True, slots=True)
class Coverage:
    """An interval of a stream (stream clock): covered, or a gap with its reason."""

    stream_name: str
    starts: int
    ends: int
    state: str
    reason: str | None
    stream_id: int = 0  # 0 if not needed


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
        """The id of the track, even if it has been deleted."""
        return _identity(self.track)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold that was set from audio without catalog tracks (see monitor/core/calibration.py).

    open_llr: the log-likelihood ratio that a play needs. fitted, with its 95 % interval: the threshold that the fitted
    tail gives for the rate, in false plays per 1,000 hours; open_llr is larger if the minimum applies.
    sound_s: length of the audio, without silence. n_peaks: peaks found; the n_tail largest exceed tail_level, by
    mean_excess on average. n_tracks: size of the catalog at the time.
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
    """How far a stream has been processed (stream clock), and the offset of that position in the log.

    replay_offset: where its last minute begins in the log. epoch: of the newest lease whose windows were processed (see
    `ingest.leases.lease`).
    """

    position: int
    partition: int
    offset: int
    replay_offset: int
    epoch: int = 0


class WorkerState(StrEnum):
    """Whether a worker keeps up; full: further streams would make it fall behind."""

    OK = "ok"
    FULL = "full"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """How well a worker keeps up (see `monitor.matching.load.capacity`).

    streams: those that it matches now. capacity_streams: how many it could keep up with; None: not known yet.
    costly_step, costly_share: the step of a batch that takes the most time, and its share of the time.
    behind_streams: those whose audio is matched late, or left out at the moment by the policy `skip`.
    behind_s: the age of the newest audio of the stream that is furthest behind.
    cpu: share of the machine's CPU time in use; None: not known.
    """

    state: WorkerState
    streams: int = 0
    capacity_streams: float | None = None
    costly_step: str | None = None
    costly_share: float | None = None
    behind_streams: int = 0
    behind_s: float = 0.0
    cpu: float | None = None

    @property
    def load(self) -> float | None:
        """Share of the capacity that is in use; 1: no room left."""
        return self.streams / self.capacity_streams if self.capacity_streams else None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that is running. name: its host and process id."""

    id: uuid.UUID
    name: str
    started_at: datetime
    load: WorkerLoad


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of the coverage ledger to write: a gap if it has a reason, else covered."""

    starts: int
    ends: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one stream's batch, written in one transaction.

    expected: the position at which the batch starts, None for a stream that was never processed.
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
        """Whether a shutdown wrote it: the position stays, and the plays it closes may continue after a restart."""
        return self.expected == self.progress.position


def mask_excluded(vectors: NDArray[np.float32], excluded: Iterable[Excluded], detector: str) -> NDArray[np.float32]:
    """A copy of vectors, float32 (k, dimensions), with zeros for every segment that overlaps an excluded interval."""
    kept, of = vectors.copy(), grid(detector)
    for each in excluded:
        first = max(0, (each.starts - of.length_samples) // of.hop_samples + 1)
        kept[first : -(-each.ends // of.hop_samples)] = 0
    return kept


def _identity(track: dict[str, object]) -> int:
    identity = track["id"]
    assert isinstance(identity, int)  # noqa: S101 - we wrote it
    return identity
