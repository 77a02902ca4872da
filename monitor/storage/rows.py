"""Conversions between rows of PostgreSQL and the values of `monitor.storage.records`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.core.similar_runs import Passage, SimilarTrack
from monitor.core.tracking.play import Play
from monitor.detect.audioset import Label, SoundSummary
from monitor.detect.detector import DetectorInfo
from monitor.storage.records import (
    Excluded,
    FamilyMember,
    Fingerprint,
    Match,
    Metadata,
    Progress,
    Track,
    WorkerLoad,
    WorkerState,
    WorkerStatus,
    mask_excluded,
)


def from_play(stream: int, play: Play, info: DetectorInfo, state: str) -> Sequence[object]:
    """The parameters of match_upsert, except whether a shutdown closed it."""
    values = (play.id, stream, play.track, info.name, info.version, state)
    positions = (play.start, play.end, play.track_start, play.track_end, play.speed)
    return *values, *positions, play.score_sum, play.scored, play.llr, play.bridged, play.is_ambiguous


def to_play(row: Any) -> Play:
    """A row of matches as the tracker continues it."""
    return Play(
        id=row["id"],
        track=row["track_id"],
        start=row["starts"],
        end=row["ends"],
        track_start=row["track_starts"],
        track_end=row["track_ends"],
        speed=row["speed"],
        score_sum=row["score_sum"],
        scored=row["scored"],
        llr=row["llr"],
        bridged=row["bridged"],
        is_ambiguous=row["ambiguous"],
    )


def to_match(row: Any) -> Match:
    """A row of matches with its stream's name."""
    return Match(
        id=row["id"],
        stream_id=row["stream_id"],
        stream_name=row["stream_name"],
        track=row["track"],
        detector=row["detector"],
        version=row["version"],
        state=row["state"],
        starts=row["starts"],
        ends=row["ends"],
        track_start_s=row["track_starts"] / SAMPLE_RATE_HZ,
        track_end_s=row["track_ends"] / SAMPLE_RATE_HZ,
        score=row["score"],
        llr=row["llr"],
        bridged_s=row["bridged"] / SAMPLE_RATE_HZ,
        is_ambiguous=row["ambiguous"],
    )


def to_progress(row: Any) -> Progress:
    """A row of progress."""
    return Progress(row["position"], row["log_partition"], row["log_offset"], row["replay_offset"], row["epoch"])


def from_progress(progress: Progress) -> tuple[int, int, int, int, int]:
    """The columns of progress after the stream, in the order of progress_first and progress_advance."""
    return progress.position, progress.partition, progress.offset, progress.replay_offset, progress.epoch


def from_metadata(metadata: Metadata) -> Sequence[object]:
    """The columns of tracks that metadata fills, in the order of track_insert and track_update."""
    names = (metadata.title, metadata.artist, metadata.album, metadata.isrc, metadata.source, metadata.label)
    rights = (metadata.rights_holder, metadata.iswc, metadata.upc, list(metadata.territories))
    return *names, *rights, metadata.valid_from, metadata.valid_until, metadata.own_id, dict(metadata.fields)


def to_track(row: Any) -> Track:
    """A row of known_tracks."""
    return Track(
        id=row["id"],
        status=row["status"],
        metadata=Metadata(
            title=row["title"],
            source=row["source"],
            artist=row["artist"],
            album=row["album"],
            isrc=row["isrc"],
            label=row["label"],
            rights_holder=row["rights_holder"],
            iswc=row["iswc"],
            upc=row["upc"],
            territories=tuple(row["territories"]),
            valid_from=row["valid_from"],
            valid_until=row["valid_until"],
            own_id=row["own_id"],
            fields=row["fields"],
        ),
        duration_s=row["n_samples"] / SAMPLE_RATE_HZ,
        added_at=row["added_at"],
        sha256=row["audio_sha256"],
        excluded=to_excluded(row["excluded"]),
        detectors=tuple(row["detectors"]),
        error=row["error"],
    )


def to_family_member(row: Any) -> FamilyMember:
    """A row of tracks, as a member of a family."""
    return FamilyMember(row["id"], row["title"], row["artist"], row["source"])


def from_fingerprint(fingerprint: Fingerprint, excluded: Sequence[Excluded] = ()) -> Sequence[object]:
    """The parameters of fingerprint_upsert, except the track."""
    info, vectors = fingerprint.info, fingerprint.vectors
    audible = int(mask_excluded(vectors, excluded, info.name).any(axis=1).sum())
    blob = vectors.astype("<f2").tobytes()
    return info.name, info.version, info.checksum, len(vectors), audible, info.dimensions, blob


def to_info(row: Any) -> DetectorInfo:
    """The model of a row of fingerprints."""
    return DetectorInfo(row["detector"], row["version"], row["checksum"], row["dimensions"])


def to_vectors(row: Any) -> NDArray[np.float32]:
    """The vectors of a row of fingerprints, float32 (n_segments, dimensions)."""
    shape = (row["n_segments"], row["dimensions"])
    return np.frombuffer(row["vectors"], "<f2").reshape(shape).astype(np.float32)


def to_masked_vectors(row: Any, detector: str) -> NDArray[np.float32]:
    """The vectors of a row of fingerprints, float32 (n_segments, dimensions), zero in excluded intervals."""
    return mask_excluded(to_vectors(row), to_excluded(row["excluded"]), detector)


def to_excluded(column: Sequence[Sequence[Any]]) -> tuple[Excluded, ...]:
    """The column `excluded` of known_tracks."""
    return tuple(Excluded(*each) for each in column)


def to_passage(row: Any) -> Passage:
    """A row of passages, with the tracks that it resembles."""
    return Passage(row["starts"], row["ends"], tuple(SimilarTrack(*each) for each in row["similar"]))


def to_sound_summary(row: Any) -> SoundSummary:
    """A row of passages, with what it sounds like."""
    labels = tuple(Label(*each) for each in row["labels"])
    return SoundSummary(row["kind"], row["music"], row["speech"], labels)


def from_load(load: WorkerLoad) -> Sequence[object]:
    """The parameters of worker_upsert, except the worker and its name."""
    figures = (load.streams, load.capacity_streams, load.costly_step, load.costly_share)
    return load.state.value, *figures, load.behind_streams, load.behind_s, load.cpu


def to_worker(row: Any) -> WorkerStatus:
    """A row of workers."""
    load = WorkerLoad(
        state=WorkerState(row["state"]),
        streams=row["streams"],
        capacity_streams=row["capacity_streams"],
        costly_step=row["costly_step"],
        costly_share=row["costly_share"],
        behind_streams=row["behind_streams"],
        behind_s=row["behind_s"],
        cpu=row["cpu"],
    )
    return WorkerStatus(row["id"], row["name"], row["started_at"], load)
