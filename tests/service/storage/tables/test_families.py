"""Families as PostgreSQL stores them: relations of tracks, and the families that they lead to."""

from __future__ import annotations

import random
from collections.abc import Sequence

import asyncpg
import numpy as np
import pytest

from ingest.wire import SAMPLE_RATE_HZ
from monitor.core.families import FamilyRelation, RelatedTrack, group_families
from monitor.detect.detector import DetectorInfo
from monitor.storage.database import migrate
from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.sql import migrations
from monitor.storage.storage import Storage, open_storage

INFO = DetectorInfo("fingerprint", "test-1", "c0ffee", 4)
WHOLE = RelatedTrack(0, 1.0, 0.9, 1.0)
PART = RelatedTrack(0, 0.2, 1.0, 1.0)


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
    await storage.families.add_relations(track, [RelatedTrack(other, how.share, how.related_share, how.speed)], INFO)


async def named(storage: Storage, tracks: Sequence[int]) -> dict[int, list[int]]:
    return {
        track: [member.id for member in family] for track, family in (await storage.families.members_of(tracks)).items()
    }


async def test_related_tracks_name_one_another_and_others_have_no_family(storage: Storage) -> None:
    one, two, alone = await some_tracks(storage, 3)
    await link(storage, one, two)
    assert await named(storage, [one, two, alone]) == {one: [two], two: [one]}
    (member,) = (await storage.families.members_of([one]))[one]
    assert (member.title, member.artist, member.source) == ("Nocturne 2", "The Owls", "/music/2.flac")
    assert await storage.families.members_of([]) == {}


async def test_a_relation_says_for_each_track_how_much_is_shared_and_how_fast_it_runs(
    storage: Storage, dsn: str
) -> None:
    one, two = await some_tracks(storage, 2)
    await storage.families.add_relations(one, [RelatedTrack(two, 0.75, 0.25, 1.25)], INFO)
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select track_id, member_id, share, speed, part from family_relations order by track_id"
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [(one, two, 0.75, 1.25, True), (two, one, 0.25, 0.8, True)]


async def test_storing_relations_twice_changes_nothing(storage: Storage) -> None:
    one, two = await some_tracks(storage, 2)
    for _ in range(2):
        await link(storage, one, two)
        await link(storage, two, one, PART)
    assert await storage.families.relations() == [FamilyRelation(one, two, True)]


async def test_relations_of_one_search_survive_another_that_misses_them(storage: Storage) -> None:
    one, two = await some_tracks(storage, 2)
    await link(storage, one, two)
    await storage.families.add_relations(two, [], INFO)
    assert await named(storage, [two]) == {two: [one]}


@pytest.mark.parametrize("seed", range(8))
async def test_a_family_is_what_relations_lead_to_over_at_most_one_part(storage: Storage, seed: int) -> None:
    tracks = await some_tracks(storage, 9)
    chance = random.Random(seed)
    links = {
        (one, two): chance.random() < 0.5 for one in tracks for two in tracks if one < two and chance.random() < 0.2
    }
    for (one, two), is_part in links.items():
        await link(storage, one, two, PART if is_part else WHOLE)
    there = {track: sorted(_reached(track, links) - {track}) for track in tracks}
    assert await named(storage, tracks) == {track: family for track, family in there.items() if family}
    pairs = {
        (one, two) for family in group_families(await storage.families.relations()) for one in family for two in family
    }
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


async def test_new_vectors_have_no_relations_until_these_are_searched(storage: Storage) -> None:
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


async def test_only_ready_tracks_are_named(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    await link(storage, one, two)
    await link(storage, two, three)
    await storage.tracks.set_pending(two)
    assert await named(storage, [one]) == {one: [three]}


async def test_related_tracks_that_were_deleted_meanwhile_are_left_out(storage: Storage) -> None:
    one, two, three = await some_tracks(storage, 3)
    await storage.tracks.delete(two)
    await storage.families.add_relations(one, [RelatedTrack(two, 1, 1, 1), RelatedTrack(three, 1, 1, 1)], INFO)
    await storage.families.add_relations(two, [RelatedTrack(three, 1, 1, 1)], INFO)
    assert await storage.families.relations() == [FamilyRelation(one, three, False)]


async def test_only_the_first_members_of_a_long_family_are_named(storage: Storage) -> None:
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
