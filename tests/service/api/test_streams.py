"""Streams over HTTP: added, listed, removed; their names and URLs."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import httpx2
import pytest

from monitor.storage.storage import Storage
from tests.service.api.http import API, SECRET_URL, problem


async def test_a_stream_is_added_read_listed_and_removed_and_its_credentials_are_never_shown(
    client: httpx2.AsyncClient, storage: Storage
) -> None:
    added = await client.post(f"{API}/streams", json={"name": "radio-one", "url": SECRET_URL})
    assert added.status_code == 201
    shown = added.json()
    assert shown.pop("warning") is None
    assert shown["url"] == "https://radio.example:8000/live.mp3?token=***"
    assert (shown["state"], shown["reason"], shown["heard_until"]) == ("not_running", None, None)
    answers = [added, await client.get(f"{API}/streams"), await client.get(f"{API}/streams/radio-one")]
    assert [answers[1].json(), answers[2].json()] == [[shown], shown]
    taken = await client.post(f"{API}/streams", json={"name": "radio-one", "url": SECRET_URL})
    assert "radio-one" in problem(taken, 409)["detail"]
    for answer in (*answers, taken, await client.get("/")):
        assert not re.search("hunter2|s3cr3t|someone", answer.text)
    assert [stream.url for stream in await storage.streams.list()] == [SECRET_URL]
    assert (await client.delete(f"{API}/streams/radio-one")).status_code == 204
    assert (await client.get(f"{API}/streams")).json() == []
    for again in (client.delete, client.get):
        problem(await again(f"{API}/streams/radio-one"), 404)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "/etc/passwd",
        "concat:a|b",
        "pipe:0",
        "ftp://someone:hunter2@radio.example/a",
        "http://someone:hunter2@/a",
        "http://someone:hunter2@radio.example:hunter2/a",
        "http://someone:hunter2@radio.example/a b",
        "hunter2",
    ],
)
async def test_an_unsupported_url_is_refused_without_repeating_it(
    client: httpx2.AsyncClient, storage: Storage, url: str
) -> None:
    response = await client.post(f"{API}/streams", json={"name": "radio-one", "url": url})
    assert problem(response, 422)["reason"] == "not_audio"
    assert "hunter2" not in response.text
    assert await storage.streams.list() == []


@pytest.mark.parametrize(
    "name",
    ["Radio Ü & Co.", "50% ?#+;=", "a\\b", '"quoted"', "日本 🎵", "..a", "%2F", "'; drop table streams --", "<b>"],
)
async def test_streams_of_any_printable_name_are_reached_by_their_paths(client: httpx2.AsyncClient, name: str) -> None:
    added = await client.post(f"{API}/streams", json={"name": name, "url": "http://radio.example/a"})
    assert added.status_code == 201, added.text
    path = f"{API}/streams/{quote(name, safe='')}"
    assert (await client.get(path)).json()["name"] == name
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(f"{API}/streams")).json() == []


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "a\nb", "a\x00b", "a\x7fb", "x" * 101, "\ud800", None, 7])
async def test_names_that_no_path_can_carry_are_refused(client: httpx2.AsyncClient, name: object) -> None:
    body = json.dumps({"name": name, "url": "http://radio.example/a"})
    response = await client.post(f"{API}/streams", content=body, headers={"Content-Type": "application/json"})
    assert "name" in problem(response, 422)["detail"]


async def test_spaces_around_a_name_are_not_part_of_it(client: httpx2.AsyncClient) -> None:
    added = await client.post(f"{API}/streams", json={"name": " radio-one ", "url": "http://radio.example/a"})
    assert added.json()["name"] == "radio-one"
