"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from monitor import metrics
from monitor.api.dependencies import App

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz(parts: App) -> Health:
    """Answers 200 while PostgreSQL does."""
    tracks = await parts.storage.tracks.count()
    metrics.TRACKS.set(tracks)  # other processes register tracks too
    info = parts.matcher.detector.info
    return Health(
        status="ok",
        version=version("airtrace"),
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        tracks=tracks,
    )


class Health(BaseModel):
    """What this process is and whether its parts answer."""

    status: Literal["ok"]
    version: str
    detector: str
    model: str
    tracks: int
