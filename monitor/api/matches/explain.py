"""Explain: why something did or did not match at a moment, of an uploaded recording or of a stream. Stores nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from pydantic import AwareDatetime

from ingest import timeline
from monitor.api.dependencies import App, Id
from monitor.api.matches import explain_schemas as shapes
from monitor.api.uploads import on_disk
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import NotFound
from monitor.matching.explain import Explained, Explainer, ExplainQuery
from monitor.parts import Airtrace, window_history
from monitor.storage.records import StreamStatus

router = APIRouter(tags=["explain"])

MAX_S = 60.0  # what it costs grows with it, and a picture of more would show nothing
USUAL_S = 10.0
AtS = Annotated[float, Form(ge=0, le=10_000_000, description="Moment, in seconds into the recording.")]
ForS = Annotated[float, Form(ge=0.1, le=MAX_S, description="How much from there on, in seconds.")]
OnlyTrack = Annotated[int | None, Form(ge=1, le=2**63 - 1, description="Only this track, wherever it may be.")]
Picture = Annotated[bool, Form(description="With a PNG of the best hypothesis, in base64.")]


@router.post("/explain")
async def explain_recording(
    parts: App,
    file: Annotated[UploadFile, File(description="A clip or a whole recording.")],
    at_s: AtS,
    for_s: ForS = USUAL_S,
    track: OnlyTrack = None,
    picture: Picture = False,
) -> shapes.Explained:
    """What was in question at a moment of a recording, best first, and what stood against it."""
    begin = timeline.samples(at_s)
    async with on_disk(file) as path:
        explainer = Explainer(parts.matcher, parts.storage, parts.executor)
        found = await explainer.of_recording(path, ExplainQuery(begin, begin + timeline.samples(for_s), track))
        return await _answer(parts, found, path.name, None, with_picture=picture)


@router.get("/streams/{name}/explain")
async def explain_stream(
    parts: App,
    name: Annotated[str, Path(max_length=100)],
    at: Annotated[AwareDatetime, Query(description="Moment, with its time zone.")],
    for_s: Annotated[float, Query(ge=0.1, le=MAX_S, description="How much from there on, in seconds.")] = USUAL_S,
    track: Annotated[Id | None, Query(description="Only this track, wherever it may be.")] = None,
    picture: Annotated[bool, Query(description="With a PNG of the best hypothesis, in base64.")] = False,
) -> shapes.Explained:
    """The same of a stream, for as long as the log has that moment; seconds in the answer count from `at`."""
    stream = await _stream(parts, name)
    begin = timeline.to_clock(at)
    log = window_history(parts.settings)
    explainer = Explainer(parts.matcher, parts.storage, parts.executor)
    found = await explainer.of_stream(log, stream, ExplainQuery(begin, begin + timeline.samples(for_s), track))
    return await _answer(parts, found, stream.name, begin, with_picture=picture)


async def _stream(parts: Airtrace, name: str) -> StreamStatus:
    for stream in await parts.storage.streams.list():
        if stream.name == name:
            return stream
    raise NotFound(f"there is no stream named {name!r}")


async def _answer(
    parts: Airtrace, found: Explained, name: str, begin: int | None, *, with_picture: bool
) -> shapes.Explained:
    """begin: of a stream, the stream clock from which its seconds count; a recording's count from its beginning."""
    asked = {one.track for one in found.explanation.hypotheses}
    asked |= {one.explained_by for one in found.explanation.hypotheses if one.explained_by is not None}
    known = [await parts.storage.tracks.get(track) for track in asked]
    tracks = {track.id: track for track in known if track is not None}
    info, thresholds = parts.matcher.detector.info, parts.matcher.thresholds
    answer = shapes.Explained.of(found, tracks, thresholds, info.name, begin)
    if with_picture and answer.hypotheses and answer.hypotheses[0].track.id == found.explanation.hypotheses[0].track:
        loop = asyncio.get_running_loop()
        png = await loop.run_in_executor(parts.executor, _picture, found, name, answer, begin)
        answer.picture = base64.b64encode(png).decode()
    return answer


def _picture(found: Explained, name: str, answer: shapes.Explained, begin: int | None) -> bytes:
    from monitor.matching.explain_image import ImageLabels, draw  # Pillow: only for who wants to see

    best, track = found.explanation.hypotheses[0], found.best
    assert track is not None  # noqa: S101 - there is a hypothesis
    words = ImageLabels(f"{name} | {answer.hypotheses[0].track.title}", answer.hypotheses[0].reason, _instant(begin))
    return draw(found.explanation, best, found.segments, track, words)


def _instant(begin: int | None) -> Callable[[int], str]:
    """How the picture writes a stream clock value: as a time of day, or as minutes into the recording."""
    if begin is not None:
        return lambda clock: f"{timeline.to_utc(clock):%H:%M:%S}"
    return lambda clock: f"{clock // SAMPLE_RATE_HZ // 60}:{clock // SAMPLE_RATE_HZ % 60:02}"
