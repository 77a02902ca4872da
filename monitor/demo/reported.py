"""Parses a match of the API into what the demo's screen and report need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reported:
    """A match that Airtrace reported; instants are in UTC, positions in seconds into the track."""

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
        """The title, with the artist if known."""
        return f"{self.artist} - {self.title}" if self.artist else self.title


def parse(match: Mapping[str, Any]) -> Reported:
    """Parses the API's JSON."""
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
    """Formats seconds as m:ss."""
    whole = round(seconds)
    return f"{'-' if whole < 0 else ''}{abs(whole) // 60}:{abs(whole) % 60:02}"


def printable(text: str) -> str:
    """Replaces unprintable characters, because names come from files and may contain terminal control codes."""
    return "".join(character if character.isprintable() else "?" for character in text)
