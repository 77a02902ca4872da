"""The HTTP API over real parts: every route, every error as an RFC 9457 problem, and nothing secret in any answer."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from structlog.testing import capture_logs

from ingest import timeline
from monitor import metrics
from monitor.catalog.catalog import Catalog
from monitor.core.families import RelatedTrack
from monitor.core.play import Play
from monitor.demo.music import cache_folder
from monitor.detect.logmel import LogMelDetector
from monitor.errors import DependencyError
from monitor.matching.matcher import Matcher
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.processes.http_server import serve_http
from monitor.settings import MatchingSettings, Settings
from monitor.storage.milvus import Index
from monitor.storage.records import Batch, Fingerprint, Interval, Metadata, Progress
from monitor.storage.storage import Storage
from tests import ffmpegs
from tests.songs import ANCHOR, SECOND, Songs, seconds, written
from tests.waiting import until

MP3 = cache_folder() / "asc-music/usr/share/games/asc/music/frontiers.mp3"
HOST = "http://localhost"
API = "/api/v1"

# Each of these is asked for in this file: what is new belongs here and into a test.
ROUTES = {
    ("GET", f"{API}/alerts"),
    ("GET", f"{API}/coverage"),
    ("GET", f"{API}/matches"),
    ("GET", f"{API}/matches/{{match_id}}"),
    ("GET", f"{API}/streams"),
    ("POST", f"{API}/streams"),
    ("GET", f"{API}/streams/{{name}}"),
    ("DELETE", f"{API}/streams/{{name}}"),
    ("GET", f"{API}/tracks"),
    ("GET", f"{API}/tracks/families"),
    ("POST", f"{API}/tracks"),
    ("POST", f"{API}/tracks/rebuild"),
    ("GET", f"{API}/tracks/{{track_id}}"),
    ("DELETE", f"{API}/tracks/{{track_id}}"),
    ("PATCH", f"{API}/tracks/{{track_id}}"),  # test_api_catalog.py
    ("PUT", f"{API}/tracks/{{track_id}}/audio"),
    ("PUT", f"{API}/tracks/{{track_id}}/excluded"),
    ("POST", f"{API}/tracks/{{track_id}}/retire"),
    ("POST", f"{API}/tracks/{{track_id}}/restore"),
    ("GET", f"{API}/catalog"),
    ("POST", f"{API}/catalog/verify"),
    ("POST", f"{API}/catalog/rebuild"),
    ("POST", f"{API}/catalog/prune"),
    ("GET", f"{API}/catalog/export"),
    ("POST", f"{API}/catalog/import"),
    ("POST", f"{API}/identify"),
    ("POST", f"{API}/explain"),  # test_explain.py
    ("GET", f"{API}/streams/{{name}}/explain"),
    ("POST", f"{API}/calibrate"),  # test_calibrate.py
    ("GET", f"{API}/calibration"),
    ("PUT", f"{API}/calibration"),
    ("DELETE", f"{API}/calibration"),
    ("GET", f"{API}/sounds"),  # test_sounds.py
    ("POST", f"{API}/sounds/search"),
    ("POST", f"{API}/sounds/enroll"),
    ("GET", f"{API}/similar"),
    ("GET", f"{API}/similar/{{similar_id}}"),
    ("PUT", f"{API}/similar/{{similar_id}}"),
    ("GET", "/healthz"),
}
PAGES = {"/", "/live"}  # tests/web
LISTS = [f"{API}/{noun}" for noun in ("tracks", "streams", "matches", "alerts", "coverage", "sounds", "similar")]


def _settings(tmp_path: Path, **api: Any) -> Settings:
    return Settings(home=tmp_path, api={"max_upload_mb": 64, **api})


@pytest.fixture
def parts(
    tmp_path: Path, dsn: str, storage: Storage, index: Index, catalog: Catalog, matcher: Matcher, executor: Executor
) -> Airtrace:
    return Airtrace(_settings(tmp_path), dsn, storage, index, catalog, matcher, executor)


@pytest.fixture
def without_index(tmp_path: Path, dsn: str, storage: Storage, detector: LogMelDetector, executor: Executor) -> Airtrace:
    """For what never comes near the vectors, which is most: opening an index takes a while."""
    index = Index(None, detector.info, lambda action: action())
    catalog = Catalog(storage, index, detector, executor)
    matcher = Matcher(detector, index, storage, executor, MatchingSettings(), detector.thresholds)
    return Airtrace(_settings(tmp_path), dsn, storage, index, catalog, matcher, executor)


def client_of(parts: Airtrace, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=create_app(parts), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers, timeout=60)


@pytest.fixture
async def client(without_index: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(without_index) as http:
        yield http


@pytest.fixture
async def whole(parts: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API with an index behind it."""
    async with client_of(parts) as http:
        yield http


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The answer as RFC 9457 wants it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail"} <= body.keys() <= {"type", "title", "status", "detail", "reason"}
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


