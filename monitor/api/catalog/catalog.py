"""The whole catalog: summary, verify, rebuild, prune, export, import. Long answers are streams of JSON lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import StreamingResponse

from monitor.api.catalog import schemas
from monitor.api.dependencies import App
from monitor.api.ndjson import NDJSON, lines
from monitor.api.uploads import on_disk
from monitor.catalog import transfer
from monitor.catalog.importing import import_file
from monitor.catalog.index_check import CheckProgress, Difference, IndexCheck

router = APIRouter(prefix="/catalog", tags=["catalog"])


@router.get("", summary="Describe the catalog")
async def about(airtrace: App) -> schemas.CatalogSummary:
    """Returns how many tracks and vectors the catalog holds, and how many of the vectors are in the index."""
    info = airtrace.matcher.detector.info
    models = [
        schemas.StoredModel(
            detector=each.name, version=each.version, checksum=each.checksum, tracks=tracks, vectors=vectors
        )
        for each, tracks, vectors in await airtrace.storage.vectors.models()
    ]
    return schemas.CatalogSummary(
        tracks=await airtrace.storage.tracks.count_by_status(),
        models=models,
        index=airtrace.index.kind,
        collection=airtrace.index.collection,
        vectors_wanted=await airtrace.storage.vectors.count_indexable(info),
        vectors_indexed=await airtrace.index.count(),
    )


@router.post("/verify", summary="Verify the index")
async def check(
    airtrace: App, repair: Annotated[bool, Query(description="Repair the differences from PostgreSQL.")] = False
) -> StreamingResponse:
    """Compares the index with PostgreSQL, vector by vector. Streams lines of progress and a line per difference."""

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        check = IndexCheck(
            airtrace.storage, airtrace.index, airtrace.catalog.index_sync, airtrace.matcher.detector.info
        )
        async for step in check.run(repair=repair):
            match step:
                case CheckProgress(done, total):
                    yield {"done": done, "total": total}
                case Difference(track, kind, vectors, repaired):
                    yield {"track": track, "difference": kind, "vectors": vectors, "repaired": repaired}

    return lines(steps())


@router.post("/rebuild", summary="Rebuild the index")
async def rebuild(airtrace: App) -> StreamingResponse:
    """Rebuilds the index from the stored vectors while searches use the old one. Streams lines of progress."""

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        index_sync = airtrace.catalog.index_sync
        async with index_sync.lock():
            yield {"done": 0, "total": await airtrace.storage.tracks.count()}
            async for step in index_sync.rebuild():
                yield {"done": step.done, "total": step.total}
            await index_sync.resume()

    return lines(steps())


@router.post("/prune", summary="Delete the vectors of previous models")
async def prune(airtrace: App) -> schemas.PruneResult:
    """Deletes the vectors of previous models, for tracks that have vectors of the current one."""
    return schemas.PruneResult(fingerprints=await airtrace.storage.vectors.prune(airtrace.matcher.detector.info))


@router.get("/export", summary="Export the catalog")
async def export(airtrace: App) -> StreamingResponse:
    """Downloads the whole catalog, including its fingerprints, as a file for `POST /catalog/import`."""
    headers = {"Content-Disposition": 'attachment; filename="catalog.ndjson"'}
    return StreamingResponse(transfer.export_lines(airtrace.storage), media_type=NDJSON, headers=headers)


@router.post("/import", summary="Import tracks from an export")
async def import_catalog(
    airtrace: App, file: Annotated[UploadFile, File(description="An export, optionally compressed with gzip.")]
) -> list[schemas.ImportedTrack]:
    """Imports the tracks of a file after verifying its checksum. Tracks whose audio is known do not change."""
    async with on_disk(file) as path:
        await asyncio.to_thread(transfer.check_file, path)
        found = [
            schemas.ImportedTrack.model_validate(each, from_attributes=True)
            async for each in import_file(airtrace.catalog, path)
        ]
    await airtrace.catalog.find_families(
        [each.track for each in found if each.status == "added" and each.track is not None]
    )
    await airtrace.catalog.count()
    return found
