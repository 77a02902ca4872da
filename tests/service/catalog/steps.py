"""What several tests of the catalog do: add a track, scan a file, compare the index with PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monitor.catalog.catalog import Catalog
from monitor.catalog.index_check import CheckProgress, Difference, IndexCheck
from monitor.core.segments import SEGMENT_SAMPLES
from monitor.detect.logmel import LogMelDetector
from monitor.matching.matcher import Matcher
from monitor.matching.scan import scan
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage


async def added(catalog: Catalog, path: Path, **known: Any) -> int:
    registered = await catalog.add(path, Metadata(path.stem, str(path), **known))
    assert registered.track.status == "ready"
    return registered.track.id


async def plays_in(matcher: Matcher, path: Path) -> list[tuple[int, float, float]]:
    """Track and seconds from and to."""
    return [
        (play.track, play.start / SEGMENT_SAMPLES, play.end / SEGMENT_SAMPLES)
        async for scanned in scan(matcher, path)
        for play in scanned.plays
    ]


async def differences(
    catalog: Catalog, storage: Storage, index: Index, *, repair: bool = False, **limits: int
) -> list[Difference]:
    check = IndexCheck(storage, index, catalog.index_sync, LogMelDetector().info, **limits)
    steps = [step async for step in check.run(repair=repair)]
    assert isinstance(steps[-1], CheckProgress)
    assert steps[-1].done == steps[-1].total
    return [step for step in steps if isinstance(step, Difference)]