def file(path: Path, name: str | None = None) -> dict[str, Any]:
    return {"file": (name or path.name, path.read_bytes())}


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


# Tracks


async def test_a_track_is_registered_read_listed_and_deleted(whole: httpx2.AsyncClient, song: Path) -> None:
    about = {"title": "Nocturne", "artist": "The Owls", "album": "Night", "isrc": "DEA622100001", "source": "/a/b.wav"}
    added = await whole.post(f"{API}/tracks", files=file(song), data=about)
    assert added.status_code == 201
    assert added.json()["known"] is False
    track = added.json()["track"]
    assert {key: track[key] for key in about} == about
    assert (track["status"], track["duration_s"]) == ("ready", 40)
    assert (await whole.get(f"{API}/tracks/{track['id']}")).json() == track
    assert (await whole.get(f"{API}/tracks")).json() == [track]
    deleted = await whole.delete(f"{API}/tracks/{track['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await whole.get(f"{API}/tracks")).json() == []
    for again in (whole.delete, whole.get):
        assert f"no track {track['id']}" in problem(await again(f"{API}/tracks/{track['id']}"), 404)["detail"]


async def test_the_same_audio_again_is_known(whole: httpx2.AsyncClient, song: Path) -> None:
    first = await whole.post(f"{API}/tracks", files=file(song))
    again = await whole.post(f"{API}/tracks", files=file(song, "renamed.wav"), data={"title": "Other"})
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"just text " * 50, "not_audio"), (b"#EXTM3U\nhttp://127.0.0.1/x\n", "not_audio")],
)
async def test_a_file_that_is_no_audio_is_a_problem_with_its_name_and_reason(
    client: httpx2.AsyncClient, storage: Storage, content: bytes, reason: str
) -> None:
    for path in (f"{API}/tracks", f"{API}/identify"):
        body = problem(await client.post(path, files={"file": ("notes.mp3", content)}), 422)
        assert body["reason"] == reason
        assert "notes.mp3" in body["detail"]
        assert "/tmp" not in body["detail"]
    assert await storage.tracks.list() == []


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        ("../../etc/passwd.wav", "passwd"),
        ("C:\\music\\song.wav", "song"),
        ('a "b" c.wav', 'a "b" c'),
        ("-i.wav", "-i"),
        ("http:a.wav", "http:a"),
        ("Ünï 🎵 日本.wav", "Ünï 🎵 日本"),
        ("x" * 300 + ".wav", "x" * 200),
        ("x" * 300 + "." + "🎵" * 60, "x" * 200),
        ("..", "upload"),
        (".wav", ".wav"),
        ("a\nb.wav", "a b"),
    ],
)
async def test_any_file_name_is_taken(client: httpx2.AsyncClient, storage: Storage, sent: str, title: str) -> None:
    """As far as the decoder, which has its say: all of these are read as files of that name."""
    sound = written_bytes(np.zeros(seconds(2), np.int16))
    body = problem(await client.post(f"{API}/tracks", files={"file": (sent, sound)}), 422)
    assert body["reason"] == "silent"
    assert body["detail"].startswith(title)


def written_bytes(pcm: np.ndarray) -> bytes:
    samples = pcm.astype("<i2").tobytes()
    size = len(samples)
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1).to_bytes(2, "little") * 2 + (32000).to_bytes(4, "little") + (64000).to_bytes(4, "little")
    return head + form + b"\x02\x00\x10\x00data" + size.to_bytes(4, "little") + samples


