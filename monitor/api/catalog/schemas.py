"""The JSON of tracks, families and the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.storage import records


class FamilyMember(BaseModel):
    """Another track of the same family: nearly identical, or a version, a stem or an excerpt."""

    id: int
    title: str
    artist: str | None
    source: str

    @classmethod
    def all_of(cls, members: Iterable[records.FamilyMember]) -> list[FamilyMember]:
        """From the stored members."""
        return [cls(id=each.id, title=each.title, artist=each.artist, source=each.source) for each in members]


# The other members of each track's family, by track id; tracks without a family are absent.
Families = Mapping[int, Sequence[records.FamilyMember]]
Alternatives = Annotated[
    list[FamilyMember], Field(description="Nearly identical tracks; the recording may be one of these instead.")
]


class ExcludedInterval(BaseModel):
    """An interval of a track that never matches: a sample library's intro, a news sting."""

    start_s: float = Field(ge=0, le=1e7)
    end_s: float = Field(gt=0, le=1e7)
    note: str | None = Field(None, max_length=500, pattern=r"^[^\x00]*$")

    @classmethod
    def of(cls, excluded: records.Excluded) -> ExcludedInterval:
        """From the stored interval, which is in samples."""
        starts_s, ends_s = excluded.starts / SAMPLE_RATE_HZ, excluded.ends / SAMPLE_RATE_HZ
        return cls(start_s=round(starts_s, 3), end_s=round(ends_s, 3), note=excluded.note)

    def record(self) -> records.Excluded:
        """The interval to store, in samples."""
        return records.Excluded(round(self.start_s * SAMPLE_RATE_HZ), round(self.end_s * SAMPLE_RATE_HZ), self.note)


class Track(BaseModel):
    """A reference recording in the catalog."""

    id: int
    status: Literal["pending", "ready", "failed", "retiring", "retired"]
    error: str | None = Field(description="Why registration failed.")
    title: str
    artist: str | None
    album: str | None
    isrc: str | None
    label: str | None
    rights_holder: str | None
    iswc: str | None
    upc: str | None
    territories: list[str] = Field(description="ISO 3166-1 codes; empty means everywhere.")
    valid_from: date | None
    valid_until: date | None
    own_id: str | None
    fields: dict[str, str]
    source: str
    duration_s: float
    audio_sha256: str = Field(description="Of the audio as 16-bit mono samples at 32 kHz: identifies the recording.")
    detectors: list[str] = Field(description="Detectors that have vectors of the track.")
    excluded: list[ExcludedInterval] = Field(description="Intervals that never match.")
    added_at: datetime
    family: list[FamilyMember] = Field(description="Tracks that are nearly identical, in whole or in part.")

    @classmethod
    def of(cls, track: records.Track, family: Iterable[records.FamilyMember] = ()) -> Track:
        """From the stored track and its family."""
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
            excluded=[ExcludedInterval.of(each) for each in track.excluded],
            added_at=track.added_at,
            family=FamilyMember.all_of(family),
        )


class Family(BaseModel):
    """A group of nearly identical tracks."""

    tracks: list[FamilyMember]


class Registered(BaseModel):
    """A registration. `known`: this audio was in the catalog already."""

    known: bool
    track: Track


class RebuiltTrack(BaseModel):
    """A track that was embedded again, or the error."""

    track: Track
    error: str | None


class PlayedTrack(BaseModel):
    """A track's metadata when the match opened. Deleting the track does not change it."""

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

    @classmethod
    def of(cls, track: records.Track) -> PlayedTrack:
        """The track's present metadata."""
        return cls.model_validate(Track.of(track).model_dump(include=set(cls.model_fields)))


class StoredModel(BaseModel):
    """A model that the catalog has vectors of."""

    detector: str
    version: str
    checksum: str
    tracks: int
    vectors: int


class CatalogSummary(BaseModel):
    """How many tracks and vectors the catalog and its index hold."""

    tracks: dict[str, int] = Field(description="Number of tracks by status.")
    models: list[StoredModel]
    index: str = Field(description="Type of the index.")
    collection: str
    vectors_wanted: int = Field(description="Vectors of ready tracks, without silence and excluded intervals.")
    vectors_indexed: int


class PruneResult(BaseModel):
    """What was deleted."""

    fingerprints: int


class ImportedTrack(BaseModel):
    """The outcome of importing one track."""

    line: int
    title: str | None
    status: Literal["added", "known", "failed"]
    track: int | None
    reason: str | None
    error: str | None
