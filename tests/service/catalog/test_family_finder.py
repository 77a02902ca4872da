"""Families on a real PostgreSQL and Milvus Lite: found as tracks are registered, right whatever happens to these."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from structlog.testing import capture_logs

from ingest.sources import ffmpeg
from ingest.wire import SAMPLE_RATE_HZ
from monitor.catalog import catalog as catalog_module
from monitor.catalog import family_finder as kinship_module
from monitor.catalog.catalog import Catalog
from monitor.core.families import FamilyRelation, RelatedTrack, families
from monitor.core.segments import Hit
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.storage.database import migrate
from monitor.storage.milvus import Index
from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.sql import migrations
from monitor.storage.storage import Storage, open_storage
from tests.songs import Songs, seconds, written

INFO = DetectorInfo("fingerprint", "test-1", "c0ffee", 4)
WHOLE = RelatedTrack(0, 1.0, 0.9, 1.0)
PART = RelatedTrack(0, 0.2, 1.0, 1.0)


# What is stored


async def a_track(storage: Storage, number: int, title: str = "Nocturne") -> int:
    print_ = Fingerprint(INFO, np.eye(4, dtype=np.float32))
    metadata = Metadata(f"{title} {number}", f"/music/{number}.flac", "The Owls")
    track = await storage.tracks.add(bytes([number]) * 32, 5 * SAMPLE_RATE_HZ, metadata, print_)
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


async def some_tracks(storage: Storage, count: int) -> list[int]:
    return [await a_track(storage, number) for number in range(1, count + 1)]


async def link(storage: Storage, track: int, other: int, how: RelatedTrack = WHOLE) -> None:
    await storage.families.add_relations(track, [RelatedTrack(other, how.share, how.kin_share, how.speed)], INFO)


async def named(storage: Storage, tracks: Sequence[int]) -> dict[int, list[int]]:
    return {track: [member.id for member in family] for track, family in (await storage.families.members_of(tracks)).items()}


async def test_kin_name_one_another_and_those_without_have_no_family(storage: Storage) -> None:
    one, two, alone = await some_tracks(storage, 3)
    await link(storage, one, two)
    assert await named(storage, [one, two, alone]) == {one: [two], two: [one]}
    (member,) = (await storage.families.members_of([one]))[one]
    assert (member.title, member.artist, member.source) == ("Nocturne 2", "The Owls", "/music/2.flac")
    assert await storage.families.members_of([]) == {}


async def test_a_kinship_says_of_either_track_how_much_is_shared_and_how_fast_it_runs(storage: Storage, dsn: str) -> None:
    one, two = await some_tracks(storage, 2)
    await storage.families.add_relations(one, [RelatedTrack(two, 0.75, 0.25, 1.25)], INFO)
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select track_id, member_id, share, speed, part from family_relations order by track_id"
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [(one, two, 0.75, 1.25, True), (two, one, 0.25, 0.8, True)]


async def test_relating_twice_changes_nothing(storage: Storage) -> None:
    one, two = await some_tracks(storage, 2)
    for _ in range(2):
        await link(storage, one, two)
        await link(storage, two, one, PART)
    assert await storage.families.relations() == [FamilyRelation(one, two, True)]


async def test_what_one_search_found_is_not_lost_by_another_that_did_not(storage: Storage) -> None:
    one, two = await some_tracks(storage, 2)
    await link(storage, one, two)
    await storage.families.add_relations(two, [], INFO)
    assert await named(storage, [two]) == {two: [one]}


@pytest.mark.parametrize("seed", range(8))
async def test_a_family_is_what_kinships_lead_to_over_one_part_at_most(storage: Storage, seed: int) -> None:
    tracks = await some_tracks(storage, 9)
    chance = random.Random(seed)
    links = {
        (one, two): chance.random() < 0.5 for one in tracks for two in tracks if one < two and chance.random() < 0.2
    }
    for (one, two), is_part in links.items():
        await link(storage, one, two, PART if is_part else WHOLE)
    there = {track: sorted(_reached(track, links) - {track}) for track in tracks}
    assert await named(storage, tracks) == {track: family for track, family in there.items() if family}
    pairs = {(one, two) for family in families(await storage.families.relations()) for one in family for two in family}
    assert {(track, other) for track, family in there.items() for other in family} <= pairs


def _reached(first: int, links: dict[tuple[int, int], bool]) -> set[int]:
    """One step after the other, by definition."""
    seen, left = {(first, False)}, [(first, False)]
    while left:
        track, through_part = left.pop()
        for (one, two), is_part in links.items():
            if track in (one, two) and not (through_part and is_part):
                step = (two if track == one else one, through_part or is_part)
                if step not in seen:
                    seen.add(step)
                    left.append(step)
    return {track for track, _ in seen}


async def test_a_deleted_track_leaves_the_family_and_no_longer_joins_others(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    await link(storage, one, two)
    await link(storage, two, three)
    assert await named(storage, [one]) == {one: [two, three]}
    await storage.tracks.delete(two)
    assert await named(storage, [one, two, three]) == {}
    assert await storage.families.relations() == []


async def test_other_vectors_have_no_kin_until_these_are_looked_for(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    assert await storage.families.tracks_without_known_family(INFO) == [one, two, three]
    assert await storage.families.tracks_without_known_family(INFO, 2) == [one, two]
    for track, other in ((one, two), (two, three), (three, two)):
        await link(storage, track, other)
    assert await storage.families.tracks_without_known_family(INFO) == []
    await storage.vectors.replace(one, Fingerprint(INFO, np.eye(4, dtype=np.float32)))
    assert await named(storage, [one, two, three]) == {two: [three], three: [two]}
    assert await storage.families.tracks_without_known_family(INFO) == [one]
    assert await storage.families.tracks_without_known_family(DetectorInfo("fingerprint", "test-2", "decade", 4)) == []


async def test_only_what_is_ready_is_named(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    await link(storage, one, two)
    await link(storage, two, three)
    await storage.tracks.set_pending(two)
    assert await named(storage, [one]) == {one: [three]}


async def test_kin_that_were_deleted_meanwhile_are_left_out(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    await storage.tracks.delete(two)
    await storage.families.add_relations(one, [RelatedTrack(two, 1, 1, 1), RelatedTrack(three, 1, 1, 1)], INFO)
    await storage.families.add_relations(two, [RelatedTrack(three, 1, 1, 1)], INFO)
    assert await storage.families.relations() == [FamilyRelation(one, three, False)]


async def test_of_a_long_family_the_first_are_named(storage: Storage) -> None:
    tracks = await some_tracks(storage, 5)
    for track in tracks[1:]:
        await link(storage, tracks[0], track)
    families = await storage.families.members_of([tracks[0], tracks[4]], max_members=2)
    ids = {track: [each.id for each in family] for track, family in families.items()}
    assert ids == {tracks[0]: tracks[1:3], tracks[4]: tracks[:2]}


async def test_the_families_of_tracks_from_an_older_version_are_not_known(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await migrate(connection, [known for known in migrations() if known[0] < 4])
    await connection.execute(
        "insert into tracks (audio_sha256, status, title, source, n_samples) values ($1, 'ready', 'a', 'b', 9)",
        b"a" * 32,
    )
    await connection.execute(
        "insert into fingerprints select id, 'fingerprint', 'test-1', 'c0ffee', 1, 1, 1, '12'::bytea from tracks"
    )
    await connection.close()
    async with open_storage(empty_dsn, 2) as storage:
        assert len(await storage.families.tracks_without_known_family(INFO)) == 1


# What is found


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


async def test_the_same_recording_in_another_encoding_is_kin_as_soon_as_it_is_registered(
    catalog: Catalog, storage: Storage, files: dict[str, Path]
) -> None:
    one, two = await added(catalog, files["one"]), await added(catalog, files["two"])
    assert await named(storage, [one, two]) == {}
    coded = await added(catalog, files["coded"])
    assert await named(storage, [one, two, coded]) == {one: [coded], coded: [one]}
    assert await storage.families.relations() == [FamilyRelation(one, coded, False)]


async def test_a_piece_of_a_recording_is_a_part_of_it(catalog: Catalog, storage: Storage, files: dict[str, Path]) -> None:
    long = written(files["one"].parent / "long.wav", _joined(files, "one", "two"))
    whole, piece = await added(catalog, long), await added(catalog, files["part"])
    assert await storage.families.relations() == [FamilyRelation(whole, piece, True)]


def _joined(files: dict[str, Path], *names: str) -> np.ndarray:
    return np.concatenate([np.frombuffer(files[name].read_bytes()[44:], "<i2") for name in names])


async def test_several_that_are_registered_at_once_are_one_family_after_few_searches(
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
    catalog: Catalog, storage: Storage, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "BATCH_TRACKS", 2)
    tracks = await asyncio.gather(*(added(catalog, path) for path in files.values()))
    assert len((await storage.families.members_of([tracks[0]]))[tracks[0]]) == 2
    assert await storage.families.tracks_without_known_family(catalog._detector.info) == []


async def test_families_outlive_the_index(catalog: Catalog, index: Index, storage: Storage, files: dict[str, Path]) -> None:
    one, coded = await added(catalog, files["one"]), await added(catalog, files["coded"])
    await index.recreate()
    await catalog.recover()
    assert await named(storage, [one]) == {one: [coded]}


async def test_a_deleted_track_is_no_longer_kin_and_found_anew_when_it_is_back(
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


def _broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("what", ["the search", "a bug"])
async def test_a_search_for_kin_that_fails_costs_the_family_and_not_the_registration(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    one = await added(catalog, files["one"])
    with monkeypatch.context() as broken, capture_logs() as logs:
        if what == "the search":
            broken.setattr(index, "search", _away)
        else:
            broken.setattr(kinship_module, "kin", _broken)
        coded = await added(catalog, files["coded"])
    assert [(log["event"], log["tracks"]) for log in logs if log["log_level"] == "error"] == [
        ("catalog.family_search_failed", [coded])
    ]
    assert await storage.families.members_of([one]) == {}
    assert await storage.families.tracks_without_known_family(catalog._detector.info) == [coded]
    await catalog.recover()
    assert await named(storage, [one]) == {one: [coded]}


async def test_one_track_that_fails_does_not_cost_its_neighbours_their_family(
    catalog: Catalog, storage: Storage, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    relate = storage.families.add_relations
    failed: list[int] = []

    async def sometimes(track: int, kin: Sequence[RelatedTrack], info: DetectorInfo) -> None:
        if not failed:
            failed.append(track)
            raise ZeroDivisionError
        await relate(track, kin, info)

    monkeypatch.setattr(storage.families, "add_relations", sometimes)
    tracks = await asyncio.gather(*(added(catalog, path) for path in files.values()))
    assert await storage.families.tracks_without_known_family(catalog._detector.info) == failed
    assert len(await storage.families.members_of(tracks)) == 3


async def test_many_tracks_without_a_family_wait_for_a_rebuild(
    catalog: Catalog, index: Index, storage: Storage, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(index, "search", _away)
        one, coded = await added(catalog, files["one"]), await added(catalog, files["coded"])
    monkeypatch.setattr(catalog_module, "BATCH_TRACKS", 1)
    with capture_logs() as logs:
        await catalog.recover()
    assert ("catalog.without_families", "airtrace tracks rebuild") in [(log["event"], log.get("next")) for log in logs]
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
