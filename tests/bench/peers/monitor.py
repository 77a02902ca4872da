"""Airtrace as installed: registers tracks and scans recordings with its database and its index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from uuid import UUID

from monitor.core.tracking.play import Play
from monitor.detect.detector import Detector
from monitor.errors import AudioError
from monitor.evaluation.plays import Result
from monitor.local import home
from monitor.matching.scan import scan, seconds
from monitor.parts import Airtrace, open_parts
from monitor.settings import Settings
from monitor.storage.records import Metadata


class AirtraceListener:
    """One detector, with its own thresholds. It is loaded when it is first needed, and may be missing."""

    kept = False  # a run is to show the effect of changes to Airtrace

    def __init__(self, name: str, make: Callable[[], Detector]) -> None:
        self.name = name
        self.settings = ""
        self._make = make

    def missing(self) -> str | None:
        try:
            info = self._make().info
        except Exception as error:  # any reason is worth reporting
            return f"cannot be loaded ({type(error).__name__}: {error})"
        self.settings = f"{info.version} {info.checksum}: Milvus Lite, PostgreSQL, thresholds as installed"
        return None

    def described(self) -> str:
        return self.settings

    def index(self, references: Sequence[Path], folder: Path) -> None:
        asyncio.run(self._index(references, folder))

    def results(self, folder: Path, recordings: Sequence[Path]) -> list[Result]:
        return asyncio.run(self._results(folder, recordings))

    async def _index(self, references: Sequence[Path], folder: Path) -> None:
        async with self._opened(folder) as parts:
            for path in references:
                try:
                    await parts.catalog.add(path, Metadata(path.stem, str(path)))
                except AudioError as error:  # the corpus has silent and unreadable files
                    print(f"{path.name} is not registered: {error}")

    async def _results(self, folder: Path, recordings: Sequence[Path]) -> list[Result]:
        async with self._opened(folder) as parts:
            return [result for path in recordings for result in await _plays(parts, path)]

    @asynccontextmanager
    async def _opened(self, folder: Path) -> AsyncIterator[Airtrace]:
        with home.held(folder / "home") as held:
            async with open_parts(Settings(home=held.path), held, load_detector=self._make) as parts:
                yield parts


async def _plays(parts: Airtrace, path: Path) -> list[Result]:
    plays: list[Play] = []
    reported: dict[UUID, int] = {}
    async with aclosing(scan(parts.matcher, path)) as scanning:
        async for scanned in scanning:
            plays += scanned.plays
            reported |= scanned.reported
    tracks = {track: await parts.storage.tracks.get(track) for track in {play.track for play in plays}}
    return [
        as_result(path.name, Path(track.metadata.source).name, play, reported.get(play.id, play.end))
        for play in plays
        if (track := tracks[play.track]) is not None
    ]


def as_result(recording: str, track: str, play: Play, reported: int) -> Result:
    return Result(
        recording=recording,
        track=track,
        start_s=seconds(play.start),
        end_s=seconds(play.end),
        track_start_s=seconds(play.track_start),
        track_end_s=seconds(play.track_end),
        speed=play.mean_speed,
        score=play.score,
        reported_s=seconds(reported),
    )
