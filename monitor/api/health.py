"""Health: whether this process and its database answer."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter

from monitor import metrics
from monitor.api import shapes
from monitor.api.parts import Parts
from monitor.errors import DependencyError
from monitor.store import UNREACHABLE

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz(parts: Parts) -> shapes.Health:
    """Answers 200 while PostgreSQL does."""
    try:
        tracks = await parts.store.count_tracks()
        metrics.TRACKS.set(tracks)  # other processes register tracks too
    except UNREACHABLE as error:
        raise DependencyError("PostgreSQL does not answer") from error
    info = parts.matcher.detector.info
    return shapes.Health(
        status="ok",
        version=version("airtrace"),
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        tracks=tracks,
    )
