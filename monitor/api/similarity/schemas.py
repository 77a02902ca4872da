"""The JSON of sounds and similar matches."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ingest import timeline
from monitor.alerts.policy import severity
from monitor.api.catalog import schemas as catalog_schemas
from monitor.api.streams import schemas as stream_schemas
from monitor.detect import audioset, panns
from monitor.similarity import search
from monitor.storage.tables import sounds

Review = Literal["pending", "confirmed", "dismissed"]
KIND = "What it sounds like overall."


class Label(BaseModel):
    """One of AudioSet's 527 classes and its probability."""

    name: str
    score: float


class SoundSummary(BaseModel):
    """What an interval of audio sounds like."""

    kind: audioset.Kind = Field(description=KIND)
    music: float = Field(description="Highest probability of any music class, 0 to 1.")
    speech: float = Field(description="Highest probability of any speech class, 0 to 1.")
    labels: list[Label] = Field(description="The most probable classes, most probable first.")

    @classmethod
    def facts(cls, heard: audioset.SoundSummary) -> dict[str, object]:
        """The fields of this class, for those that extend it."""
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
        """From the stored passage."""
        return cls(
            stream=passage.stream_name,
            start=timeline.to_utc(passage.starts),
            end=timeline.to_utc(passage.ends),
            **SoundSummary.facts(passage.heard),
        )


class SimilarMatch(BaseModel):
    """An interval of a stream that resembles a track. It is not a match: someone has to listen to it."""

    id: uuid.UUID
    kind: Literal["similar"]
    severity: str
    stream: stream_schemas.StreamName
    track: catalog_schemas.PlayedTrack
    detector: str
    version: str
    start: datetime
    end: datetime
    score: float = Field(description="Mean cosine similarity of its passages to the track's most similar passages.")
    review: Review = Field(description="The verdict of whoever listened to it.")
    note: str | None
    found_at: datetime
    reviewed_at: datetime | None

    @classmethod
    def of(cls, similar: sounds.Similar) -> SimilarMatch:
        """From the stored similar match."""
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


class ReviewRequest(BaseModel):
    """A verdict on a similar match."""

    review: Review
    note: Annotated[str | None, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] = None


class SimilarTrack(BaseModel):
    """A track that sounds like the clip."""

    track: catalog_schemas.PlayedTrack
    duration_s: float
    score: float = Field(description="Mean cosine similarity of the clip to the most similar parts of the track.")
    best: float = Field(description="The highest of these cosine similarities.")
    at_s: float = Field(description="Its position in the clip, in seconds.")
    track_at_s: float = Field(description="Its position in the track, in seconds.")

    @classmethod
    def of(cls, found: search.SimilarRecording) -> SimilarTrack:
        """From a result of the search."""
        return cls(
            track=catalog_schemas.PlayedTrack.of(found.track),
            duration_s=round(found.track.duration_s, 3),
            score=round(found.score, 4),
            best=round(found.best, 4),
            at_s=round(found.at_s, 3),
            track_at_s=round(found.track_at_s, 3),
        )


class SearchResult(SoundSummary):
    """What a clip sounds like, and the tracks that sound most like it."""

    duration_s: float
    similar: list[SimilarTrack] = Field(description="Most similar first.")

    @classmethod
    def of(cls, found: search.SearchResult) -> SearchResult:
        """From the search."""
        similar = [SimilarTrack.of(each) for each in found.similar]
        facts = SoundSummary.facts(found.summary)
        return cls(duration_s=round(found.duration_s, 3), similar=similar, **facts)


class EnrolledTrack(BaseModel):
    """A track whose PANNs vectors were computed, or the error."""

    track: int
    source: str
    error: str | None
