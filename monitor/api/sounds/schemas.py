"""The JSON of sounds and similar matches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from monitor.alerts.policy import severity
from monitor.api.catalog import schemas as catalog_schemas
from monitor.api.streams import schemas as stream_schemas
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect import audioset, panns
from monitor.similarity import panns_service as search
from monitor.storage import records, sounds
from monitor.storage.storage import Storage

Review = Literal["pending", "confirmed", "dismissed"]
KIND = "What it sounds like as a whole."
MAX_SOUND = 24 * 3600 * SAMPLE_RATE_HZ  # a stream may be covered for months, at 8,640 passages a day


class Label(BaseModel):
    """One of AudioSet's 527 classes, and how likely it is to be heard."""

    name: str
    score: float


class SoundSummary(BaseModel):
    """What a stretch of sound comes to."""

    kind: audioset.Kind = Field(description=KIND)
    music: float = Field(description="The most that any class of music has, 0 to 1.")
    speech: float = Field(description="The most that any class of speech has, 0 to 1.")
    labels: list[Label] = Field(description="The likeliest classes, the likeliest first.")

    @classmethod
    def facts(cls, heard: audioset.SoundSummary) -> dict[str, object]:
        labels = [Label(name=label.name, score=round(label.score, 3)) for label in heard.labels]
        return {
            "kind": heard.kind,
            "music": round(heard.music, 3),
            "speech": round(heard.speech, 3),
            "labels": labels,
        }


class Passage(SoundSummary):
    """Ten seconds of a stream."""

    stream: str
    start: datetime
    end: datetime

    @classmethod
    def of(cls, passage: sounds.StoredPassage) -> Passage:
        return cls(
            stream=passage.stream_name,
            start=timeline.to_utc(passage.starts),
            end=timeline.to_utc(passage.ends),
            **SoundSummary.facts(passage.heard),
        )


class Similar(BaseModel):
    """A stretch of a stream that resembles a track. No play: somebody has to listen."""

    id: uuid.UUID
    kind: Literal["similar"]
    severity: str
    stream: stream_schemas.StreamName
    track: catalog_schemas.PlayedTrack
    detector: str
    version: str
    start: datetime
    end: datetime
    score: float = Field(description="Mean cosine of its passages with the track's passages that are most like each.")
    review: Review = Field(description="What somebody who listened has said.")
    note: str | None
    found_at: datetime
    reviewed_at: datetime | None

    @classmethod
    def of(cls, similar: sounds.Similar) -> Similar:
        return cls.model_validate(
            {
                "id": similar.id,
                "kind": "similar",
                "severity": severity(panns.NAME),
                "stream": {"id": similar.stream_id, "name": similar.stream_name},
                "track": similar.track,
                "detector": panns.NAME,
                "version": similar.version,
                "start": timeline.to_utc(similar.starts),
                "end": timeline.to_utc(similar.ends),
                "score": round(similar.score, 4),
                "review": similar.review,
                "note": similar.note,
                "found_at": similar.found_at,
                "reviewed_at": similar.reviewed_at,
            }
        )


class Reviewed(BaseModel):
    """What somebody who listened says."""

    review: Review
    note: Annotated[str | None, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] = None


class SimilarRecording(BaseModel):
    """A track that sounds like the clip."""

    track: catalog_schemas.PlayedTrack
    duration_s: float
    score: float = Field(description="Mean, over the clip, of the cosine with what of the track is most like it.")
    best: float = Field(description="The largest of these cosines.")
    at_s: float = Field(description="Where that is in the clip.")
    track_at_s: float = Field(description="Where that is in the track.")

    @classmethod
    def of(cls, alike: search.SimilarRecording) -> SimilarRecording:
        known = catalog_schemas.Track.of(alike.track)
        return cls(
            track=catalog_schemas.PlayedTrack(
                **known.model_dump(include=set(catalog_schemas.PlayedTrack.model_fields))
            ),
            duration_s=known.duration_s,
            score=round(alike.score, 4),
            best=round(alike.best, 4),
            at_s=round(alike.at_s, 3),
            track_at_s=round(alike.track_at_s, 3),
        )


class SearchResult(SoundSummary):
    """What a clip sounds like, and the tracks that sound most like it."""

    duration_s: float
    alike: list[SimilarRecording] = Field(description="The most similar first.")

    @classmethod
    def of(cls, found: search.SearchResult) -> SearchResult:
        alike = [SimilarRecording.of(each) for each in found.alike]
        facts = SoundSummary.facts(found.heard)
        return cls(duration_s=round(found.duration_s, 3), alike=alike, **facts)


class Enrolled(BaseModel):
    """What became of one track that was to get its PANNs vectors."""

    track: int
    source: str
    error: str | None


async def sounds_of(storage: Storage, found: Sequence[records.Match | records.Coverage]) -> list[Sound | None]:
    """What each of the intervals sounded like, a long one at its end; None where PANNs has not listened."""
    within = [
        sounds.StreamInterval(each.stream_id, max(each.starts, each.ends - MAX_SOUND), each.ends) for each in found
    ]
    return [_sound(kinds) if kinds else None for kinds in await storage.sounds.within(within)]


def _sound(kinds: Mapping[audioset.Kind, int]) -> Sound:
    """By the samples of each kind."""
    listened = sum(kinds.values())
    return Sound(
        kind=max(kinds, key=lambda kind: (kinds[kind], kind)),
        listened_s=round(listened / SAMPLE_RATE_HZ, 3),
        shares={kind: round(samples / listened, 3) for kind, samples in sorted(kinds.items())},
    )


class Sound(BaseModel):
    """What an interval of a stream sounded like in its last 24 hours, by PANNs."""

    kind: Literal["music", "speech", "music_under_speech", "silence", "other"] = Field(description="For most of it.")
    listened_s: float = Field(description="Seconds of it that PANNs has listened to.")
    shares: dict[str, float] = Field(description="Which part of these was of which kind.")


Sounding = Annotated[Sound | None, Field(description="What it sounded like; null where PANNs has not listened.")]
