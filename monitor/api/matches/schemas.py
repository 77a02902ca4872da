"""The JSON of matches and of plays in recordings."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from ingest import timeline
from monitor.api.catalog.schemas import Alternatives, Families, FamilyMember, PlayedTrack
from monitor.api.similarity.intervals import IntervalSound, OptionalSound
from monitor.api.streams.schemas import StreamName
from monitor.storage import records


class MatchScores(BaseModel):
    """The figures on which the decision for a match is based."""

    speed: float = Field(description="Playback speed relative to the catalog's recording.")
    score: float = Field(description="Mean cosine similarity of stream and track, where the track was detected.")
    llr: float = Field(description="Natural log-likelihood ratio of the track being present.")
    bridged_s: float = Field(description="Seconds within the play in which the track was not detected.")
    ambiguous: bool = Field(description="Another position in the same track fits equally well.")


class Match(MatchScores):
    """One play: an interval of a stream aligned with an interval of a track."""

    id: uuid.UUID
    stream: StreamName
    track: PlayedTrack
    alternatives: Alternatives
    detector: str
    version: str
    state: Literal["open", "closed"]
    start: datetime
    end: datetime
    track_start_s: float
    track_end_s: float
    sound: OptionalSound = None

    @classmethod
    def of(cls, match: records.Match, families: Families, sound: IntervalSound | None = None) -> Match:
        """From the stored record and the families of all tracks."""
        return cls(
            id=match.id,
            stream=StreamName(id=match.stream_id, name=match.stream_name),
            track=PlayedTrack.model_validate(match.track),
            alternatives=FamilyMember.all_of(families.get(match.track_id, ())),
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
    """One play in a recording. Times are seconds since the start of the recording."""

    track: PlayedTrack
    alternatives: Alternatives
    detector: str
    start_s: float
    end_s: float
    reported_s: float = Field(description="When the play would have been reported first on a live stream.")
    track_start_s: float
    track_end_s: float


class IdentifyResult(BaseModel):
    """The catalog tracks in a recording. No match means unknown, not that nothing was played."""

    duration_s: float
    matches: list[IdentifiedPlay]


class ScanProgress(BaseModel):
    """Progress of a scan: how many seconds are done."""

    done_s: float
