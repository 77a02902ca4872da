"""Families on a real PostgreSQL and Milvus Lite: found when tracks are registered, and right after failures."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from structlog.testing import capture_logs

from ingest.sources import ffmpeg
from monitor.catalog.catalog import Catalog
from monitor.core.families import FamilyRelation, RelatedTrack
from monitor.core.segments import Hit
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.errors import DependencyError
from monitor.storage.milvus import Index
from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.storage import Storage
from tests.service.storage.tables.test_families import named
from tests.songs import Songs, seconds, written


@pytest.fixture
def files(tmp_path: Path, songs: Songs) -> dict[str, Path]:
    """A song, the same as an MP3 of a telephone's quality, its first half, and another song."""
    one = written(tmp_path / "one.wav", songs.one)
    coded = tmp_path / "coded.mp3"
    command = [ffmpeg.binary(), "-v", "error", "-i", one, "-ar", "16000", "-b:a", "24k", coded]
    subprocess.run(command, check=True)
    half = written(tmp_path / "part.wav", songs.one[seconds(3.3) : seconds(27)])
    return {"one": one, "coded": coded, "part": half, "two": written(tmp_path / "two.wav", songs.two)}


async def added(catalog: Catalog, path: Path) -> int:
    registered = await catalog.add(path, Metadata(path.stem, str(path)))
    assert registered.track.status == "ready"
    return registered.track.id


async def test_the_same_recording_in_another_encoding_is_in_the_family_once_it_is_registered(
    catalog: Catalog, storage: Storage, files: dict[str, Path]
) -> None:
    one, two = await added(catalog, files["one"]), await added(catalog, files["two"])
    assert await named(storage, [one, two]) == {}
    coded = await added(catalog, files["coded"])
    assert await named(storage, [one, two, coded]) == {one: [coded], coded: [one]}
    assert await storage.families.relations() == [FamilyRelation(one, coded, False)]


async def test_a_piece_of_a_recording_is_a_part_of_it(
    catalog: Catalog, storage: Storage, files: dict[str, Path]
) -> None:
    long = written(files["one"].parent / "long.wav", _joined(files, "one", "two"))
    whole, piece = await added(catalog, long), await added(catalog, files["part"])
    assert await storage.families.relations() == [FamilyRelation(whole, piece, True)]


def _joined(files: dict[str, Path], *names: str) -> np.ndarray:
    return np.concatenate([np.frombuffer(files[name].read_bytes()[44:], "<i2") for name in names])


