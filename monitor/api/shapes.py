"""What the API sends: pydantic models, made from the records of the store."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from ingest.redact import redact
from monitor import records
from monitor.core.segments import SAMPLE_RATE_HZ

# Audio at most this old is live: two windows, a batch and a slow transaction.
FRESH_S = 15
# A gap in progress is only booked once the burst of the next connection cannot cover it any more (`burst_most_s`, 45 s
# by default), and then every few seconds: what is older than both has nobody who listens.
GAP_DELAY_S = 60


class Relative(BaseModel):
    """Another track of the same family: near-identical, or a version, a stem or a part of it."""

    id: int
    title: str
    artist: str | None
    source: str

    @classmethod
    def all_of(cls, members: Iterable[records.Member]) -> list[Relative]:
        return [cls(id=each.id, title=each.title, artist=each.artist, source=each.source) for each in members]


# The other members of each track's family, where it has one; as the store gives them.
Families = Mapping[int, Sequence[records.Member]]
Also = Annotated[list[Relative], Field(description="Tracks near-identical to this one, which it may be instead.")]


class Excluded(BaseModel):
    """An interval of a track that never matches: a sample library's intro, a news sting."""

    start_s: float = Field(ge=0, le=1e7)
    end_s: float = Field(gt=0, le=1e7)
    note: str | None = Field(None, max_length=500, pattern=r"^[^\x00]*$")

    @classmethod
    def of(cls, excluded: records.Excluded) -> Excluded:
        starts_s, ends_s = excluded.starts / SAMPLE_RATE_HZ, excluded.ends / SAMPLE_RATE_HZ
        return cls(start_s=round(starts_s, 3), end_s=round(ends_s, 3), note=excluded.note)

    def record(self) -> records.Excluded:
        return records.Excluded(round(self.start_s * SAMPLE_RATE_HZ), round(self.end_s * SAMPLE_RATE_HZ), self.note)


class Track(BaseModel):
    """A reference recording in the catalog."""

    id: int
    status: Literal["pending", "ready", "failed", "retiring", "retired"]
    error: str | None = Field(description="Why it failed.")
    title: str
    artist: str | None
    album: str | None
    isrc: str | None
    label: str | None
    rights_holder: str | None
    iswc: str | None
    upc: str | None
    territories: list[str] = Field(description="ISO 3166-1 codes; none: everywhere.")
    valid_from: date | None
    valid_until: date | None
    own_id: str | None
    fields: dict[str, str]
    source: str
    duration_s: float
    audio_sha256: str = Field(description="Of its audio as 32 kHz mono samples of 16 bits: what it is known by.")
    detectors: list[str] = Field(description="The detectors that it is registered with.")
    excluded: list[Excluded] = Field(description="Intervals that never match.")
    added_at: datetime
    family: list[Relative] = Field(description="The tracks near-identical to it, in whole or in part.")

    @classmethod
    def of(cls, track: records.Track, family: Iterable[records.Member] = ()) -> Track:
        known = track.metadata
        return cls(
            id=track.id,
            status=track.status,
            error=track.error,
            title=known.title,
            artist=known.artist,
            album=known.album,
            isrc=known.isrc,
            label=known.label,
            rights_holder=known.rights_holder,
            iswc=known.iswc,
            upc=known.upc,
            territories=list(known.territories),
            valid_from=known.valid_from,
            valid_until=known.valid_until,
            own_id=known.own_id,
            fields=dict(known.fields),
            source=known.source,
            duration_s=round(track.duration_s, 3),
            audio_sha256=track.sha256.hex(),
            detectors=list(track.detectors),
            excluded=[Excluded.of(each) for each in track.excluded],
            added_at=track.added_at,
            family=Relative.all_of(family),
        )


class Family(BaseModel):
    """Tracks that are near-identical to one another, in whole or in part."""

    tracks: list[Relative]


class Registered(BaseModel):
    """The answer to a registration; `known` where this audio had been there before."""

    known: bool
    track: Track


class Rebuilt(BaseModel):
    """What became of one track when the catalog was rebuilt."""

    track: Track
    error: str | None


class NewStream(BaseModel):
    """A feed to monitor."""

    # It is part of paths, where dots alone mean something else.
    name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=100, pattern=r"^\.*[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*$", examples=["radio-one"]
    )
    url: str = Field(min_length=1, max_length=2000, examples=["https://radio.example/live.mp3"])


class Stream(BaseModel):
    """A feed that is monitored; credentials in its URL are never shown."""

    id: int
    name: str
    url: str
    state: Literal["listening", "gap", "waiting", "not_running"]
    reason: str | None
    heard_until: datetime | None
    behind_s: float | None = Field(
        None, description="How long ago the newest sound was that plays were looked for in, in seconds."
    )

    @classmethod
    def of(cls, stream: records.StreamStatus, now: datetime) -> Stream:
        heard_until = None if stream.position is None else timeline.to_utc(stream.position)
        return cls(
            id=stream.id,
            name=stream.name,
            url=redact(stream.url),
            state=_state(stream.state, heard_until, now),
            reason=stream.reason,
            heard_until=heard_until,
            behind_s=max(0.0, round((now - heard_until).total_seconds(), 1)) if heard_until else None,
        )


