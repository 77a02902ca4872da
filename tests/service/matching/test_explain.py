"""Explanations from the HTTP API with real parts: of recordings, and of streams from the log that the worker reads."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from ingest import timeline
from ingest.bus.kafka import KafkaBus
from ingest.bus.spool import Spool
from monitor.catalog.catalog import Catalog
from monitor.matching.matcher import Matcher
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.settings import Settings
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.broker import Broker, kafka_settings
from tests.songs import ANCHOR, SECOND, Air, Songs, seconds, written
from tests.waiting import PATIENCE_S, until
from tests.workers import publish, quick_worker, working

API = "/api/v1"
DEADLINE_S = 60


@pytest.fixture
def parts(
    tmp_path: Path, dsn: str, storage: Storage, index: Index, catalog: Catalog, matcher: Matcher, executor: Executor
) -> Airtrace:
    return Airtrace(Settings(home=tmp_path), dsn, storage, index, catalog, matcher, executor)


def client_of(parts: Airtrace, settings: Settings) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=create_app(replace(parts, settings=settings)), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)


@pytest.fixture
async def client(parts: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(parts, parts.settings) as http:
        yield http


@pytest.fixture
async def one(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    path = written(tmp_path / "one.wav", songs.one)
    return (await catalog.add(path, Metadata("One", str(path)))).track.id


@pytest.fixture
async def two(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    path = written(tmp_path / "two.wav", songs.two)
    return (await catalog.add(path, Metadata("Two", str(path)))).track.id


@pytest.fixture
def recording(tmp_path: Path, songs: Songs) -> Path:
    """12 s of unknown music, track One from 9.3 s to 25 s, silence for 10 s."""
    parts = (songs.unknown[: seconds(12)], songs.one[seconds(9.3) : seconds(25)], songs.silence[: seconds(10)])
    return written(tmp_path / "recording.wav", np.concatenate(parts))


Ask = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture
def ask(client: httpx2.AsyncClient, recording: Path) -> Ask:
    async def asked(**form: Any) -> httpx2.Response:
        return await client.post(f"{API}/explain", files={"file": ("a.wav", recording.read_bytes())}, data=form)

    return asked


def problem(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


# Recordings


async def test_a_play_is_explained_with_its_places_and_figures(ask: Ask, one: int, two: int) -> None:
    response = await ask(at_s="15", for_s="10")
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["origin"], body["start_s"], body["end_s"], body["missing_s"]) == (None, 15, 25, 0)
    assert (body["segments"], body["silent_segments"], body["image"]) == (21, 0, None)
    assert body["summary"] == "played: One"
    assert body["required"]["llr"] > body["required"]["votes"] > 0
    best = body["hypotheses"][0]
    assert (best["track"]["id"], best["verdict"], best["explained_by"]) == (one, "play", None)
    assert best["start_s"] == pytest.approx(12, abs=1)
    assert best["end_s"] == pytest.approx(27.7, abs=1)
    assert best["track_start_s"] == pytest.approx(9.3 + best["start_s"] - 12, abs=0.2)
    assert best["speed"] == pytest.approx(1, abs=0.02)
    assert best["votes"] > body["required"]["votes"]
    assert best["llr"] > body["required"]["llr"]
    assert best["cosine"] > 0.9
    assert best["local_context"] < 0.6
    assert "play: llr" in best["reason"]
    assert (best["may_start_earlier"], best["may_end_later"]) == (False, False)


async def test_explain_agrees_with_identify(ask: Ask, client: httpx2.AsyncClient, one: int, recording: Path) -> None:
    [match] = (await client.post(f"{API}/identify", files={"file": ("a.wav", recording.read_bytes())})).json()[
        "matches"
    ]
    best = (await ask(at_s="15")).json()["hypotheses"][0]
    for name in ("start_s", "end_s", "track_start_s", "llr"):
        assert best[name] == pytest.approx(match[name], abs=0.01), name
    assert (best["cosine"], best["speed"]) == (pytest.approx(match["score"]), pytest.approx(match["speed"]))


async def test_a_miss_says_by_how_much(ask: Ask, one: int) -> None:
    body = (await ask(at_s="2", for_s="4")).json()
    assert body["summary"].startswith(("no play; best hypothesis: One, llr too low", "no hypotheses"))
    assert {each["verdict"] for each in body["hypotheses"]} <= {"llr_too_low"}
    assert all(each["llr"] < body["required"]["llr"] for each in body["hypotheses"])


async def test_silence_is_distinguished_from_unknown_music(ask: Ask, one: int) -> None:
    body = (await ask(at_s="30", for_s="4")).json()
    assert (body["summary"], body["silent_segments"]) == ("silence, which is never searched", body["segments"])
    assert body["hypotheses"] == []


async def test_a_single_track_is_explained_where_it_is_most_likely(ask: Ask, one: int, two: int) -> None:
    body = (await ask(at_s="15", track=str(two))).json()
    assert {each["track"]["id"] for each in body["hypotheses"]} == {two}
    assert body["summary"].startswith("no play; best hypothesis: Two, llr too low")
    assert (await ask(at_s="15", track=str(one))).json()["summary"] == "played: One"


async def test_the_image_is_part_of_the_answer(ask: Ask, one: int) -> None:
    body = (await ask(at_s="15", image="true")).json()
    with Image.open(io.BytesIO(base64.b64decode(body["image"], validate=True))) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
    assert (await ask(at_s="30", for_s="4", image="true")).json()["image"] is None


async def test_the_end_of_a_recording_is_explained_and_a_moment_after_it_is_a_problem(ask: Ask, one: int) -> None:
    body = (await ask(at_s="37", for_s="10")).json()
    assert body["missing_s"] == pytest.approx(47 - 37.7)
    assert "ends before 38.0 s" in problem(await ask(at_s="38"), 422)


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({}, "at_s"),
        ({"at_s": "-1"}, "at_s"),
        ({"at_s": "nan"}, "at_s"),
        ({"at_s": "inf"}, "at_s"),
        ({"at_s": "1:23"}, "at_s"),
        ({"at_s": "1", "for_s": "0"}, "for_s"),
        ({"at_s": "1", "for_s": "3600"}, "for_s"),
        ({"at_s": "1", "track": "0"}, "track"),
        ({"at_s": "1", "track": str(2**63)}, "track"),
    ],
)
async def test_an_invalid_field_is_named(ask: Ask, form: dict[str, str], named: str) -> None:
    assert named in problem(await ask(**form), 422)


async def test_an_unknown_track_is_a_problem(ask: Ask) -> None:
    assert "no track 77" in problem(await ask(at_s="15", track="77"), 404)


async def test_a_file_without_audio_is_a_problem(client: httpx2.AsyncClient) -> None:
    response = await client.post(f"{API}/explain", files={"file": ("a.wav", b"just text")}, data={"at_s": "1"})
    assert "a.wav" in problem(response, 422)


# Streams


@asynccontextmanager
async def worked_off(spool: Spool, parts: Airtrace) -> AsyncIterator[None]:
    """Runs a worker, once it has committed everything in the spool."""
    async with working(quick_worker(spool, parts.storage, parts.matcher)) as task:
        await until(lambda: spool.committed == spool.next_offset or task.done())
        assert not task.done(), task
        yield


def at(second: float) -> str:
    return timeline.to_utc(ANCHOR + seconds(second)).isoformat()


@pytest.fixture
async def radio(storage: Storage) -> int:
    stream = await storage.streams.add("radio one", "http://radio.example/a.mp3")
    assert stream is not None
    return stream


async def test_a_moment_of_a_stream_is_explained_from_the_log_beside_its_worker(
    client: httpx2.AsyncClient, parts: Airtrace, spool: Spool, radio: int, one: int, songs: Songs, tmp_path: Path
) -> None:
    air = Air(radio)
    await publish(spool, air.play(songs.unknown[: seconds(10.3)]))
    await publish(spool, Air(radio + 1).play(songs.two[: seconds(20)]))  # another stream in the same log
    await publish(spool, air.gap(5))
    await publish(spool, air.play(songs.one[seconds(5) : seconds(25)]))
    async with worked_off(spool, parts):
        before = {path.name: path.read_bytes() for path in spool._folder.iterdir() if path.is_file()}
        response = await client.get(f"{API}/streams/radio%20one/explain", params={"at": at(20), "for_s": 5})
        assert {path.name: path.read_bytes() for path in spool._folder.iterdir() if path.is_file()} == before
        [match] = (await client.get(f"{API}/matches")).json()
        await publish(spool, air.play(songs.unknown[: seconds(4)]))  # and the worker continues
        await until(lambda: spool.committed >= spool.next_offset, DEADLINE_S)
    assert response.status_code == 200, response.text
    body = response.json()
    assert datetime.fromisoformat(body["origin"]) == timeline.to_utc(ANCHOR + seconds(20))
    assert (body["summary"], body["missing_s"]) == ("played: One", 0)
    best = body["hypotheses"][0]
    assert (best["track"]["id"], best["verdict"]) == (one, "play")
    origin = datetime.fromisoformat(body["origin"]).timestamp()
    assert origin + best["start_s"] == pytest.approx(datetime.fromisoformat(match["start"]).timestamp(), abs=0.01)
    # The play continues for longer than a decision about this moment would wait.
    assert (best["may_start_earlier"], best["may_end_later"]) == (False, True)
    assert best["end_s"] == pytest.approx(5 + parts.matcher.thresholds.max_gap_samples / SECOND, abs=1)
    assert best["track_start_s"] == pytest.approx(match["track_start_s"], abs=0.01)

    held = (await client.get(f"{API}/streams/radio%20one/explain", params={"at": at(13), "for_s": 5})).json()
    assert held["missing_s"] == pytest.approx(2.3, abs=0.01)
    drawn = await client.get(f"{API}/streams/radio%20one/explain", params={"at": at(20), "image": True})
    assert base64.b64decode(drawn.json()["image"]).startswith(b"\x89PNG")


async def test_a_moment_that_is_not_in_the_log_is_a_problem_with_its_reason_and_a_remedy(
    client: httpx2.AsyncClient, parts: Airtrace, spool: Spool, radio: int, songs: Songs
) -> None:
    url = f"{API}/streams/radio%20one/explain"
    assert "radio one has no audio yet" in problem(await client.get(url, params={"at": at(0)}), 404)
    air = Air(radio)
    await publish(spool, [*air.play(songs.unknown[: seconds(6)]), *air.gap(20), *air.play(songs.unknown[: seconds(6)])])
    async with worked_off(spool, parts):
        pass
    early = problem(await client.get(url, params={"at": at(-60)}), 404)
    assert f"{timeline.to_utc(ANCHOR):%Y-%m-%d %H:%M:%S} UTC" in early
    assert "airtrace matches --stream" in early
    assert "the log of radio one ends at" in problem(await client.get(url, params={"at": at(40)}), 404)
    assert "airtrace coverage --stream" in problem(await client.get(url, params={"at": at(12), "for_s": 5}), 404)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        ({"at": at(0), "for_s": "nan"}, "for_s"),
        ({"at": at(0), "track": "-1"}, "track"),
    ],
)
async def test_an_invalid_query_about_a_stream_names_the_field(
    client: httpx2.AsyncClient, radio: int, query: dict[str, str], named: str
) -> None:
    assert named in problem(await client.get(f"{API}/streams/radio%20one/explain", params=query), 422)


async def test_an_unknown_stream_is_a_problem(client: httpx2.AsyncClient) -> None:
    assert "no stream named" in problem(await client.get(f"{API}/streams/none/explain", params={"at": at(0)}), 404)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_no_moment_is_too_far_away(
    client: httpx2.AsyncClient, parts: Airtrace, spool: Spool, radio: int, songs: Songs, moment: str
) -> None:
    await publish(spool, Air(radio).play(songs.unknown[: seconds(4)]))
    async with worked_off(spool, parts):
        problem(await client.get(f"{API}/streams/radio%20one/explain", params={"at": moment}), 404)


async def test_a_moment_of_a_stream_is_explained_from_kafka_beside_its_worker(
    parts: Airtrace, radio: int, one: int, songs: Songs, tmp_path: Path, any_kafka: Broker
) -> None:
    settings = Settings(home=tmp_path, kafka=kafka_settings(any_kafka.bootstrap, partitions=3).model_dump())
    air = Air(radio)
    async with KafkaBus(settings.kafka, idempotent=any_kafka.is_real) as bus:
        await publish(bus, air.play(songs.unknown[: seconds(10)]), air.play(songs.one[seconds(5) : seconds(25)]))
        async with working(quick_worker(bus, parts.storage, parts.matcher)) as task, client_of(parts, settings) as http:
            async with asyncio.timeout(PATIENCE_S):
                while (progress := await parts.storage.progress.get(radio)) is None or progress.position != air.clock:
                    assert not task.done(), task
                    await asyncio.sleep(0.05)
            response = await http.get(f"{API}/streams/radio%20one/explain", params={"at": at(20), "for_s": 4})
    assert response.status_code == 200, response.text
    assert response.json()["summary"] == "played: One"
    assert response.json()["hypotheses"][0]["start_s"] == pytest.approx(-10, abs=1)


async def test_an_unreachable_kafka_is_a_problem(
    parts: Airtrace, spool: Spool, radio: int, songs: Songs, tmp_path: Path
) -> None:
    await publish(spool, Air(radio).play(songs.unknown[: seconds(4)]))
    async with worked_off(spool, parts):
        pass
    settings = Settings(home=tmp_path, kafka={"bootstrap": "127.0.0.1:9"})
    async with client_of(parts, settings) as http:
        response = await http.get(f"{API}/streams/radio%20one/explain", params={"at": at(0)})
    assert "Kafka at 127.0.0.1:9" in problem(response, 503)