async def test_tracks_that_are_registered_at_once_are_one_family_after_one_search(
    catalog: Catalog, index: Index, storage: Storage, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[list[int]] = []
    search = index.search

    async def counted(vectors: np.ndarray, top_k: int, but: Sequence[int] = ()) -> list[tuple[Hit, ...]]:
        searches.append(sorted(but))
        return await search(vectors, top_k, but)

    monkeypatch.setattr(index, "search", counted)
    one, coded, part, two = await asyncio.gather(*(added(catalog, path) for path in files.values()))
    assert await named(storage, [one, coded, part, two]) == {
        one: sorted([coded, part]),
        coded: sorted([one, part]),
        part: sorted([one, coded]),
    }
    assert searches == [sorted([one, coded, part, two])]
    await added(catalog, files["one"])  # known already: nothing to look for
    assert len(searches) == 1


async def test_a_batch_that_is_full_does_not_wait_for_the_others(
    storage: Storage, index: Index, detector: LogMelDetector, executor: Executor, files: dict[str, Path]
) -> None:
    catalog = Catalog(storage, index, detector, executor, family_batch_tracks=2)
    tracks = await asyncio.gather(*(added(catalog, path) for path in files.values()))
    assert len((await storage.families.members_of([tracks[0]]))[tracks[0]]) == 2
    assert await storage.families.tracks_without_known_family(detector.info) == []


async def test_families_survive_a_lost_index(
    catalog: Catalog, index: Index, storage: Storage, files: dict[str, Path]
) -> None:
    one, coded = await added(catalog, files["one"]), await added(catalog, files["coded"])
    await index.recreate()
    await catalog.recover()
    assert await named(storage, [one]) == {one: [coded]}


async def test_a_deleted_track_leaves_its_family_and_is_found_again_when_it_is_back(
    catalog: Catalog, storage: Storage, files: dict[str, Path]
) -> None:
    one, coded = await added(catalog, files["one"]), await added(catalog, files["coded"])
    await catalog.delete(one)
    assert await storage.families.members_of([one, coded]) == {}
    again = await added(catalog, files["one"])
    assert await named(storage, [coded]) == {coded: [again]}


# What goes wrong


async def _away(*_: object, **__: object) -> None:
    raise DependencyError("Milvus: away")


async def _broken(vectors: np.ndarray, *_: object, **__: object) -> list[tuple[None]]:
    """No search returns this: it fails far behind the search, in another thread."""
    return [(None,)] * len(vectors)


@pytest.mark.parametrize("what", ["the search", "a bug"])
async def test_a_family_search_that_fails_costs_the_family_and_not_the_registration(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    detector: LogMelDetector,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    one = await added(catalog, files["one"])
    with monkeypatch.context() as broken, capture_logs() as logs:
        if what == "the search":
            broken.setattr(index, "search", _away)
        else:
            broken.setattr(index, "search", _broken)
        coded = await added(catalog, files["coded"])
    assert [(log["event"], log["tracks"]) for log in logs if log["log_level"] == "error"] == [
        ("catalog.family_search_failed", [coded])
    ]
    assert await storage.families.members_of([one]) == {}
    assert await storage.families.tracks_without_known_family(detector.info) == [coded]
    await catalog.recover()
    assert await named(storage, [one]) == {one: [coded]}


async def test_one_track_that_fails_does_not_cost_the_others_their_family(
    catalog: Catalog,
    storage: Storage,
    detector: LogMelDetector,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_relations = storage.families.add_relations
    failed: list[int] = []

    async def sometimes(track: int, related: Sequence[RelatedTrack], info: DetectorInfo) -> None:
        if not failed:
            failed.append(track)
            raise ZeroDivisionError
        await add_relations(track, related, info)

    monkeypatch.setattr(storage.families, "add_relations", sometimes)
    tracks = await asyncio.gather(*(added(catalog, path) for path in files.values()))
    assert await storage.families.tracks_without_known_family(detector.info) == failed
    assert len(await storage.families.members_of(tracks)) == 3


async def test_many_tracks_without_a_family_wait_for_a_rebuild(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    detector: LogMelDetector,
    executor: Executor,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(index, "search", _away)
        one, coded = await added(catalog, files["one"]), await added(catalog, files["coded"])
    catalog = Catalog(storage, index, detector, executor, family_batch_tracks=1)
    with capture_logs() as logs:
        await catalog.recover()
    assert ("catalog.families_missing", "airtrace tracks rebuild") in [(log["event"], log.get("next")) for log in logs]
    assert await storage.families.members_of([one]) == {}
    assert [one async for one in catalog.rebuild()] == []
    assert await named(storage, [one]) == {one: [coded]}


async def test_a_track_that_is_embedded_again_finds_its_family_again(
    catalog: Catalog, storage: Storage, files: dict[str, Path], dsn: str
) -> None:
    tracks = [await added(catalog, files[name]) for name in ("one", "coded")]
    for track in tracks:  # as another model would have left them
        old = DetectorInfo("fingerprint", "old-1", "0ld0ld", 4)
        await storage.vectors.replace(track, Fingerprint(old, np.eye(4, dtype=np.float32)))
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from fingerprints where checksum <> '0ld0ld'")
    await connection.close()
    assert await storage.families.members_of(tracks) == {}
    assert [(one.track.id, one.error) async for one in catalog.rebuild()] == [(track, None) for track in tracks]
    assert await named(storage, tracks) == {tracks[0]: [tracks[1]], tracks[1]: [tracks[0]]}