async def test_a_rebuild_answers_a_line_a_track(whole: httpx2.AsyncClient, storage: Storage, song: Path) -> None:
    info = {"name": "fingerprint", "version": "old", "checksum": "old", "dimensions": 8}
    track = await a_track(storage, 1, Metadata("Old", "/nowhere/old.wav"), **info)
    response = await whole.post(f"{API}/tracks/rebuild")
    [line] = [json.loads(line) for line in response.text.splitlines()]
    assert (response.status_code, line["track"]["id"]) == (200, track)
    assert "old.wav" in line["error"]


async def test_a_rebuild_that_breaks_off_ends_with_a_problem(
    whole: httpx2.AsyncClient, storage: Storage, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DependencyError("Milvus is away")

    info = {"name": "fingerprint", "version": "old", "checksum": "old", "dimensions": 8}
    track = await a_track(storage, 1, Metadata("Old", "/nowhere/old.wav"), **info)
    monkeypatch.setattr(index, "building", away)
    response = await whole.post(f"{API}/tracks/rebuild")
    line, last = (json.loads(line) for line in response.text.splitlines())
    assert line["track"]["id"] == track
    assert (last["status"], last["detail"]) == (503, "Milvus is away")


async def a_track(storage: Storage, number: int, metadata: Metadata, **info: Any) -> int:
    known = replace(LogMelDetector().info, **info)
    vectors = np.eye(8, known.dimensions, dtype=np.float32)
    track = await storage.tracks.add(bytes([number]) * 32, 5 * SECOND, metadata, Fingerprint(known, vectors))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


async def test_families_are_listed_and_each_track_names_its_own(client: httpx2.AsyncClient, storage: Storage) -> None:
    assert (await client.get(f"{API}/tracks/families")).json() == []
    tracks = [await a_track(storage, number, Metadata(f"Song {number}", "a.wav")) for number in range(1, 6)]
    for track, other in ((0, 2), (1, 4)):
        await storage.families.add_relations(tracks[track], [RelatedTrack(tracks[other], 1.0, 1.0, 1.0)], LogMelDetector().info)
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


# Identify


async def test_an_excerpt_is_identified_with_its_position(
    whole: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = (await whole.post(f"{API}/tracks", files=file(song))).json()["track"]
    excerpt = np.concatenate([songs.unknown[: seconds(12)], songs.one[seconds(9.3) : seconds(25)]])
    response = await whole.post(f"{API}/identify", files=file(written(tmp_path / "excerpt.wav", excerpt)))
    assert response.status_code == 200
    body = response.json()
    assert body["duration_s"] == pytest.approx(27.7)
    [match] = body["matches"]
    assert (match["track"]["id"], match["detector"]) == (track["id"], "fingerprint")
    assert match["start_s"] == pytest.approx(12, abs=1)
    assert match["end_s"] == pytest.approx(27.7, abs=1)
    assert match["track_start_s"] == pytest.approx(9.3, abs=1)
    assert match["score"] > 0.9
    assert match["also"] == []


async def test_what_is_identified_names_its_family(
    whole: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path
) -> None:
    first = (await whole.post(f"{API}/tracks", files=file(song))).json()["track"]
    quieter = written(tmp_path / "quieter.wav", (songs.one // 2).astype(np.int16))
    second = (await whole.post(f"{API}/tracks", files=file(quieter))).json()["track"]
    assert [other["id"] for other in second["family"]] == [first["id"]]
    response = await whole.post(f"{API}/identify", files=file(song))
    found = [(match["track"]["id"], [other["id"] for other in match["also"]]) for match in response.json()["matches"]]
    assert found in ([(first["id"], [second["id"]])], [(second["id"], [first["id"]])])


async def test_progress_comes_in_lines_and_the_result_last(whole: httpx2.AsyncClient, song: Path) -> None:
    await whole.post(f"{API}/tracks", files=file(song))
    response = await whole.post(f"{API}/identify", files=file(song), headers={"Accept": "application/x-ndjson"})
    assert response.headers["content-type"].startswith("application/x-ndjson")
    *progress, result = [json.loads(line) for line in response.text.splitlines()]
    done = [line["done_s"] for line in progress]
    assert done == sorted(done)
    assert len(done) >= 2
    assert done[-1] == result["duration_s"] == 40
    assert len(result["matches"]) == 1


async def test_a_scan_that_fails_under_way_ends_with_a_problem(
    client: httpx2.AsyncClient, storage: Storage, monkeypatch: pytest.MonkeyPatch, song: Path
) -> None:
    accept = {"Accept": "application/x-ndjson"}
    response = await client.post(f"{API}/identify", files={"file": ("a.mp3", b"no audio")}, headers=accept)
    assert response.status_code == 200
    [line] = [json.loads(line) for line in response.text.splitlines()]
    assert (line["status"], line["reason"], line["title"]) == (422, "not_audio", "The file cannot be used")
    # Without an index the matcher breaks, as it would of a bug.
    with capture_logs() as logs:
        response = await client.post(f"{API}/identify", files=file(song), headers=accept)
    assert json.loads(response.text.splitlines()[-1])["status"] == 500
    assert [entry["event"] for entry in logs] == ["api.bug"]


async def test_unknown_audio_is_no_match(whole: httpx2.AsyncClient, song: Path, songs: Songs, tmp_path: Path) -> None:
    await whole.post(f"{API}/tracks", files=file(song))
    response = await whole.post(f"{API}/identify", files=file(written(tmp_path / "u.wav", songs.unknown)))
    assert response.json() == {"duration_s": 40, "matches": []}


# Streams


SECRET_URL = "https://someone:hunter2@radio.example:8000/live.mp3?token=s3cr3t#frag"


async def test_a_stream_is_added_read_listed_and_removed_and_its_credentials_never_shown(
    client: httpx2.AsyncClient, storage: Storage
) -> None:
    added = await client.post(f"{API}/streams", json={"name": "radio-one", "url": SECRET_URL})
    assert added.status_code == 201
    shown = added.json()
    assert shown["url"] == "https://radio.example:8000/live.mp3?token=***"
    assert (shown["state"], shown["reason"], shown["heard_until"]) == ("waiting", None, None)
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
async def test_a_url_that_is_not_opened_is_refused_without_repeating_it(
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


# What was found


@pytest.fixture
async def on_air(storage: Storage) -> Play:
    """An open match on a stream that was listened to for 20 s, behind a gap."""
    track = await a_track(storage, 1, Metadata("Nocturne", "/a/n.wav", "The Owls"))
    stream = await storage.streams.add("radio-one", SECRET_URL)
    assert stream is not None
    play = Play(uuid.uuid4(), track, ANCHOR, ANCHOR + 15 * SECOND, 30 * SECOND, 45 * SECOND, 1.0, 18.0, 20, 50.0)
    await storage.batches.write(
        Batch(
            stream_id=stream,
            expected=None,
            progress=Progress(ANCHOR + 20 * SECOND, 0, 9, 0),
            coverage=(
                Interval(ANCHOR - 5 * SECOND, ANCHOR, "connecting"),
                Interval(ANCHOR, ANCHOR + 20 * SECOND),
            ),
            opened=(play,),
            open=(play,),
            closed=(),
            severity="warning",
        ),
        LogMelDetector().info,
    )
    return play


def iso(clock: int) -> str:
    return timeline.to_utc(clock).isoformat().replace("+00:00", "Z")


async def test_a_match_has_its_times_position_and_metadata(client: httpx2.AsyncClient, on_air: Play) -> None:
    [match] = (await client.get(f"{API}/matches")).json()
    assert (match["id"], match["state"], match["stream"]["name"]) == (str(on_air.id), "open", "radio-one")
    assert (match["start"], match["end"]) == (iso(on_air.start), iso(on_air.end))
    assert (match["track_start_s"], match["track_end_s"], match["score"]) == (30, 45, 0.9)
    assert (match["track"]["title"], match["track"]["artist"], match["track"]["id"]) == (
        "Nocturne",
        "The Owls",
        on_air.track,
    )
    assert (await client.get(f"{API}/matches/{on_air.id}")).json() == match


async def test_a_play_names_the_family_of_its_track(
    client: httpx2.AsyncClient, storage: Storage, on_air: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [found["also"] for found in await _found(client, "matches", "alerts")] == [[], []]
    info = LogMelDetector().info
    other = await a_track(storage, 2, Metadata("Nocturne (fast)", "/a/f.wav", "The Owls"))
    await storage.families.add_relations(other, [RelatedTrack(on_air.track, 1.0, 1.0, 1.05)], info)
    asked: list[set[int]] = []
    families = storage.families.members_of

    async def counted(tracks: set[int]) -> Any:
        asked.append(set(tracks))
        return await families(tracks)

    monkeypatch.setattr(storage.families, "members_of", counted)
    relative = {"id": other, "title": "Nocturne (fast)", "artist": "The Owls", "source": "/a/f.wav"}
    assert [found["also"] for found in await _found(client, "matches", "alerts")] == [[relative], [relative]]
    assert asked == [{on_air.track}, {on_air.track}]  # once a page
    assert (await client.get(f"{API}/matches/{on_air.id}")).json()["also"] == [relative]
    await storage.tracks.delete(other)
    assert [found["also"] for found in await _found(client, "matches", "alerts")] == [[], []]


async def _found(client: httpx2.AsyncClient, *nouns: str) -> list[dict[str, Any]]:
    return [one for noun in nouns for one in (await client.get(f"{API}/{noun}")).json()]


@pytest.mark.parametrize(
    ("query", "n"),
    [
        ({"stream": "radio-one"}, 1),
        ({"stream": "radio-two"}, 0),
        ({"state": "open"}, 1),
        ({"state": "closed"}, 0),
        ({"since": iso(ANCHOR + 14 * SECOND)}, 1),
        ({"since": iso(ANCHOR + 15 * SECOND)}, 0),
        ({"since": "0001-01-01T00:00:00Z"}, 1),
        ({"since": "9999-12-31T23:59:59Z"}, 0),
    ],
)
async def test_matches_are_filtered(client: httpx2.AsyncClient, on_air: Play, query: dict[str, str], n: int) -> None:
    response = await client.get(f"{API}/matches", params=query)
    assert response.status_code == 200, response.text
    assert len(response.json()) == n


async def test_coverage_and_alerts_are_listed(client: httpx2.AsyncClient, on_air: Play) -> None:
    covered, gap = (await client.get(f"{API}/coverage", params={"stream": "radio-one"})).json()
    assert (covered["state"], covered["reason"], covered["end"]) == ("covered", None, iso(ANCHOR + 20 * SECOND))
    assert (gap["state"], gap["reason"], gap["start"]) == ("gap", "connecting", iso(ANCHOR - 5 * SECOND))
    assert (await client.get(f"{API}/coverage", params={"stream": "radio-two"})).json() == []
    [alert] = (await client.get(f"{API}/alerts", params={"state": "open"})).json()
    assert (alert["match_id"], alert["severity"], alert["track"]["title"]) == (str(on_air.id), "warning", "Nocturne")
    assert (await client.get(f"{API}/alerts", params={"state": "resolved"})).json() == []


# Errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", f"{API}/tracks/1"),
        ("DELETE", f"{API}/tracks/1"),
        ("GET", f"{API}/tracks/{2**63 - 1}"),
        ("GET", f"{API}/matches/{uuid.UUID(int=1)}"),
        ("GET", f"{API}/streams/none"),
        ("DELETE", f"{API}/streams/none"),
        ("DELETE", f"{API}/streams/%00"),
        ("GET", f"{API}/streams/%ff%fe"),
        ("GET", "/static/../pages.py"),
        ("GET", "/static/%2e%2e/pages.py"),
        ("GET", "/static/none.js"),
    ],
)
async def test_what_is_not_there_is_a_problem(client: httpx2.AsyncClient, method: str, path: str) -> None:
    problem(await client.request(method, path), 404)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (f"{API}/tracks/x", "track_id"),
        (f"{API}/tracks/0", "track_id"),
        (f"{API}/tracks/{2**63}", "track_id"),
        (f"{API}/tracks?limit=0", "limit"),
        (f"{API}/tracks?limit=100000", "limit"),
        (f"{API}/tracks?offset=-1", "offset"),
        (f"{API}/tracks?query=a%00b", "query"),
        (f"{API}/matches/7", "match_id"),
        (f"{API}/matches?state=maybe", "state"),
        (f"{API}/matches?since=2026-01-01T00:00:00", "since"),
        (f"{API}/matches?stream=a%00b", "stream"),
        (f"{API}/coverage?since=yesterday", "since"),
        (f"{API}/alerts?state=none", "state"),
    ],
)
async def test_a_request_that_is_not_valid_names_what_is_wrong(
    client: httpx2.AsyncClient, path: str, named: str
) -> None:
    assert named in problem(await client.get(path), 422)["detail"]


@pytest.mark.parametrize(
    ("path", "sent", "named"),
    [
        ("tracks", {}, "file"),
        ("tracks", {"files": {"other": ("a.wav", b"x")}}, "file"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"isrc": "wrong"}}, "isrc"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"title": "x" * 501}}, "title"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"artist": "a\x00b"}}, "artist"),
        ("identify", {}, "file"),
        ("streams", {"json": {"name": "radio-one"}}, "url"),
        ("streams", {"json": ["radio-one"]}, "body"),
        ("streams", {"content": b"{", "headers": {"Content-Type": "application/json"}}, "JSON"),
    ],
)
async def test_a_body_that_is_not_valid_names_what_is_wrong(
    client: httpx2.AsyncClient, path: str, sent: dict[str, Any], named: str
) -> None:
    assert named in problem(await client.post(f"{API}/{path}", **sent), 422)["detail"]


