"""The API of labels, similar matches and audio search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.milvus import Index
from monitor.storage.records import Track
from monitor.storage.storage import Storage
from tests import panns
from tests.fakes import MemoryBus
from tests.service.similarity.steps import (
    a_tagger,
    delivered,
)
from tests.songs import Air, written
from tests.waiting import until
from tests.workers import a_stream, working

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


@pytest.fixture
def parts(
    settings: Settings,
    dsn: str,
    storage: Storage,
    index: Index,
    catalog: Catalog,
    matcher: Matcher,
    service: PannsService,
) -> Airtrace:
    return Airtrace(settings, dsn, storage, index, catalog, matcher, matcher._executor, service)


@pytest.fixture
async def http(parts: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app(parts), raise_app_exceptions=False)
    url = "http://localhost/api/v1/"
    async with httpx2.AsyncClient(transport=transport, base_url=url, timeout=300) as http:
        yield http


def upload(path: Path) -> dict[str, Any]:
    return {"file": (path.name, path.read_bytes())}


async def test_a_clip_is_searched_for_over_the_api(
    http: httpx2.AsyncClient, tune: Track, babble: Track, tmp_path: Path
) -> None:
    clip = written(tmp_path / "clip.wav", panns.tune(77, 5.0))
    answer = await http.post("sounds/search", params={"limit": 1}, files=upload(clip))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["kind"] == "music"
    assert [each["track"]["title"] for each in found["similar"]] == ["tune"]
    assert found["similar"][0]["score"] > 0.8
    assert found["labels"][0]["name"] == "Music"


async def test_a_similar_match_is_listed_read_and_reviewed(
    http: httpx2.AsyncClient, tagger: StreamTagger, stream: int, tune: Track
) -> None:
    tagger.feed(stream, delivered(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62)]))))
    await tagger.idle()
    (similar,) = (await http.get("similar", params={"review": "pending"})).json()
    facts = {name: similar[name] for name in ("kind", "severity", "detector", "review")}
    assert facts == {"kind": "similar", "severity": "info", "detector": "panns", "review": "pending"}
    assert similar["track"]["title"] == "tune"
    assert (await http.get("matches")).json() == []
    said = await http.put(f"similar/{similar['id']}", json={"review": "dismissed", "note": "another song"})
    assert (said.json()["review"], said.json()["note"]) == ("dismissed", "another song")
    assert (await http.get(f"similar/{similar['id']}")).json() == said.json()
    assert (await http.get("similar", params={"review": "pending"})).json() == []
    assert (await http.put("similar/" + "0" * 32, json={"review": "confirmed"})).status_code == 404


async def test_matches_and_coverage_contain_what_they_sounded_like(
    http: httpx2.AsyncClient,
    matcher: Matcher,
    service: PannsService,
    storage: Storage,
    settings: Settings,
    tmp_path: Path,
) -> None:
    catalog_sound = panns.tune(41, 24.0)
    await http.post("tracks", files=upload(written(tmp_path / "tune.wav", catalog_sound)))
    stream = await a_stream(storage, "radio-two")
    voice = (panns.babble(5, 24.0) * 0.5).astype(np.int16)
    bed = (catalog_sound + voice.astype(np.int32)).clip(-32768, 32767).astype(np.int16)
    bus = MemoryBus(Air(stream).play(np.concatenate([bed, panns.babble(6, 16.0)])), size=4)
    tagger = a_tagger(service, storage, settings)
    await service.loaded()
    async with working(Worker(bus, storage, matcher, tagger=tagger)):
        await until(lambda: bus.committed == bus.next_offset)
        await tagger.idle()
    (match,) = (await http.get("matches")).json()
    assert match["sound"]["kind"] == "music_under_speech"
    assert match["sound"]["analyzed_s"] > 15
    (covered,) = (await http.get("coverage")).json()
    assert covered["sound"]["analyzed_s"] == 40
    assert sum(covered["sound"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert (await http.get(f"matches/{match['id']}")).json()["sound"] == match["sound"]
    passages = (await http.get("sounds", params={"stream": "radio-two"})).json()
    assert len(passages) == 4
    assert passages[0]["kind"] == "speech"


async def test_without_the_checkpoint_the_api_answers_with_what_to_do(
    parts: Airtrace, unavailable: PannsService, tmp_path: Path
) -> None:
    app = create_app(replace(parts, panns=unavailable))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost/api/v1/") as http:
        clip = written(tmp_path / "clip.wav", panns.tune(1, 2.0))
        for answer in (await http.post("sounds/search", files=upload(clip)), await http.post("sounds/enroll")):
            assert answer.status_code == 409
            assert "airtrace models fetch panns" in answer.json()["detail"]
        assert (await http.get("similar")).json() == (await http.get("sounds")).json() == []
