"""What other systems are told: the JSON of the topic of matches. A contract: within a version, fields are only added.

Its schema is configs/events.schema.json, generated from here.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ingest import timeline
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.storage.outbox import OutboxEvent

VERSION: Literal[1] = 1
Kind = Literal["match.opened", "match.changed", "match.closed", "alert.raised"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stream(_Part):
    """The feed in which it was heard."""

    id: int
    name: str


class Track(_Part):
    """The reference recording as it was known when the match opened; `id` stays when it is deleted."""

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


class Match(_Part):
    """One play, as far as it was heard by then."""

    id: uuid.UUID
    stream: Stream
    track: Track
    detector: str
    version: str = Field(description="Of the detector.")
    start: datetime
    end: datetime = Field(description="So far, until it is closed.")
    track_start_s: float
    track_end_s: float
    speed: float = Field(description="How many times as fast as in the catalog the track is played.")
    score: float = Field(description="Mean cosine of the stream with the track, where it was heard.")
    llr: float = Field(description="Logarithm of how much likelier the track is there than not.")
    bridged_s: float = Field(description="Seconds within the play in which the track was not heard.")
    ambiguous: bool = Field(description="Another place of the same track would fit as well.")


class Alert(_Part):
    """That somebody must see the match."""

    id: int
    severity: Literal["info", "warning", "critical"]
    raised_at: datetime


class Event(_Part):
    """One message of the topic of matches; its key is the stream's id."""

    schema_version: Literal[1]
    id: uuid.UUID = Field(description="The same event may come twice, with the same id.")
    type: Kind = Field(
        description="match.changed: a young play turned out to be another track's. match.closed may come again with a "
        "later end, where a monitor was stopped within a play."
    )
    at: datetime = Field(description="When it was written.")
    match: Match
    alert: Alert | None = Field(None, description="Of alert.raised only.")


def event(told: OutboxEvent) -> Event:
    """The event that was written into the outbox."""
    row, stream = told.body["match"], Stream(id=told.stream_id, name=told.body["stream_name"])
    alert = told.body.get("alert")
    return Event(
        schema_version=VERSION,
        id=told.event,
        type=told.body["type"],
        at=told.written_at,
        match=_match(row, stream),
        alert=Alert(**{name: alert[name] for name in Alert.model_fields}) if alert else None,
    )


def _match(row: dict[str, Any], stream: Stream) -> Match:
    # What is known of a track grows; what is not in the contract stays here.
    track = {name: value for name, value in row["track"].items() if name in Track.model_fields}
    begins, ends = row["track_starts"] / SAMPLE_RATE_HZ, row["track_ends"] / SAMPLE_RATE_HZ
    return Match(
        id=row["id"],
        stream=stream,
        track=Track(**track),
        detector=row["detector"],
        version=row["version"],
        start=timeline.to_utc(row["starts"]),
        end=timeline.to_utc(row["ends"]),
        track_start_s=round(begins, 3),
        track_end_s=round(ends, 3),
        speed=round((row["track_ends"] - row["track_starts"]) / (row["ends"] - row["starts"]), 4),
        score=round(row["score_sum"] / row["scored"], 4),
        llr=round(row["llr"], 2),
        bridged_s=round(row["bridged"] / SAMPLE_RATE_HZ, 3),
        ambiguous=row["ambiguous"],
    )
