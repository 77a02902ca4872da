"""PANNs' network over a real database, index and bus: registration, audio search, labels and similar matches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.bus.port import Delivery
from ingest.wire import Record
from monitor.catalog.catalog import Catalog
from monitor.detect.checkpoints import PANNS, Checkpoint
from monitor.detect.logmel import LogMelDetector
from monitor.detect.panns import Panns, PannsOutput
from monitor.errors import AudioError, DependencyError, ModelUnavailable
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.settings import MatchingSettings, Settings
from monitor.similarity import panns_service as sounds_module
from monitor.similarity import stream_tagger as watch_module
from monitor.similarity.panns_service import Loaded, PannsService, open_panns
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Metadata, Track
from monitor.storage.storage import Storage
from tests import panns
from tests.service.matching.test_worker import Batches, a_stream, work_off, working
from tests.songs import Air, seconds, written
from tests.waiting import until

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


@pytest.fixture(scope="module")
def network(panns_checkpoint: Path) -> Panns:
    return Panns(panns_checkpoint, PANNS, "cpu", own=True)


@pytest.fixture(autouse=True)
def loaded_once(network: Panns, monkeypatch: pytest.MonkeyPatch) -> None:
    """To load 327 MB for each test would take longer than the tests; a file that is none is still refused."""

    def loaded(path: Path, published: Checkpoint, device: str, *, own: bool, threads: int) -> Panns:
        return network if path.stat().st_size > 10**8 else Panns(path, published, device, own=own)

    monkeypatch.setattr(sounds_module, "Panns", loaded)


def settings_of(home: Path, checkpoint: Path | None, **said: Any) -> Settings:
    return Settings(home=home, panns={"device": "cpu", "checkpoint": checkpoint, **said})


@pytest.fixture
def settings(tmp_path: Path, panns_checkpoint: Path) -> Settings:
    return settings_of(tmp_path, panns_checkpoint)


@pytest.fixture
async def sounds(settings: Settings, storage: Storage, index: Index, catalog: Catalog) -> AsyncIterator[PannsService]:
    async with open_panns(settings, storage, index) as sounds:
        catalog.second_detector = sounds
        yield sounds


@pytest.fixture
async def without(tmp_path: Path, storage: Storage, index: Index) -> AsyncIterator[PannsService]:
    """Where nobody has fetched the checkpoint."""
    async with open_panns(settings_of(tmp_path, None), storage, index) as sounds:
        yield sounds


async def registered(catalog: Catalog, path: Path, pcm: np.ndarray) -> Track:
    return (await catalog.add(written(path, pcm), Metadata(path.stem, str(path)))).track


@pytest.fixture
async def tune(catalog: Catalog, sounds: PannsService, tmp_path: Path) -> Track:
    return await registered(catalog, tmp_path / "tune.wav", panns.tune(41, 24.0))


@pytest.fixture
async def babble(catalog: Catalog, sounds: PannsService, tmp_path: Path) -> Track:
    return await registered(catalog, tmp_path / "babble.wav", panns.babble(41, 12.0))


# Registration


async def test_a_new_track_gets_its_vectors_with_its_fingerprint(
    sounds: PannsService, storage: Storage, tune: Track, tmp_path: Path
) -> None:
    known = await storage.tracks.get(tune.id)
    assert known is not None
    assert set(known.detectors) > {"panns"}
    loaded = await sounds.loaded()
    vectors = (await sounds.references([tune.id]))[tune.id]
    assert vectors.shape == (3, 2048)  # 10, 10 and 4 s
    pcm = panns.tune(41, 24.0)
    wanted = loaded.panns.listen([pcm[:320_000], pcm[320_000:640_000], pcm[640_000:]]).vectors
    np.testing.assert_allclose(vectors, wanted, atol=2e-4)  # stored as float16
    assert await loaded.index.count() == 3


async def test_a_track_is_there_without_vectors_where_the_model_is_not(
    without: PannsService, catalog: Catalog, storage: Storage, tmp_path: Path
) -> None:
    catalog.second_detector = without
    track = await registered(catalog, tmp_path / "tune.wav", panns.tune(1))
    assert track.status == "ready"
    assert "panns" not in track.detectors


async def test_tracks_get_their_vectors_later_from_their_files(
    sounds: PannsService, catalog: Catalog, storage: Storage, tmp_path: Path
) -> None:
    catalog.second_detector = None
    there = await registered(catalog, tmp_path / "there.wav", panns.tune(1))
    gone = await registered(catalog, tmp_path / "gone.wav", panns.tune(2))
    other = await registered(catalog, tmp_path / "other.wav", panns.tune(3))
    (tmp_path / "gone.wav").unlink()
    written(tmp_path / "other.wav", panns.tune(3, 4.0))
    found = {each.track.id: each.error async for each in sounds.enroll_all()}
    assert found[there.id] is None
    assert "No such file" in (found[gone.id] or "")
    assert "another recording" in (found[other.id] or "")
    assert [each.track.id async for each in sounds.enroll_all()] == [gone.id, other.id]  # the first has them


async def test_what_is_excluded_of_a_track_sounds_like_nothing(
    sounds: PannsService, catalog: Catalog, storage: Storage, tune: Track
) -> None:
    await catalog.exclude(tune.id, [Excluded(seconds(12), seconds(13), "a sting")])
    vectors = (await sounds.references([tune.id]))[tune.id]
    assert vectors.any(axis=1).tolist() == [True, False, True]


# The index


async def test_an_index_that_was_lost_or_has_too_much_is_filled_from_the_database(
    settings: Settings, sounds: PannsService, storage: Storage, index: Index, catalog: Catalog, tune: Track, babble: Track
) -> None:
    first = (await sounds.loaded()).index
    await first.recreate()  # lost
    async with open_panns(settings, storage, index) as again:
        assert await (await again.loaded()).index.count() == 5
    catalog.second_detector = None
    await catalog.delete(babble.id)  # by a process without PANNs
    async with open_panns(settings, storage, index) as again:
        assert await (await again.loaded()).index.count() == 3


async def test_a_deleted_track_leaves_the_index(
    sounds: PannsService, catalog: Catalog, tune: Track, babble: Track
) -> None:
    await catalog.delete(babble.id)
    assert await (await sounds.loaded()).index.count() == 3


async def test_fingerprints_and_sounds_have_collections_of_their_own(
    sounds: PannsService, catalog: Catalog, index: Index, tune: Track
) -> None:
    loaded = await sounds.loaded()
    assert loaded.index.collection != index.collection
    assert await index.count() > await loaded.index.count() == 3


# Audio search


async def test_a_clip_finds_what_sounds_like_it(
    sounds: PannsService, tune: Track, babble: Track, tmp_path: Path
) -> None:
    found = await sounds.search(written(tmp_path / "clip.wav", panns.tune(77, 13.0)), 10)
    assert [each.track.id for each in found.alike] == [tune.id, babble.id]
    assert found.alike[0].score > 0.85 > found.alike[1].score
    assert found.heard.kind == "music"
    assert found.duration_s == pytest.approx(13, abs=0.01)


async def test_a_tracks_own_sound_is_found_at_its_place(
    sounds: PannsService, tune: Track, babble: Track, tmp_path: Path
) -> None:
    clip = panns.tune(41, 24.0)[seconds(20) :]
    found = (await sounds.search(written(tmp_path / "clip.wav", clip), 1)).alike
    assert [(each.track.id, each.at_s, each.track_at_s) for each in found] == [(tune.id, 0, 20)]
    assert found[0].best == pytest.approx(1, abs=1e-3)


async def test_an_effect_shorter_than_a_second_is_searched_for(
    sounds: PannsService, tune: Track, babble: Track, tmp_path: Path
) -> None:
    for length_s in (0.1, 0.4):
        for effect, like in ((panns.babble(9, length_s), babble), (panns.tune(41, length_s), tune)):
            found = await sounds.search(written(tmp_path / "effect.wav", effect), 5)
            assert {each.track.id for each in found.alike} == {tune.id, babble.id}
            assert found.alike[0].track.id == like.id
            assert found.duration_s == pytest.approx(length_s, abs=0.01)


async def test_retired_tracks_are_not_found(
    sounds: PannsService, catalog: Catalog, tune: Track, babble: Track, tmp_path: Path
) -> None:
    await catalog.retire(tune.id)
    found = await sounds.search(written(tmp_path / "clip.wav", panns.tune(77)), 10)
    assert [each.track.id for each in found.alike] == [babble.id]


async def test_a_silent_clip_is_refused(sounds: PannsService, tune: Track, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nothing but silence"):
        await sounds.search(written(tmp_path / "clip.wav", np.zeros(seconds(3), np.int16)), 10)


async def test_without_the_checkpoint_a_search_says_what_to_do(without: PannsService, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="airtrace models fetch panns"):
        await without.search(written(tmp_path / "clip.wav", panns.tune(1)), 10)


async def test_a_checkpoint_that_was_refused_is_not_read_again(tmp_path: Path, storage: Storage, index: Index) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no checkpoint")
    async with open_panns(settings_of(tmp_path, bad), storage, index) as sounds:
        with pytest.raises(ModelUnavailable, match=r"bad\.pth"):
            await sounds.loaded()
        bad.unlink()
        assert "bad.pth" in (sounds.unavailable_reason() or "")


# Streams


def heard(records: Sequence[Record]) -> list[Delivery]:
    return [Delivery(0, offset, record) for offset, record in enumerate(records)]


@asynccontextmanager
async def listening(watch: StreamTagger) -> AsyncIterator[StreamTagger]:
    task = asyncio.create_task(watch.run(), name="watch")
    try:
        await until(lambda: watch.is_on or task.done())
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def watch(sounds: PannsService, storage: Storage, settings: Settings) -> AsyncIterator[StreamTagger]:
    async with listening(StreamTagger(sounds, storage, settings.panns)) as watch:
        yield watch


@pytest.fixture
async def stream(storage: Storage) -> int:
    return await a_stream(storage, "radio-one")


async def kinds(storage: Storage) -> list[str]:
    """Of all passages, the oldest first."""
    return [each.heard.kind for each in reversed(await storage.sounds.list_passages())]


async def test_streams_are_labelled_ten_seconds_by_ten_seconds(watch: StreamTagger, storage: Storage, stream: int) -> None:
    air = Air(stream)
    programme = [
        panns.babble(51),
        panns.over(panns.tune(51), panns.babble(52)),
        panns.tune(52),
        np.zeros(seconds(10), np.int16),
        panns.hiss(51),
    ]
    watch.hear(stream, heard(air.play(np.concatenate(programme))))
    await watch.idle()
    assert await kinds(storage) == ["speech", "music_under_speech", "music", "silence", "other"]
    newest, *_, oldest = await storage.sounds.list_passages()
    assert oldest.ends - oldest.starts == seconds(10)
    assert newest.starts - oldest.starts == seconds(40)
    assert [label.name for label in oldest.heard.labels] == ["Speech"]
    assert oldest.heard.speech > 0.5 > oldest.heard.music


async def test_what_resembles_a_track_for_twenty_seconds_is_one_similar_match(
    watch: StreamTagger, storage: Storage, stream: int, tune: Track, babble: Track
) -> None:
    air = Air(stream)
    before = REGISTRY.get_sample_value("airtrace_similar_total", {"stream": str(stream)}) or 0
    start = air.clock
    programme = [panns.hiss(1), panns.tune(61), panns.tune(62), panns.tune(63), panns.hiss(2), panns.hiss(3)]
    watch.hear(stream, heard(air.play(np.concatenate(programme))))
    await watch.idle()
    (similar,) = await storage.sounds.list_similar()
    assert similar.track["id"] == tune.id
    assert (similar.starts - start, similar.ends - start) == (seconds(10), seconds(40))
    assert similar.review == "pending"
    assert 0.9 <= similar.score <= 1
    assert await storage.matches.list() == []  # no play
    assert await storage.alerts.list() == []
    assert REGISTRY.get_sample_value("airtrace_similar_total", {"stream": str(stream)}) == before + 1


async def test_ten_seconds_of_likeness_are_none(watch: StreamTagger, storage: Storage, stream: int, tune: Track) -> None:
    air = Air(stream)
    watch.hear(stream, heard(air.play(np.concatenate([panns.hiss(1), panns.tune(61), panns.hiss(2), panns.hiss(3)]))))
    await watch.idle()
    assert await storage.sounds.list_similar() == []


async def test_hearing_everything_twice_changes_nothing(
    watch: StreamTagger, sounds: PannsService, storage: Storage, settings: Settings, stream: int, tune: Track
) -> None:
    deliveries = heard(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62), panns.tune(63)])))
    watch.hear(stream, deliveries)
    await watch.idle()
    before = (await storage.sounds.list_passages(), await storage.sounds.list_similar())
    watch.hear(stream, deliveries)
    await watch.idle()
    async with listening(
        StreamTagger(sounds, storage, settings.panns)
    ) as another:  # after a crash, or on another machine
        another.hear(stream, deliveries)
        await another.idle()
    assert (await storage.sounds.list_passages(), await storage.sounds.list_similar()) == before


async def test_a_crash_in_the_middle_leaves_the_same_similar_match(
    sounds: PannsService, storage: Storage, settings: Settings, stream: int, tune: Track
) -> None:
    deliveries = heard(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62), panns.tune(63)])))
    for part in (deliveries[:12], deliveries):  # the second hears the first's again
        async with listening(StreamTagger(sounds, storage, settings.panns)) as watch:
            watch.hear(stream, part)
            await watch.idle()
    (similar,) = await storage.sounds.list_similar()
    assert similar.ends - similar.starts == seconds(30)


async def test_what_was_recognised_is_not_called_similar(
    catalog: Catalog, matcher: Matcher, sounds: PannsService, storage: Storage, settings: Settings, stream: int, tune: Track
) -> None:
    """The very recording is on air: its play says so, and whatever resembles it is no news."""
    bus = Batches(Air(stream).play(np.concatenate([panns.tune(41, 24.0), panns.hiss(1)])), size=4)
    watch = StreamTagger(sounds, storage, settings.panns)
    worker = Worker(bus, storage, matcher, watch=watch)
    await sounds.loaded()
    async with working(worker):
        await until(lambda: bus.committed == bus.next_offset and watch.is_on)
        await watch.idle()
    await storage.sounds.delete_explained()
    assert [match.track_id for match in await storage.matches.list()] == [tune.id]
    assert await storage.sounds.list_similar() == []


async def test_a_review_stays_whatever_is_found_later(
    watch: StreamTagger, storage: Storage, stream: int, tune: Track
) -> None:
    watch.hear(stream, heard(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62)]))))
    await watch.idle()
    (similar,) = await storage.sounds.list_similar(review="pending")
    assert await storage.sounds.review(similar.id, "confirmed", "a cover")
    await storage.sounds.delete_explained()
    (kept,) = await storage.sounds.list_similar(review="confirmed")
    assert (kept.note, kept.reviewed_at is not None) == ("a cover", True)
    assert await storage.sounds.list_similar(review="pending") == []


async def test_a_watch_that_falls_behind_drops_the_oldest_and_counts_it(
    watch: StreamTagger, storage: Storage, stream: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MAX_WAITING", 3)
    before = REGISTRY.get_sample_value("airtrace_panns_dropped_seconds_total") or 0
    with capture_logs() as logs:
        watch.hear(stream, heard(Air(stream).play(np.zeros(seconds(60), np.int16))))
        await watch.idle()
    assert len(await storage.sounds.list_passages()) == 3
    assert REGISTRY.get_sample_value("airtrace_panns_dropped_seconds_total") == before + 30
    assert [each["event"] for each in logs].count("panns.behind") == 1


async def test_a_network_that_fails_is_counted_and_does_not_end_the_worker(
    matcher: Matcher,
    sounds: PannsService,
    storage: Storage,
    settings: Settings,
    stream: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(pieces: object) -> PannsOutput:
        raise RuntimeError("CUDA out of memory")

    await sounds.loaded()
    monkeypatch.setattr(sounds, "listen", broken)
    bus = Batches(Air(stream).play(panns.tune(1, 20.0)), size=5)
    watch = StreamTagger(sounds, storage, settings.panns)
    with capture_logs() as logs:
        async with working(Worker(bus, storage, matcher, watch=watch)) as task:
            await until(lambda: bus.committed == bus.next_offset)
            await watch.idle()
            assert not task.done()
    assert (await storage.progress.get(stream)) is not None
    assert {"panns.failed"} <= {each["event"] for each in logs}


async def test_without_the_checkpoint_the_worker_says_so_once_and_goes_on(
    matcher: Matcher, without: PannsService, storage: Storage, stream: int, tmp_path: Path
) -> None:
    bus = Batches(Air(stream).play(panns.tune(1, 20.0)), size=2)
    with capture_logs() as logs:
        await work_off(
            Worker(bus, storage, matcher, watch=StreamTagger(without, storage, Settings(home=tmp_path).panns)), bus
        )
    assert [each["reason"] for each in logs if each["event"] == "panns.off"] == [without.unavailable_reason()]
    assert await storage.sounds.list_passages() == []
    assert (await storage.progress.get(stream)) is not None


async def test_what_comes_while_panns_is_loaded_waits_for_it_and_a_milvus_that_is_away_is_tried_again(
    sounds: PannsService, storage: Storage, settings: Settings, stream: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "RETRY_FIRST_S", 0.01)
    loaded, tries, may_load = sounds.loaded, 0, asyncio.Event()

    async def slow() -> Loaded:
        nonlocal tries
        tries += 1
        await may_load.wait()
        if tries == 1:
            raise DependencyError("Milvus: it is away")
        return await loaded()

    monkeypatch.setattr(sounds, "loaded", slow)
    async with listening(StreamTagger(sounds, storage, settings.panns)) as watch:
        watch.hear(stream, heard(Air(stream).play(np.zeros(seconds(10), np.int16))))
        may_load.set()
        await watch.idle()
    assert await kinds(storage) == ["silence"]
    assert tries > 1


async def test_a_bug_while_panns_is_loaded_leaves_the_worker_alone(
    matcher: Matcher,
    sounds: PannsService,
    storage: Storage,
    settings: Settings,
    stream: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken() -> Loaded:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(sounds, "loaded", broken)
    bus = Batches(Air(stream).play(panns.tune(1, 20.0)), size=5)
    with capture_logs() as logs:
        await work_off(Worker(bus, storage, matcher, watch=StreamTagger(sounds, storage, settings.panns)), bus)
    assert [each["event"] for each in logs].count("panns.off") == 1
    assert (await storage.progress.get(stream)) is not None


async def test_labels_are_kept_for_as_long_as_is_set(watch: StreamTagger, storage: Storage, stream: int) -> None:
    air = Air(stream)
    watch.hear(stream, heard(air.play(np.zeros(seconds(20), np.int16))))
    await watch.idle()
    await storage.sounds.delete_passages(air.clock - seconds(10))
    assert len(await storage.sounds.list_passages()) == 1


# The gate


async def test_the_gate_saves_searches_while_somebody_only_talks(
    matcher: Matcher, sounds: PannsService, storage: Storage, settings: Settings, stream: int
) -> None:
    async with listening(StreamTagger(sounds, storage, settings.panns.model_copy(update={"gate": True}))) as watch:
        air, name = Air(stream), str(stream)
        assert watch.needs_search(name, air.clock)  # nothing was heard yet
        watch.hear(stream, heard(air.play(panns.babble(71))))
        await watch.idle()
        assert not watch.needs_search(name, air.clock)
        assert watch.needs_search("another", air.clock)
        assert watch.needs_search(name, air.clock + seconds(60))  # that says nothing of now
        assert watch.needs_search(name, air.clock - seconds(60))  # nor of long before
        watch.hear(stream, heard(air.play(panns.over(panns.tune(71), panns.babble(72)))))
        await watch.idle()
        assert watch.needs_search(name, air.clock)


async def test_the_gate_is_off_by_default(watch: StreamTagger, stream: int) -> None:
    air = Air(stream)
    watch.hear(stream, heard(air.play(panns.babble(71))))
    await watch.idle()
    assert watch.needs_search(str(stream), air.clock)


async def test_what_the_gate_keeps_from_the_index_is_found_back_later(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    detector: LogMelDetector,
    executor: Executor,
    stream: int,
    tmp_path: Path,
) -> None:
    """The first 8 s are not searched; when they are, the play reaches back over them."""
    track = await registered(catalog, tmp_path / "tune.wav", panns.tune(41, 24.0))
    air = Air(stream)
    gated_until = air.clock + seconds(8)

    def needs_search(name: str, start: int) -> bool:
        return start >= gated_until

    matcher = Matcher(detector, index, storage, executor, MatchingSettings(), detector.thresholds, needs_search)
    before = REGISTRY.get_sample_value("airtrace_worker_gated_segments_total") or 0
    bus = Batches(air.play(panns.tune(41, 24.0)), size=2)
    await work_off(Worker(bus, storage, matcher), bus)
    (match,) = await storage.matches.list()
    assert match.track_id == track.id
    assert match.starts < gated_until - seconds(4)
    assert (REGISTRY.get_sample_value("airtrace_worker_gated_segments_total") or 0) > before


# The API


@pytest.fixture
def parts(
    settings: Settings, dsn: str, storage: Storage, index: Index, catalog: Catalog, matcher: Matcher, sounds: PannsService
) -> Airtrace:
    return Airtrace(settings, dsn, storage, index, catalog, matcher, matcher._executor, sounds)


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
    http: httpx2.AsyncClient, watch: StreamTagger, stream: int, tune: Track
) -> None:
    watch.hear(stream, heard(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62)]))))
    await watch.idle()
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


async def test_matches_and_coverage_say_what_they_sounded_like(
    http: httpx2.AsyncClient, matcher: Matcher, sounds: PannsService, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    catalog_sound = panns.tune(41, 24.0)
    await http.post("tracks", files=upload(written(tmp_path / "tune.wav", catalog_sound)))
    stream = await a_stream(storage, "radio-two")
    voice = (panns.babble(5, 24.0) * 0.5).astype(np.int16)
    bed = (catalog_sound + voice.astype(np.int32)).clip(-32768, 32767).astype(np.int16)
    bus = Batches(Air(stream).play(np.concatenate([bed, panns.babble(6, 16.0)])), size=4)
    watch = StreamTagger(sounds, storage, settings.panns)
    await sounds.loaded()
    async with working(Worker(bus, storage, matcher, watch=watch)):
        await until(lambda: bus.committed == bus.next_offset)
        await watch.idle()
    (match,) = (await http.get("matches")).json()
    assert match["sound"]["kind"] == "music_under_speech"
    assert match["sound"]["listened_s"] > 15
    (covered,) = (await http.get("coverage")).json()
    assert covered["sound"]["listened_s"] == 40
    assert sum(covered["sound"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert (await http.get(f"matches/{match['id']}")).json()["sound"] == match["sound"]
    passages = (await http.get("sounds", params={"stream": "radio-two"})).json()
    assert len(passages) == 4
    assert passages[0]["kind"] == "speech"


async def test_the_api_says_what_is_missing_where_the_checkpoint_is(
    parts: Airtrace, without: PannsService, tmp_path: Path
) -> None:
    app = create_app(replace(parts, sounds=without))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost/api/v1/") as http:
        clip = written(tmp_path / "clip.wav", panns.tune(1, 2.0))
        for answer in (await http.post("sounds/search", files=upload(clip)), await http.post("sounds/enroll")):
            assert answer.status_code == 409
            assert "airtrace models fetch panns" in answer.json()["detail"]
        assert (await http.get("similar")).json() == (await http.get("sounds")).json() == []
