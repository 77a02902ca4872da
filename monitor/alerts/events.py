"""The JSON messages of the topic of matches. A contract with other systems: within a version, fields are only added.

The schema in configs/events.schema.json is generated from these models.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ingest import timeline
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.storage.tables.outbox import OutboxEvent

VERSION: Literal[1] = 1
Kind = Literal["match.opened", "match.changed", "match.closed", "alert.raised"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stream(_Part):
    """The stream in which the track was played."""

    id: int
    name: str


class Track(_Part):
    """The track's metadata when the match opened. `id` stays the same after the track is deleted."""

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
    """One play of a track, as known when the event was written."""

    id: uuid.UUID
    stream: Stream
    track: Track
    detector: str
    version: str = Field(description="Version of the detector.")
    start: datetime
    end: datetime = Field(description="The end so far, until the match is closed.")
    track_start_s: float
    track_end_s: float
    speed: float = Field(description="Playback speed relative to the track in the catalog: 1.05 is 5 % faster.")
    score: float = Field(description="Mean cosine similarity of stream and track, where the track was recognized.")
    llr: float = Field(description="Log-likelihood ratio: how much likelier it is that the track was played than not.")
    bridged_s: float = Field(description="Seconds within the play in which the track was not recognized.")
    ambiguous: bool = Field(description="Another position in the same track would fit as well.")


class Alert(_Part):
    """A match that somebody must see."""

    id: int
    severity: Literal["info", "warning", "critical"]
    raised_at: datetime


class Event(_Part):
    """One message of the topic of matches. Its key is the stream's id."""

    schema_version: Literal[1]
    id: uuid.UUID = Field(description="An event may be delivered twice, with the same id.")
    type: Kind = Field(
        description="match.changed: a young match turned out to be of another track. match.closed may be repeated with "
        "a later end, if Airtrace was stopped during the play and started again."
    )
    at: datetime = Field(description="When the event was written.")
    match: Match
    alert: Alert | None = Field(None, description="Only in alert.raised.")


def event(written: OutboxEvent) -> Event:
    """The message for an event of the outbox."""
    row, stream = written.body["match"], Stream(id=written.stream_id, name=written.body["stream_name"])
    alert = written.body.get("alert")
    return Event(
        schema_version=VERSION,
        id=written.event,
        type=written.body["type"],
        at=written.written_at,
        match=_match(row, stream),
        alert=Alert(**{name: alert[name] for name in Alert.model_fields}) if alert else None,
    )


def _match(row: dict[str, Any], stream: Stream) -> Match:
    # Stored metadata may have more fields than the contract.
    track = {name: value for name, value in row["track"].items() if name in Track.model_fields}
    track_start_s, track_end_s = row["track_starts"] / SAMPLE_RATE_HZ, row["track_ends"] / SAMPLE_RATE_HZ
    return Match(
        id=row["id"],
        stream=stream,
        track=Track(**track),
        detector=row["detector"],
        version=row["version"],
        start=timeline.to_utc(row["starts"]),
        end=timeline.to_utc(row["ends"]),
        track_start_s=round(track_start_s, 3),
        track_end_s=round(track_end_s, 3),
        speed=round((row["track_ends"] - row["track_starts"]) / (row["ends"] - row["starts"]), 4),
        score=round(row["score_sum"] / row["scored"], 4),
        llr=round(row["llr"], 2),
        bridged_s=round(row["bridged"] / SAMPLE_RATE_HZ, 3),
        ambiguous=row["ambiguous"],
    )
