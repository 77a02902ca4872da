"""The JSON of tracks, families and the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.storage import records


class FamilyMember(BaseModel):
    """Another track of the same family: near-identical, or a version, a stem or a part of it."""

    id: int
    title: str
    artist: str | None
    source: str

    @classmethod
    def all_of(cls, members: Iterable[records.FamilyMember]) -> list[FamilyMember]:
        return [cls(id=each.id, title=each.title, artist=each.artist, source=each.source) for each in members]


# The other members of each track's family, where it has one; as the store gives them.
Families = Mapping[int, Sequence[records.FamilyMember]]
Alternatives = Annotated[
    list[FamilyMember], Field(description="Tracks near-identical to this one, which it may be instead.")
]


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
    family: list[FamilyMember] = Field(description="The tracks near-identical to it, in whole or in part.")

    @classmethod
    def of(cls, track: records.Track, family: Iterable[records.FamilyMember] = ()) -> Track:
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
            family=FamilyMember.all_of(family),
        )


class Family(BaseModel):
    """Tracks that are near-identical to one another, in whole or in part."""

    tracks: list[FamilyMember]


class Registered(BaseModel):
    """The answer to a registration; `known` where this audio had been there before."""

    known: bool
    track: Track


class Rebuilt(BaseModel):
    """What became of one track when the catalog was rebuilt."""

    track: Track
    error: str | None


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
