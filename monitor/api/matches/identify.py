"""Identify: finds the catalog's tracks in an uploaded recording. Stores nothing."""

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
from monitor.core.tracking.play import Play
from monitor.matching.scan import scan, seconds
from monitor.parts import Airtrace

router = APIRouter(prefix="/identify", tags=["identify"])

Step = schemas.ScanProgress | schemas.IdentifyResult


@router.post("", summary="Identify tracks in a recording", response_model=schemas.IdentifyResult)
async def identify(
    airtrace: App,
    file: Annotated[UploadFile, File(description="An audio file of any length.")],
    accept: Annotated[str, Header()] = "application/json",
) -> schemas.IdentifyResult | StreamingResponse:
    """Finds the plays in a recording. With `Accept: application/x-ndjson`, streams progress and then the result."""
    if NDJSON in accept:
        return lines(_steps(airtrace, file))
    async with on_disk(file) as path:
        steps = [step async for step in _identify(airtrace, path)]
    result = steps[-1]
    assert isinstance(result, schemas.IdentifyResult)  # noqa: S101 - the last step is the result
    return result


async def _steps(airtrace: Airtrace, file: UploadFile) -> AsyncGenerator[Step, None]:
    async with on_disk(file) as path, aclosing(_identify(airtrace, path)) as steps:
        async for step in steps:
            yield step


async def _identify(airtrace: Airtrace, path: Path) -> AsyncGenerator[Step, None]:
    plays: list[Play] = []
    reported: dict[uuid.UUID, int] = {}
    n_samples = 0
    async with aclosing(scan(airtrace.matcher, path)) as scanning:
        async for scanned in scanning:
            plays.extend(scanned.plays)
            reported |= scanned.reported
            n_samples = scanned.n_samples
            yield schemas.ScanProgress(done_s=seconds(n_samples))
    families = await airtrace.storage.families.members_of({play.track for play in plays})
    found = [await _identified(airtrace, play, reported.get(play.id, play.end), families) for play in plays]
    matches = [match for match in found if match is not None]
    matches.sort(key=lambda match: match.start_s)
    yield schemas.IdentifyResult(duration_s=seconds(n_samples), matches=matches)


async def _identified(
    airtrace: Airtrace, play: Play, reported: int, families: catalog_schemas.Families
) -> schemas.IdentifiedPlay | None:
    track = await airtrace.storage.tracks.get(play.track)
    if track is None:  # deleted during the scan
        return None
    return schemas.IdentifiedPlay(
        track=catalog_schemas.PlayedTrack.of(track),
        alternatives=catalog_schemas.FamilyMember.all_of(families.get(play.track, ())),
        detector=airtrace.matcher.detector.info.name,
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