class StreamName(BaseModel):
    id: int
    name: str


class PlayedTrack(BaseModel):
    """A track as it was known when the match opened; `id` stays when the track is deleted."""

    id: int
    title: str
    artist: str | None = None
    album: str | None = None
    isrc: str | None = None
    label: str | None = None
    rights_holder: str | None = None
    iswc: str | None = None
    upc: str | None = None
    own_id: str | None = None
    source: str


class Decided(BaseModel):
    """What a play was decided by."""

    speed: float = Field(description="How many times as fast as in the catalog the track is played.")
    score: float = Field(description="Mean cosine of the stream with the track, where it was heard.")
    evidence: float = Field(description="Logarithm of how much likelier the track is there than not.")
    bridged_s: float = Field(description="Seconds within the play in which the track was not heard.")
    ambiguous: bool = Field(description="Another place of the same track would fit as well.")


class Sound(BaseModel):
    """What an interval of a stream sounded like in its last 24 hours, by PANNs."""

    kind: Literal["music", "speech", "music_under_speech", "silence", "other"] = Field(description="For most of it.")
    listened_s: float = Field(description="Seconds of it that PANNs has listened to.")
    shares: dict[str, float] = Field(description="Which part of these was of which kind.")


Sounding = Annotated[Sound | None, Field(description="What it sounded like; null where PANNs has not listened.")]


class Match(Decided):
    """One play: an interval of a stream aligned with an interval of a track."""

    id: uuid.UUID
    stream: StreamName
    track: PlayedTrack
    also: Also
    detector: str
    version: str
    state: Literal["open", "closed"]
    start: datetime
    end: datetime
    track_start_s: float
    track_end_s: float
    sound: Sounding = None

    @classmethod
    def of(cls, match: records.Match, families: Families, sound: Sound | None = None) -> Match:
        return cls(
            id=match.id,
            stream=StreamName(id=match.stream_id, name=match.stream_name),
            track=PlayedTrack.model_validate(match.track),
            also=Relative.all_of(families.get(match.track_id, ())),
            detector=match.detector,
            version=match.version,
            state="open" if match.state == "open" else "closed",
            start=timeline.to_utc(match.starts),
            end=timeline.to_utc(match.ends),
            track_start_s=round(match.track_start_s, 3),
            track_end_s=round(match.track_end_s, 3),
            speed=round(match.speed, 4),
            score=round(match.score, 4),
            evidence=round(match.evidence, 2),
            bridged_s=round(match.bridged_s, 3),
            ambiguous=match.is_ambiguous,
            sound=sound,
        )


class Found(Decided):
    """One play in a recording; times are seconds into the recording."""

    track: PlayedTrack
    also: Also
    detector: str
    start_s: float
    end_s: float
    reported_s: float = Field(description="When a live stream's monitor would have reported it first.")
    track_start_s: float
    track_end_s: float


class Identified(BaseModel):
    """What a recording contains; no match means unknown, not absent."""

    duration_s: float
    matches: list[Found]


class ScanProgress(BaseModel):
    """One line of a scan in progress."""

    done_s: float


class Coverage(BaseModel):
    """An interval that was listened to, or a gap with its reason."""

    stream: str
    start: datetime
    end: datetime
    state: Literal["covered", "gap"]
    reason: str | None
    sound: Sounding = None

    @classmethod
    def of(cls, coverage: records.Coverage, sound: Sound | None = None) -> Coverage:
        return cls(
            stream=coverage.stream_name,
            start=timeline.to_utc(coverage.starts),
            end=timeline.to_utc(coverage.ends),
            state="covered" if coverage.state == "covered" else "gap",
            reason=coverage.reason,
            sound=sound,
        )


class Alert(BaseModel):
    """A match that somebody must see."""

    id: int
    match_id: uuid.UUID
    severity: str
    state: str
    stream: str
    track: PlayedTrack
    also: Also
    start: datetime
    end: datetime
    raised_at: datetime

    @classmethod
    def of(cls, alert: records.Alert, families: Families) -> Alert:
        return cls(
            id=alert.id,
            match_id=alert.match_id,
            severity=alert.severity,
            state=alert.state,
            stream=alert.stream_name,
            track=PlayedTrack.model_validate(alert.track),
            also=Relative.all_of(families.get(alert.track_id, ())),
            start=timeline.to_utc(alert.starts),
            end=timeline.to_utc(alert.ends),
            raised_at=alert.raised_at,
        )


class Health(BaseModel):
    """What this process is and whether its parts answer."""

    status: Literal["ok"]
    version: str
    detector: str
    model: str
    tracks: int


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


def _state(
    state: str | None, heard_until: datetime | None, now: datetime
) -> Literal["listening", "gap", "waiting", "not_running"]:
    if heard_until is None:
        return "waiting"
    age_s = (now - heard_until).total_seconds()
    if age_s > FRESH_S + GAP_DELAY_S:
        return "not_running"
    if state == "covered":
        return "listening" if age_s <= FRESH_S else "waiting"
    return "gap"
