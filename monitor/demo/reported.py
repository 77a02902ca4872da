"""A match as the API reports it, read into what the demo's screen and report need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reported:
    """One play that Airtrace claims; instants are UTC, positions seconds into the track."""

    id: str
    source: Path
    title: str
    artist: str | None
    is_open: bool
    start: datetime
    end: datetime
    track_start_s: float
    track_end_s: float
    score: float

    @property
    def name(self) -> str:
        """Title, with its artist where known."""
        return f"{self.artist} - {self.title}" if self.artist else self.title


def parse(match: Mapping[str, Any]) -> Reported:
    """From the API's JSON shape."""
    track = match["track"]
    return Reported(
        id=str(match["id"]),
        source=Path(track["source"]),
        title=track["title"],
        artist=track.get("artist"),
        is_open=match["state"] == "open",
        start=datetime.fromisoformat(match["start"]),
        end=datetime.fromisoformat(match["end"]),
        track_start_s=float(match["track_start_s"]),
        track_end_s=float(match["track_end_s"]),
        score=float(match["score"]),
    )


def minutes(seconds: float) -> str:
    """Seconds as m:ss."""
    whole = round(seconds)
    return f"{'-' if whole < 0 else ''}{abs(whole) // 60}:{abs(whole) % 60:02}"


def printable(text: str) -> str:
    """Names come from files: nothing in them may steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