async def test_a_damaged_upload_is_a_problem(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(await client.post(f"{API}/tracks", content=b"nonsense", headers=headers), 400)


async def test_a_method_that_a_path_has_not_names_those_it_has(client: httpx2.AsyncClient) -> None:
    response = await client.put(f"{API}/tracks")
    problem(response, 405)
    assert set(response.headers["allow"].split(", ")) <= {"GET", "POST", "HEAD"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:8420"},
        {"Host": ""},
        {"Host": "127.0.0.1@evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("path", [f"{API}/tracks", "/metrics", "/", "/nothing"])
async def test_other_hosts_and_other_sites_pages_are_refused(
    client: httpx2.AsyncClient, headers: dict[str, str], path: str
) -> None:
    problem(await client.get(path, headers=headers), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:8420", "Origin": "http://localhost:8420"},
        {"Host": "127.0.0.1"},
        {"Host": "[::1]:8420"},
        {"Host": "LOCALHOST"},
    ],
)
async def test_this_machine_and_our_own_page_are_served(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.get("/healthz", headers=headers)).status_code == 200


async def test_the_address_that_is_listened_on_and_hosts_of_the_settings_are_served(
    without_index: Airtrace, tmp_path: Path
) -> None:
    settings = _settings(tmp_path, host="192.0.2.7", hosts=["radio.example"])
    async with client_of(replace(without_index, settings=settings)) as http:
        for host, status in (("192.0.2.7:8420", 200), ("radio.example", 200), ("localhost", 403)):
            assert (await http.get("/healthz", headers={"Host": host})).status_code == status
    every = replace(without_index, settings=_settings(tmp_path, hosts=["*"]))
    async with client_of(every, Host="anything.example") as http:
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["tracks", "identify"])
async def test_an_upload_that_is_too_large_is_refused(
    without_index: Airtrace, tmp_path: Path, path: str, announced: bool
) -> None:
    async with client_of(replace(without_index, settings=_settings(tmp_path, max_upload_mb=1))) as http:
        response = await http.post(f"{API}/{path}", **upload(1_200_000, announced=announced))
        assert "max_upload_mb" in problem(response, 413)["detail"]
        problem(await http.post(f"{API}/{path}", **upload(900_000, announced=announced)), 422)  # no audio


def upload(size: int, *, announced: bool) -> dict[str, Any]:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n--x--\r\n' % bytes(size)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return {"content": body if announced else chunks(body), "headers": headers}


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 65_536):
        yield body[first : first + 65_536]


