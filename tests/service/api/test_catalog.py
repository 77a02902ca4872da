"""The catalog over HTTP: metadata, edits, exclusions, verification, export and import."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage
from tests.songs import Songs, seconds, written

API = "http://localhost/api/v1"


@pytest.fixture
async def client(airtrace: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app(airtrace), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=API, timeout=60) as http:
        yield http


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one[: seconds(20)])


async def added(client: httpx2.AsyncClient, path: Path, **said: str) -> dict[str, Any]:
    response = await client.post("/tracks", files={"file": (path.name, path.read_bytes())}, data=said)
    assert response.status_code == 201, response.text
    track: dict[str, Any] = response.json()["track"]
    return track


def problem(response: httpx2.Response, status: int, reason: str | None = None) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.get("reason") == reason
    return str(body["detail"])


def lines(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]


async def test_an_upload_sets_all_metadata(client: httpx2.AsyncClient, song: Path) -> None:
    said = {
        "title": "Night",
        "label": "Nacht",
        "rights_holder": "Eulen GmbH",
        "isrc": "DE-A62-21-00001",
        "iswc": "T0345246801",
        "upc": "0 36000 29145 2",
        "territories": "de;AT",
        "valid_from": "2026-01-01",
        "own_id": "X-1",
        "fields": '{"genre": "Jazz"}',
    }
    track = await added(client, song, **said)
    assert {name: track[name] for name in said} == {
        **said,
        "isrc": "DEA622100001",
        "iswc": "T-034.524.680-1",
        "upc": "036000291452",
        "territories": ["DE", "AT"],
        "fields": {"genre": "Jazz"},
    }
    assert (track["status"], track["detectors"], track["excluded"]) == ("ready", ["fingerprint"], [])
    assert len(bytes.fromhex(track["audio_sha256"])) == 32


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"isrc": "nonsense"}, "isrc"),
        ({"upc": "036000291453"}, "upc"),
        ({"territories": "Germany"}, "territories"),
        ({"valid_from": "2026-01-02", "valid_until": "2026-01-01"}, "dates"),
        ({"fields": "[1]"}, "fields"),
        ({"fields": "{"}, "fields"),
    ],
)
async def test_invalid_metadata_is_a_problem_with_its_reason(
    client: httpx2.AsyncClient, song: Path, said: dict[str, str], reason: str
) -> None:
    response = await client.post("/tracks", files={"file": (song.name, song.read_bytes())}, data=said)
    problem(response, 422, reason)
    assert (await client.get("/tracks")).json() == []


async def test_a_track_is_edited_excluded_replaced_retired_and_restored(
    client: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = await added(client, song, artist="The Owls")
    path = f"/tracks/{track['id']}"
    edited = (await client.patch(path, json={"title": "Night", "territories": ["DE"], "artist": ""})).json()
    assert (edited["title"], edited["territories"], edited["artist"]) == ("Night", ["DE"], None)
    problem(await client.patch(path, json={"color": "red"}), 422)
    problem(await client.patch(path, json={"isrc": "x"}), 422)
    problem(await client.patch("/tracks/999", json={"title": "x"}), 404)

    excluded = [{"start_s": 0.0, "end_s": 5.5, "note": "intro"}]
    assert (await client.put(f"{path}/excluded", json=excluded)).json()["excluded"] == excluded
    answer = await client.put(f"{path}/excluded", json=[{"start_s": 5, "end_s": 30}])
    problem(answer, 422, "excluded")
    assert f"5-30 s is beyond the end of track {track['id']} (" in answer.text
    problem(await client.put(f"{path}/excluded", json=[{"start_s": -1, "end_s": 3}]), 422)

    two = written(tmp_path / "two.wav", songs.two[: seconds(15)])
    file = {"file": (two.name, two.read_bytes())}
    replaced = (await client.put(f"{path}/audio", files=file, data={"source": "/new.wav"})).json()
    assert (replaced["duration_s"], replaced["source"], replaced["excluded"]) == (15, "/new.wav", [])
    other = await added(client, song)
    problem(await client.put(f"/tracks/{other['id']}/audio", files=file), 409, "same_audio")

    assert (await client.post(f"{path}/retire")).json()["status"] == "retired"
    assert [each["id"] for each in (await client.get("/tracks?status=retired")).json()] == [track["id"]]
    assert (await client.post(f"{path}/restore")).json()["status"] == "ready"
    for action in ("retire", "restore"):
        problem(await client.post(f"/tracks/999/{action}"), 404)


async def test_a_catalog_is_described_verified_rebuilt_and_pruned(
    client: httpx2.AsyncClient, song: Path, index: Index, storage: Storage
) -> None:
    track = await added(client, song)
    about = (await client.get("/catalog")).json()
    assert about["tracks"] == {"ready": 1}
    assert about["vectors_indexed"] == about["vectors_wanted"] == about["models"][0]["vectors"] > 0
    assert lines(await client.post("/catalog/verify")) == [{"done": 1, "total": 1}]
    await index.delete(track["id"])
    difference = {"track": track["id"], "difference": "missing", "vectors": about["vectors_wanted"]}
    for repaired, query in ((False, ""), (True, "?repair=true")):
        assert lines(await client.post(f"/catalog/verify{query}"))[0] == {**difference, "repaired": repaired}
    assert lines(await client.post("/catalog/verify")) == [{"done": 1, "total": 1}]
    assert lines(await client.post("/catalog/rebuild"))[-1] == {"done": 1, "total": 1}
    assert (await client.get("/catalog")).json()["vectors_indexed"] == about["vectors_wanted"]
    assert (await client.post("/catalog/prune")).json() == {"fingerprints": 0}


async def test_a_catalog_is_exported_and_imported(client: httpx2.AsyncClient, song: Path) -> None:
    track = await added(client, song, title="Night")
    file = (await client.get("/catalog/export")).content
    await client.delete(f"/tracks/{track['id']}")
    for content, status in ((file, "added"), (gzip.compress(file), "known")):
        (row,) = (await client.post("/catalog/import", files={"file": ("c.ndjson", content)})).json()
        assert (row["line"], row["title"], row["status"], row["error"]) == (2, "Night", status, None)
    (back,) = (await client.get("/tracks")).json()
    assert {**back, "id": 0, "added_at": 0} == {**track, "id": 0, "added_at": 0}
    problem(await client.post("/catalog/import", files={"file": ("c.ndjson", file[:-40])}), 422, "damaged")


async def test_a_track_that_cannot_be_imported_is_a_failed_row_and_the_others_are_imported(
    client: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    one = await added(client, song, own_id="X-1")
    two = await added(client, written(tmp_path / "two.wav", songs.two[: seconds(15)]))
    file = (await client.get("/catalog/export")).content
    for track in (one, two):
        await client.delete(f"/tracks/{track['id']}")
    await added(client, written(tmp_path / "three.wav", songs.unknown[: seconds(15)]), own_id="X-1")
    rows = (await client.post("/catalog/import", files={"file": ("c.ndjson", file)})).json()
    assert [(row["status"], row["reason"]) for row in rows] == [("failed", "id_taken"), ("added", None)]
