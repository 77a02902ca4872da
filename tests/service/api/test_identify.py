"""Identify over HTTP: what an uploaded recording contains, with progress."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.storage.storage import Storage
from tests.service.api.http import API, file
from tests.songs import Songs, seconds, written


async def test_an_excerpt_is_identified_with_its_position(
    indexed_client: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = (await indexed_client.post(f"{API}/tracks", files=file(song))).json()["track"]
    excerpt = np.concatenate([songs.unknown[: seconds(12)], songs.one[seconds(9.3) : seconds(25)]])
    response = await indexed_client.post(f"{API}/identify", files=file(written(tmp_path / "excerpt.wav", excerpt)))
    assert response.status_code == 200
    body = response.json()
    assert body["duration_s"] == pytest.approx(27.7)
    [match] = body["matches"]
    assert (match["track"]["id"], match["detector"]) == (track["id"], "fingerprint")
    assert match["start_s"] == pytest.approx(12, abs=1)
    assert match["end_s"] == pytest.approx(27.7, abs=1)
    assert match["track_start_s"] == pytest.approx(9.3, abs=1)
    assert match["score"] > 0.9
    assert match["alternatives"] == []


async def test_an_identified_play_names_its_family(
    indexed_client: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    first = (await indexed_client.post(f"{API}/tracks", files=file(song))).json()["track"]
    quieter = written(tmp_path / "quieter.wav", (songs.one // 2).astype(np.int16))
    second = (await indexed_client.post(f"{API}/tracks", files=file(quieter))).json()["track"]
    assert [other["id"] for other in second["family"]] == [first["id"]]
    response = await indexed_client.post(f"{API}/identify", files=file(song))
    found = [
        (match["track"]["id"], [other["id"] for other in match["alternatives"]]) for match in response.json()["matches"]
    ]
    assert found in ([(first["id"], [second["id"]])], [(second["id"], [first["id"]])])


async def test_progress_is_streamed_in_lines_and_the_result_is_the_last(
    indexed_client: httpx2.AsyncClient, song: Path
) -> None:
    await indexed_client.post(f"{API}/tracks", files=file(song))
    response = await indexed_client.post(
        f"{API}/identify", files=file(song), headers={"Accept": "application/x-ndjson"}
    )
    assert response.headers["content-type"].startswith("application/x-ndjson")
    *progress, result = [json.loads(line) for line in response.text.splitlines()]
    done = [line["done_s"] for line in progress]
    assert done == sorted(done)
    assert len(done) >= 2
    assert done[-1] == result["duration_s"] == 40
    assert len(result["matches"]) == 1


async def test_a_scan_that_fails_midway_ends_with_a_problem(
    client: httpx2.AsyncClient, storage: Storage, monkeypatch: pytest.MonkeyPatch, song: Path
) -> None:
    accept = {"Accept": "application/x-ndjson"}
    response = await client.post(f"{API}/identify", files={"file": ("a.mp3", b"no audio")}, headers=accept)
    assert response.status_code == 200
    [line] = [json.loads(line) for line in response.text.splitlines()]
    assert (line["status"], line["reason"], line["title"]) == (422, "not_audio", "The file cannot be used")
    # Without an index the matcher fails, which stands for any bug.
    with capture_logs() as logs:
        response = await client.post(f"{API}/identify", files=file(song), headers=accept)
    assert json.loads(response.text.splitlines()[-1])["status"] == 500
    assert [entry["event"] for entry in logs] == ["api.bug"]


async def test_unknown_audio_is_not_a_match(
    indexed_client: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    await indexed_client.post(f"{API}/tracks", files=file(song))
    response = await indexed_client.post(f"{API}/identify", files=file(written(tmp_path / "u.wav", songs.unknown)))
    assert response.json() == {"duration_s": 40, "matches": []}
