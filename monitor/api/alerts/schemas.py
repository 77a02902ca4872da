"""The JSON of alerts."""

from __future__ import annotations

import uuid
from datetime import datetime

from pydantic import BaseModel

from ingest import timeline
from monitor.api.catalog.schemas import Alternatives, Families, FamilyMember, PlayedTrack
from monitor.storage import records


class Alert(BaseModel):
    """A match that needs attention."""

    id: int
    match_id: uuid.UUID
    severity: str
    state: str
    stream: str
    track: PlayedTrack
    alternatives: Alternatives
    start: datetime
    end: datetime
    raised_at: datetime

    @classmethod
    def of(cls, alert: records.Alert, families: Families) -> Alert:
        """From the stored record and the families of all tracks."""
        return cls(
            id=alert.id,
            match_id=alert.match_id,
            severity=alert.severity,
            state=alert.state,
            stream=alert.stream_name,
            track=PlayedTrack.model_validate(alert.track),
            alternatives=FamilyMember.all_of(families.get(alert.track_id, ())),
            start=timeline.to_utc(alert.starts),
            end=timeline.to_utc(alert.ends),
            raised_at=alert.raised_at,
        )
