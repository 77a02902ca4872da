"""Explain: why something did or did not match at a moment of an uploaded recording or a stream. Stores nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from pydantic import AwareDatetime

from ingest import timeline
from monitor.api.dependencies import App, Id
from monitor.api.matches.explain_schemas import Explanation
from monitor.api.uploads import on_disk
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.errors import NotFound
from monitor.matching.explain import Explained, Explainer, ExplainQuery
from monitor.parts import Airtrace, window_history
from monitor.storage.records import StreamStatus

router = APIRouter(tags=["explain"])

MAX_S = 60.0  # the cost grows with it, and an image of a longer interval would show nothing
DEFAULT_S = 10.0
AtS = Annotated[float, Form(ge=0, le=10_000_000, description="Start, in seconds since the start of the recording.")]
ForS = Annotated[float, Form(ge=0.1, le=MAX_S, description="Length of the interval, in seconds.")]
OnlyTrack = Annotated[int | None, Form(ge=1, le=2**63 - 1, description="Only this track, compared at every position.")]
WithImage = Annotated[bool, Form(description="Include a PNG of the best hypothesis, in base64.")]


@router.post("/explain", summary="Explain a moment of a recording")
async def explain_recording(
    airtrace: App,
    file: Annotated[UploadFile, File(description="An audio file of any length.")],
    at_s: AtS,
    for_s: ForS = DEFAULT_S,
    track: OnlyTrack = None,
    image: WithImage = False,
) -> Explanation:
    """Explains a moment of a recording: the hypotheses, best first, and why each was accepted or rejected."""
    begin = timeline.samples(at_s)
    async with on_disk(file) as path:
        explainer = Explainer(airtrace.matcher, airtrace.storage, airtrace.executor)
        found = await explainer.of_recording(path, ExplainQuery(begin, begin + timeline.samples(for_s), track))
        return await _answer(airtrace, found, path.name, None, with_image=image)


@router.get("/streams/{name}/explain", summary="Explain a moment of a stream")
async def explain_stream(
    airtrace: App,
    name: Annotated[str, Path(max_length=100)],
    at: Annotated[AwareDatetime, Query(description="Start, with a time zone.")],
    for_s: Annotated[float, Query(ge=0.1, le=MAX_S, description="Length of the interval, in seconds.")] = DEFAULT_S,
    track: Annotated[Id | None, Query(description="Only this track, compared at every position.")] = None,
    image: Annotated[bool, Query(description="Include a PNG of the best hypothesis, in base64.")] = False,
) -> Explanation:
    """Explains a moment of a stream, as long as its audio is kept. Seconds in the answer count from `at`."""
    stream = await _stream(airtrace, name)
    begin = timeline.to_clock(at)
    log = window_history(airtrace.settings)
    explainer = Explainer(airtrace.matcher, airtrace.storage, airtrace.executor)
    found = await explainer.of_stream(log, stream, ExplainQuery(begin, begin + timeline.samples(for_s), track))
    return await _answer(airtrace, found, stream.name, begin, with_image=image)


async def _stream(airtrace: Airtrace, name: str) -> StreamStatus:
    for stream in await airtrace.storage.streams.list():
        if stream.name == name:
            return stream
    raise NotFound(f"there is no stream named {name!r}")


async def _answer(
    airtrace: Airtrace, found: Explained, name: str, begin: int | None, *, with_image: bool
) -> Explanation:
    """begin: on a stream, the sample from which the answer's seconds count; None for a recording."""
    asked = {one.track for one in found.explanation.hypotheses}
    asked |= {one.explained_by for one in found.explanation.hypotheses if one.explained_by is not None}
    known = [await airtrace.storage.tracks.get(track) for track in asked]
    tracks = {track.id: track for track in known if track is not None}
    info, thresholds = airtrace.matcher.detector.info, airtrace.matcher.thresholds
    answer = Explanation.of(found, tracks, thresholds, info.name, begin)
    if with_image and answer.hypotheses and answer.hypotheses[0].track.id == found.explanation.hypotheses[0].track:
        loop = asyncio.get_running_loop()
        png = await loop.run_in_executor(airtrace.executor, _image, found, name, answer, begin)
        answer.image = base64.b64encode(png).decode()
    return answer


def _image(found: Explained, name: str, answer: Explanation, begin: int | None) -> bytes:
    from monitor.matching.explain_image import ImageLabels, draw  # imports Pillow, which is slow

    best, track = found.explanation.hypotheses[0], found.best
    assert track is not None  # noqa: S101 - there is a hypothesis
    words = ImageLabels(f"{name} | {answer.hypotheses[0].track.title}", answer.hypotheses[0].reason, _instant(begin))
    return draw(found.explanation, best, found.segments, track, words)


def _instant(begin: int | None) -> Callable[[int], str]:
    """Formats a sample position for the image: as a time of day on a stream, or as minutes into a recording."""
    if begin is not None:
        return lambda clock: f"{timeline.to_utc(clock):%H:%M:%S}"
    return lambda clock: f"{clock // SAMPLE_RATE_HZ // 60}:{clock // SAMPLE_RATE_HZ % 60:02}"
