"""The cache of references stays within its bound, and follows the catalog."""

from __future__ import annotations

from pathlib import Path

from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.matching.reference_cache import ReferenceCache
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.songs import Songs, seconds, written

SECOND = seconds(1)


async def test_the_cache_is_bounded_and_still_returns_everything_that_is_asked_for(
    storage: Storage, catalog: Catalog, songs: Songs, tmp_path: Path, detector: LogMelDetector
) -> None:
    pieces = [songs.one[i * 6 * SECOND : (i + 1) * 6 * SECOND] for i in range(4)]
    paths = [written(tmp_path / f"{i}.wav", piece) for i, piece in enumerate(pieces)]
    tracks = [(await catalog.add(path, Metadata(path.stem, str(path)))).track.id for path in paths]
    size = (await storage.vectors.references(tracks, detector.info))[tracks[0]].nbytes
    references = ReferenceCache(storage, detector, max_bytes=2 * size)
    assert (await references.get(tracks)).keys() == set(tracks)
    assert len(references._cache) == 2
    assert (await references.get(tracks[:1])).keys() == {tracks[0]}
    assert tracks[0] in references._cache
    await catalog.delete(tracks[0])
    assert await references.get(tracks[:1]) == {}
