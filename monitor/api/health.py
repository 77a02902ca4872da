"""`/healthz`: whether this process can serve."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from monitor import metrics
from monitor.api.dependencies import App

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The version, model and catalog of this process."""

    status: Literal["ok"]
    version: str
    detector: str
    model: str
    tracks: int


@router.get("/healthz", summary="Read the health")
async def healthz(airtrace: App) -> Health:
    """Returns 200 if PostgreSQL answers, otherwise 503."""
    tracks = await airtrace.storage.tracks.count()
    metrics.TRACKS.set(tracks)  # other processes register tracks too
    info = airtrace.matcher.detector.info
    return Health(
        status="ok",
        version=version("airtrace"),
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        tracks=tracks,
    )
