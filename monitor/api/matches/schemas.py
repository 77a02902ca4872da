"""What the API sends: pydantic models, made from the records of the store."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from ingest import timeline
from monitor.api.catalog.schemas import Alternatives, Families, FamilyMember, PlayedTrack
from monitor.api.sounds.schemas import Sound, Sounding
from monitor.api.streams.schemas import StreamName
from monitor.storage import records


class MatchScores(BaseModel):
    """What a play was decided by."""

    speed: float = Field(description="How many times as fast as in the catalog the track is played.")
    score: float = Field(description="Mean cosine of the stream with the track, where it was heard.")
    llr: float = Field(description="Logarithm of how much likelier the track is there than not.")
    bridged_s: float = Field(description="Seconds within the play in which the track was not heard.")
    ambiguous: bool = Field(description="Another place of the same track would fit as well.")


class Match(MatchScores):
    """One play: an interval of a stream aligned with an interval of a track."""

    id: uuid.UUID
    stream: StreamName
    track: PlayedTrack
    also: Alternatives
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
            also=FamilyMember.all_of(families.get(match.track_id, ())),
            detector=match.detector,
            version=match.version,
            state="open" if match.state == "open" else "closed",
            start=timeline.to_utc(match.starts),
            end=timeline.to_utc(match.ends),
            track_start_s=round(match.track_start_s, 3),
            track_end_s=round(match.track_end_s, 3),
            speed=round(match.speed, 4),
            score=round(match.score, 4),
            llr=round(match.llr, 2),
            bridged_s=round(match.bridged_s, 3),
            ambiguous=match.is_ambiguous,
            sound=sound,
        )


class IdentifiedPlay(MatchScores):
    """One play in a recording; times are seconds into the recording."""

    track: PlayedTrack
    also: Alternatives
    detector: str
    start_s: float
    end_s: float
    reported_s: float = Field(description="When a live stream's monitor would have reported it first.")
    track_start_s: float
    track_end_s: float


class Identified(BaseModel):
    """What a recording contains; no match means unknown, not absent."""

    duration_s: float
    matches: list[IdentifiedPlay]


class ScanProgress(BaseModel):
    """One line of a scan in progress."""

    done_s: float
