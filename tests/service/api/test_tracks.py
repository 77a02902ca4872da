"""Tracks over HTTP: registered, listed, searched, deleted, and rebuilt; their families."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx2

from monitor.catalog.catalog import Catalog
from monitor.core.families import RelatedTrack
from monitor.detect.logmel import LogMelDetector
from monitor.errors import DependencyError
from monitor.parts import Airtrace
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.service.api.http import API, a_track, client_of, file, problem


async def test_a_track_is_registered_read_listed_and_deleted(indexed_client: httpx2.AsyncClient, song: Path) -> None:
    about = {"title": "Nocturne", "artist": "The Owls", "album": "Night", "isrc": "DEA622100001", "source": "/a/b.wav"}
    added = await indexed_client.post(f"{API}/tracks", files=file(song), data=about)
    assert added.status_code == 201
    assert added.json()["known"] is False
    track = added.json()["track"]
    assert {key: track[key] for key in about} == about
    assert (track["status"], track["duration_s"]) == ("ready", 40)
    assert (await indexed_client.get(f"{API}/tracks/{track['id']}")).json() == track
    assert (await indexed_client.get(f"{API}/tracks")).json() == [track]
    deleted = await indexed_client.delete(f"{API}/tracks/{track['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await indexed_client.get(f"{API}/tracks")).json() == []
    for again in (indexed_client.delete, indexed_client.get):
        assert f"no track {track['id']}" in problem(await again(f"{API}/tracks/{track['id']}"), 404)["detail"]


async def test_the_same_audio_again_is_known(indexed_client: httpx2.AsyncClient, song: Path) -> None:
    first = await indexed_client.post(f"{API}/tracks", files=file(song))
    again = await indexed_client.post(f"{API}/tracks", files=file(song, "renamed.wav"), data={"title": "Other"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"known": True, "track": first.json()["track"]}
    assert first.json()["track"]["title"] == "song"


async def test_tracks_are_listed_in_pages_and_searched(client: httpx2.AsyncClient, storage: Storage) -> None:
    for number in range(5):
        await a_track(storage, number, Metadata(f"Title {number}%", "a"))
    titles = [track["title"] for track in (await client.get(f"{API}/tracks?limit=2&offset=1")).json()]
    assert titles == ["Title 1%", "Title 2%"]
    found = (await client.get(f"{API}/tracks", params={"query": "title 3%"})).json()
    assert [track["title"] for track in found] == ["Title 3%"]


async def test_a_rebuild_streams_a_line_per_track(
    indexed_client: httpx2.AsyncClient, storage: Storage, song: Path
) -> None:
    info = {"name": "fingerprint", "version": "old", "checksum": "old", "dimensions": 8}
    track = await a_track(storage, 1, Metadata("Old", "/nowhere/old.wav"), **info)
    response = await indexed_client.post(f"{API}/tracks/rebuild")
    [line] = [json.loads(line) for line in response.text.splitlines()]
    assert (response.status_code, line["track"]["id"]) == (200, track)
    assert "old.wav" in line["error"]


class IndexOfADeadMilvus:
    """An index that cannot be rebuilt, as Milvus is unreachable."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def rebuilding(self, *_: object) -> None:
        raise DependencyError("Milvus is unreachable")


async def test_a_rebuild_that_fails_midway_ends_with_a_problem(
    airtrace: Airtrace, storage: Storage, detector: LogMelDetector, executor: Executor
) -> None:
    index = cast("Index", IndexOfADeadMilvus(airtrace.index))
    broken = replace(airtrace, index=index, catalog=Catalog(storage, index, detector, executor))
    info = {"name": "fingerprint", "version": "old", "checksum": "old", "dimensions": 8}
    track = await a_track(storage, 1, Metadata("Old", "/nowhere/old.wav"), **info)
    async with client_of(broken) as http:
        response = await http.post(f"{API}/tracks/rebuild")
    line, last = (json.loads(line) for line in response.text.splitlines())
    assert line["track"]["id"] == track
    assert (last["status"], last["detail"]) == (503, "Milvus is unreachable")


async def test_families_are_listed_and_each_track_names_its_own(client: httpx2.AsyncClient, storage: Storage) -> None:
    assert (await client.get(f"{API}/tracks/families")).json() == []
    tracks = [await a_track(storage, number, Metadata(f"Song {number}", "a.wav")) for number in range(1, 6)]
    for track, other in ((0, 2), (1, 4)):
        await storage.families.add_relations(
            tracks[track], [RelatedTrack(tracks[other], 1.0, 1.0, 1.0)], LogMelDetector().info
        )
    found = (await client.get(f"{API}/tracks/families")).json()
    assert [[track["title"] for track in family["tracks"]] for family in found] == [
        ["Song 1", "Song 3"],
        ["Song 2", "Song 5"],
    ]
    assert (await client.get(f"{API}/tracks/families", params={"limit": 1})).json() == found[:1]
    listed = (await client.get(f"{API}/tracks")).json()
    families = [[other["title"] for other in track["family"]] for track in listed]
    assert families == [["Song 3"], ["Song 5"], ["Song 1"], [], ["Song 2"]]
    assert (await client.get(f"{API}/tracks/{tracks[2]}")).json() == listed[2]