async def test_a_bug_is_logged_and_not_shown(without_index: Airtrace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("postgresql://someone:hunter2@db/x")

    monkeypatch.setattr(without_index.storage.matches, "list", broken)
    before = answered_with_500()
    with capture_logs() as logs:
        async with client_of(without_index) as http:
            response = await http.get(f"{API}/matches")
    problem(response, 500)
    assert "hunter2" not in response.text
    assert [(entry["event"], entry["path"]) for entry in logs] == [("api.bug", f"{API}/matches")]
    assert answered_with_500() == before + 1


def answered_with_500() -> float:
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    name = "airtrace_http_request_seconds_count"
    return sum(sample.value for sample in samples if sample.name == name and sample.labels["status"] == "500")


@pytest.mark.parametrize("path", [*LISTS, "/healthz", "/live", f"{API}/tracks/1"])
async def test_a_database_that_does_not_answer_is_a_problem_of_its_own(
    client: httpx2.AsyncClient, storage: Storage, path: str
) -> None:
    await storage.database.close()
    with capture_logs():
        assert problem(await client.get(path), 503)["detail"] == "PostgreSQL does not answer"


# Health, metrics, documentation


async def test_health_says_what_is_running(client: httpx2.AsyncClient, detector: LogMelDetector, on_air: Play) -> None:
    body = (await client.get("/healthz")).json()
    info = detector.info
    assert (body["status"], body["detector"], body["tracks"]) == ("ok", info.name, 1)
    assert body["model"] == f"{info.version}/{info.checksum}"
    assert body["version"]


async def test_the_metrics_are_ours_with_bounded_labels(client: httpx2.AsyncClient) -> None:
    await client.get(f"{API}/tracks/7654321")
    await client.get("/secret-path")
    await client.request("BREW", f"{API}/tracks")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    ours = [metric.describe()[0].name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    assert len(ours) > 8
    for name in ours:
        assert f"# HELP {name}" in response.text
    assert re.search(r'route="(/api/v1)?/tracks/\{track_id\}"', response.text)  # FastAPI leaves the prefix out, or not
    assert 'method="other"' in response.text
    for unbounded in ("7654321", "secret-path", "BREW"):
        assert unbounded not in response.text


async def test_the_documentation_loads_only_what_is_served_from_here(client: httpx2.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) >= 3
    for name in files:
        assert name.startswith("/static/"), name
        assert (await client.get(name)).status_code == 200, name
    assert not re.search(r"https?://", page.text.replace("http://www.w3.org", ""))


async def test_the_openapi_document_has_every_route(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["info"]["title"] == "Airtrace"
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {route for route in there if route[1] not in PAGES} == ROUTES


# Served


async def test_an_upload_over_http_that_is_too_large_gets_its_answer(without_index: Airtrace, tmp_path: Path) -> None:
    small = replace(without_index, settings=_settings(tmp_path, max_upload_mb=1))
    async with serve_http(small, "127.0.0.1", 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        for announced in (True, False):
            response = await http.post(f"{API}/tracks", **upload(30_000_000, announced=announced))
            problem(response, 413)


async def test_a_client_that_goes_away_ends_its_scan(parts: Airtrace, songs: Songs) -> None:
    accept = {"Accept": "application/x-ndjson"}
    before = ffmpegs.running()
    async with serve_http(parts, "127.0.0.1", 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        async with http.stream("POST", f"{API}/identify", files=file(MP3), headers=accept, timeout=60) as response:
            async for _ in response.aiter_lines():
                break
            assert ffmpegs.running() - before
        await until(lambda: not ffmpegs.running() - before)
        assert (await http.get("/healthz")).status_code == 200


async def test_a_port_that_is_taken_is_said_with_the_way_out(without_index: Airtrace) -> None:
    async with serve_http(without_index, "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(DependencyError, match="--port or AIRTRACE_API__PORT"):
            async with serve_http(without_index, "127.0.0.1", port):
                pass


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")])
async def test_what_listens_everywhere_is_reached_at_the_address_that_is_announced(
    without_index: Airtrace, tmp_path: Path, host: str, shown: str
) -> None:
    everywhere = replace(without_index, settings=_settings(tmp_path, host=host))
    async with serve_http(everywhere, host, 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        assert url.startswith(shown)
        assert (await http.get("/healthz")).status_code == 200
