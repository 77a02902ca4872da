"""Identify: what an uploaded recording contains. Nothing is stored."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Header, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog import schemas as catalog_schemas
from monitor.api.dependencies import App
from monitor.api.matches import schemas
from monitor.api.ndjson import NDJSON, lines
from monitor.api.uploads import on_disk
from monitor.core.play import Play
from monitor.matching.scan import scan, seconds
from monitor.parts import Airtrace

router = APIRouter(prefix="/identify", tags=["identify"])


@router.post("", response_model=schemas.Identified)
async def identify(
    parts: App,
    file: Annotated[UploadFile, File(description="A clip or a whole recording.")],
    accept: Annotated[str, Header()] = "application/json",
) -> schemas.Identified | StreamingResponse:
    """The plays in a recording. With `Accept: application/x-ndjson`, lines of progress and at last the result."""
    if NDJSON in accept:
        return lines(_steps(parts, file))
    async with on_disk(file) as path:
        steps = [step async for step in _identify(parts, path)]
    result = steps[-1]
    assert isinstance(result, schemas.Identified)  # noqa: S101 - it ends with one
    return result


async def _steps(parts: Airtrace, file: UploadFile) -> AsyncGenerator[schemas.ScanProgress | schemas.Identified, None]:
    async with on_disk(file) as path, aclosing(_identify(parts, path)) as steps:
        async for step in steps:
            yield step


async def _identify(parts: Airtrace, path: Path) -> AsyncGenerator[schemas.ScanProgress | schemas.Identified, None]:
    plays: list[Play] = []
    reported: dict[uuid.UUID, int] = {}
    n_samples = 0
    async with aclosing(scan(parts.matcher, path)) as scanning:
        async for scanned in scanning:
            plays.extend(scanned.plays)
            reported |= scanned.reported
            n_samples = scanned.n_samples
            yield schemas.ScanProgress(done_s=seconds(n_samples))
    families = await parts.storage.families.members_of({play.track for play in plays})
    found = [await _found(parts, play, reported.get(play.id, play.end), families) for play in plays]
    matches = [match for match in found if match is not None]
    matches.sort(key=lambda found: found.start_s)
    yield schemas.Identified(duration_s=seconds(n_samples), matches=matches)


async def _found(
    parts: Airtrace, play: Play, reported: int, families: catalog_schemas.Families
) -> schemas.IdentifiedPlay | None:
    track = await parts.storage.tracks.get(play.track)
    if track is None:  # deleted during the scan
        return None
    known = catalog_schemas.Track.of(track).model_dump(include=set(catalog_schemas.PlayedTrack.model_fields))
    return schemas.IdentifiedPlay(
        track=catalog_schemas.PlayedTrack(**known),
        also=catalog_schemas.FamilyMember.all_of(families.get(play.track, ())),
        detector=parts.matcher.detector.info.name,
        start_s=seconds(play.start),
        end_s=seconds(play.end),
        reported_s=seconds(reported),
        track_start_s=seconds(play.track_start),
        track_end_s=seconds(play.track_end),
        speed=round(play.mean_speed, 4),
        score=round(play.score, 4),
        llr=round(play.llr, 2),
        bridged_s=seconds(play.bridged),
        ambiguous=play.is_ambiguous,
    )
