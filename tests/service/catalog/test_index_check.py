"""The index check finds every difference from PostgreSQL, and repairs it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.storage.candidate_search import SEGMENT_BITS
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Fingerprint, Metadata
from monitor.storage.storage import Storage
from tests.service.catalog.steps import added, differences
from tests.songs import Songs, seconds, written

pytestmark = pytest.mark.usefixtures("songs")


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


async def _lose(index: Index, storage: Storage, track: int) -> None:
    await index._milvus.call("delete", index._alias, ids=[track << SEGMENT_BITS | segment for segment in (3, 4, 5)])


async def _add(index: Index, storage: Storage, track: int) -> None:
    await index._milvus.call("upsert", index._alias, _rows(track, [5000, 5001]))


async def _strangers(index: Index, storage: Storage, track: int) -> None:
    await index._milvus.call("upsert", index._alias, _rows(99, [1]))


async def _other(index: Index, storage: Storage, track: int) -> None:
    await index._milvus.call("upsert", index._alias, _rows(track, [7]))


async def _pending(index: Index, storage: Storage, track: int) -> None:
    await storage.tracks.set_pending(track)
    await index.delete(track)


async def _revised(index: Index, storage: Storage, track: int) -> None:
    await storage.tracks.set_excluded(track, [Excluded(0, seconds(10))])  # and killed before the index followed


def _rows(track: int, segments: list[int]) -> list[dict[str, Any]]:
    vector = np.zeros(LogMelDetector().info.dimensions, np.float32)
    vector[0] = 1
    return [{"id": track << SEGMENT_BITS | segment, "track": track, "vector": vector} for segment in segments]


Break = Callable[[Index, Storage, int], Coroutine[Any, Any, None]]
BROKEN: dict[str, tuple[Break, list[tuple[int, str]]]] = {
    "missing": (_lose, [(1, "missing")]),
    "extra": (_add, [(1, "extra")]),
    "of no track": (_strangers, [(99, "extra")]),
    "other vectors": (_other, [(1, "other")]),
    "pending": (_pending, [(1, "unfinished")]),
    "revised": (_revised, [(1, "unfinished"), (1, "extra")]),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_what_differs_is_found_and_repaired(
    catalog: Catalog, index: Index, storage: Storage, song: Path, songs: Songs, tmp_path: Path, how: str
) -> None:
    await added(catalog, song)
    await added(catalog, written(tmp_path / "two.wav", songs.two))
    assert await differences(catalog, storage, index) == []
    spoil, expected = BROKEN[how]
    await spoil(index, storage, 1)
    for repair in (False, False, True):
        found = await differences(catalog, storage, index, repair=repair)
        if not repair:  # a repair completes interrupted changes first, and then they no longer differ
            assert [(each.track, each.kind) for each in found] == expected
        assert {each.repaired for each in found} == {repair}
    assert await differences(catalog, storage, index) == []
    assert await index.count() == await storage.vectors.count_indexable(LogMelDetector().info)


async def test_tracks_of_another_model_are_reported_and_not_repaired(
    catalog: Catalog, index: Index, storage: Storage
) -> None:
    old = Fingerprint(DetectorInfo("fingerprint", "old", "0ld", 4), np.eye(4, dtype=np.float32))
    track = await storage.tracks.add(b"o" * 32, 1, Metadata("old", "old"), old)
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    for repair in (True, False):
        [found] = await differences(catalog, storage, index, repair=repair)
        assert (found.track, found.kind, found.repaired) == (track, "unembedded", False)


async def test_a_catalog_of_many_batches_is_compared_completely(
    catalog: Catalog, index: Index, storage: Storage, songs: Songs, tmp_path: Path
) -> None:
    for number in range(5):
        await added(catalog, written(tmp_path / f"{number}.wav", songs.one[seconds(number) : seconds(number + 8)]))
    limits = {"batch_vectors": 20, "batch_tracks": 2}
    assert await differences(catalog, storage, index, **limits) == []
    await _lose(index, storage, 5)
    await _strangers(index, storage, 5)
    found = await differences(catalog, storage, index, **limits)
    assert [(each.track, each.kind) for each in found] == [(5, "missing"), (99, "extra")]
