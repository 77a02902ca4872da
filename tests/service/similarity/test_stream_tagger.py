"""Streams are labeled and compared with the catalog beside the worker, which never waits for that."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.detect.panns import PannsOutput
from monitor.errors import DependencyError
from monitor.matching.matcher import Matcher
from monitor.matching.worker import Worker
from monitor.settings import MatchingSettings, Settings
from monitor.similarity.panns_service import LoadedPanns, PannsService
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.milvus import Index
from monitor.storage.records import Track
from monitor.storage.storage import Storage
from tests import panns
from tests.fakes import MemoryBus
from tests.service.similarity.steps import (
    a_tagger,
    delivered,
    registered,
    running,
    substituted,
)
from tests.songs import Air, seconds
from tests.waiting import until
from tests.workers import work_off, working

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


async def kinds(storage: Storage) -> list[str]:
    """Of all passages, the oldest first."""
    return [each.heard.kind for each in reversed(await storage.sounds.list_passages())]


async def test_every_ten_seconds_of_a_stream_are_labeled(tagger: StreamTagger, storage: Storage, stream: int) -> None:
    air = Air(stream)
    program = [
        panns.babble(51),
        panns.over(panns.tune(51), panns.babble(52)),
        panns.tune(52),
        np.zeros(seconds(10), np.int16),
        panns.hiss(51),
    ]
    tagger.feed(stream, delivered(air.play(np.concatenate(program))))
    await tagger.idle()
    assert await kinds(storage) == ["speech", "music_under_speech", "music", "silence", "other"]
    newest, *_, oldest = await storage.sounds.list_passages()
    assert oldest.ends - oldest.starts == seconds(10)
    assert newest.starts - oldest.starts == seconds(40)
    assert [label.name for label in oldest.heard.labels] == ["Speech"]
    assert oldest.heard.speech > 0.5 > oldest.heard.music


async def test_audio_that_resembles_a_track_for_twenty_seconds_is_one_similar_match(
    tagger: StreamTagger, storage: Storage, stream: int, tune: Track, babble: Track
) -> None:
    air = Air(stream)
    before = REGISTRY.get_sample_value("airtrace_similar_total", {"stream": str(stream)}) or 0
    start = air.clock
    program = [panns.hiss(1), panns.tune(61), panns.tune(62), panns.tune(63), panns.hiss(2), panns.hiss(3)]
    tagger.feed(stream, delivered(air.play(np.concatenate(program))))
    await tagger.idle()
    (similar,) = await storage.sounds.list_similar()
    assert similar.track["id"] == tune.id
    assert (similar.starts - start, similar.ends - start) == (seconds(10), seconds(40))
    assert similar.review == "pending"
    assert 0.9 <= similar.score <= 1
    assert await storage.matches.list() == []  # no play
    assert await storage.alerts.list() == []
    assert REGISTRY.get_sample_value("airtrace_similar_total", {"stream": str(stream)}) == before + 1


async def test_ten_seconds_of_similarity_are_not_a_match(
    tagger: StreamTagger, storage: Storage, stream: int, tune: Track
) -> None:
    air = Air(stream)
    tagger.feed(
        stream, delivered(air.play(np.concatenate([panns.hiss(1), panns.tune(61), panns.hiss(2), panns.hiss(3)])))
    )
    await tagger.idle()
    assert await storage.sounds.list_similar() == []


async def test_tagging_everything_twice_changes_nothing(
    tagger: StreamTagger, service: PannsService, storage: Storage, settings: Settings, stream: int, tune: Track
) -> None:
    deliveries = delivered(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62), panns.tune(63)])))
    tagger.feed(stream, deliveries)
    await tagger.idle()
    before = (await storage.sounds.list_passages(), await storage.sounds.list_similar())
    tagger.feed(stream, deliveries)
    await tagger.idle()
    async with running(a_tagger(service, storage, settings)) as another:  # after a crash, or on another machine
        another.feed(stream, deliveries)
        await another.idle()
    assert (await storage.sounds.list_passages(), await storage.sounds.list_similar()) == before


async def test_a_crash_in_the_middle_leaves_the_same_similar_match(
    service: PannsService, storage: Storage, settings: Settings, stream: int, tune: Track
) -> None:
    deliveries = delivered(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62), panns.tune(63)])))
    for part in (deliveries[:12], deliveries):  # the second hears the first's again
        async with running(a_tagger(service, storage, settings)) as tagger:
            tagger.feed(stream, part)
            await tagger.idle()
    (similar,) = await storage.sounds.list_similar()
    assert similar.ends - similar.starts == seconds(30)


async def test_recognized_audio_is_not_a_similar_match(
    catalog: Catalog,
    matcher: Matcher,
    service: PannsService,
    storage: Storage,
    settings: Settings,
    stream: int,
    tune: Track,
) -> None:
    """The recording itself is on the air. Its match says so, and other tracks that resemble it are no news."""
    bus = MemoryBus(Air(stream).play(np.concatenate([panns.tune(41, 24.0), panns.hiss(1)])), size=4)
    tagger = a_tagger(service, storage, settings)
    worker = Worker(bus, storage, matcher, tagger=tagger)
    await service.loaded()
    async with working(worker):
        await until(lambda: bus.committed == bus.next_offset and tagger.is_on)
        await tagger.idle()
    await storage.sounds.delete_explained()
    assert [match.track_id for match in await storage.matches.list()] == [tune.id]
    assert await storage.sounds.list_similar() == []


async def test_a_review_is_kept_whatever_is_found_later(
    tagger: StreamTagger, storage: Storage, stream: int, tune: Track
) -> None:
    tagger.feed(stream, delivered(Air(stream).play(np.concatenate([panns.tune(61), panns.tune(62)]))))
    await tagger.idle()
    (similar,) = await storage.sounds.list_similar(review="pending")
    assert await storage.sounds.review(similar.id, "confirmed", "a cover")
    await storage.sounds.delete_explained()
    (kept,) = await storage.sounds.list_similar(review="confirmed")
    assert (kept.note, kept.reviewed_at is not None) == ("a cover", True)
    assert await storage.sounds.list_similar(review="pending") == []


async def test_a_tagger_that_falls_behind_drops_the_oldest_passages_and_counts_them(
    service: PannsService, storage: Storage, settings: Settings, stream: int
) -> None:
    before = REGISTRY.get_sample_value("airtrace_panns_dropped_seconds_total") or 0
    with capture_logs() as logs:
        async with running(a_tagger(service, storage, settings, max_waiting=3)) as tagger:
            tagger.feed(stream, delivered(Air(stream).play(np.zeros(seconds(60), np.int16))))
            await tagger.idle()
    assert len(await storage.sounds.list_passages()) == 3
    assert REGISTRY.get_sample_value("airtrace_panns_dropped_seconds_total") == before + 30
    assert [each["event"] for each in logs].count("panns.behind") == 1


async def test_a_failure_of_the_network_is_counted_and_does_not_stop_the_worker(
    matcher: Matcher,
    service: PannsService,
    storage: Storage,
    settings: Settings,
    stream: int,
) -> None:
    async def broken(pieces: object) -> PannsOutput:
        raise RuntimeError("CUDA out of memory")

    await service.loaded()
    bus = MemoryBus(Air(stream).play(panns.tune(1, 20.0)), size=5)
    tagger = a_tagger(substituted(service, listen=broken), storage, settings)
    with capture_logs() as logs:
        async with working(Worker(bus, storage, matcher, tagger=tagger)) as task:
            await until(lambda: bus.committed == bus.next_offset)
            await tagger.idle()
            assert not task.done()
    assert (await storage.progress.get(stream)) is not None
    assert {"panns.failed"} <= {each["event"] for each in logs}


async def test_without_the_checkpoint_the_worker_logs_it_once_and_continues(
    matcher: Matcher, unavailable: PannsService, storage: Storage, stream: int, tmp_path: Path
) -> None:
    bus = MemoryBus(Air(stream).play(panns.tune(1, 20.0)), size=2)
    with capture_logs() as logs:
        await work_off(
            Worker(bus, storage, matcher, tagger=a_tagger(unavailable, storage, Settings(home=tmp_path))), bus
        )
    assert [each["reason"] for each in logs if each["event"] == "panns.off"] == [unavailable.unavailable_reason()]
    assert await storage.sounds.list_passages() == []
    assert (await storage.progress.get(stream)) is not None


async def test_audio_waits_while_panns_is_loaded_and_loading_is_retried_if_milvus_is_away(
    service: PannsService, storage: Storage, settings: Settings, stream: int
) -> None:
    tries, may_load = 0, asyncio.Event()

    async def slow() -> LoadedPanns:
        nonlocal tries
        tries += 1
        await may_load.wait()
        if tries == 1:
            raise DependencyError("Milvus: it is away")
        return await service.loaded()

    slowed = a_tagger(substituted(service, loaded=slow), storage, settings, retry_first_s=0.01)
    async with running(slowed) as tagger:
        tagger.feed(stream, delivered(Air(stream).play(np.zeros(seconds(10), np.int16))))
        may_load.set()
        await tagger.idle()
    assert await kinds(storage) == ["silence"]
    assert tries > 1


async def test_a_bug_while_panns_is_loaded_does_not_stop_the_worker(
    matcher: Matcher,
    service: PannsService,
    storage: Storage,
    settings: Settings,
    stream: int,
) -> None:
    async def broken() -> LoadedPanns:
        raise RuntimeError("no kernel image is available")

    bus = MemoryBus(Air(stream).play(panns.tune(1, 20.0)), size=5)
    with capture_logs() as logs:
        await work_off(
            Worker(bus, storage, matcher, tagger=a_tagger(substituted(service, loaded=broken), storage, settings)), bus
        )
    assert [each["event"] for each in logs].count("panns.off") == 1
    assert (await storage.progress.get(stream)) is not None


async def test_old_labels_are_deleted(tagger: StreamTagger, storage: Storage, stream: int) -> None:
    air = Air(stream)
    tagger.feed(stream, delivered(air.play(np.zeros(seconds(20), np.int16))))
    await tagger.idle()
    await storage.sounds.delete_passages(air.clock - seconds(10))
    assert len(await storage.sounds.list_passages()) == 1


# The gate


async def test_the_gate_saves_searches_while_there_is_only_speech(
    service: PannsService, storage: Storage, settings: Settings, stream: int
) -> None:
    gated = settings.model_copy(update={"panns": settings.panns.model_copy(update={"gate": True})})
    async with running(a_tagger(service, storage, gated)) as tagger:
        air, name = Air(stream), str(stream)
        assert tagger.needs_search(name, air.clock)  # nothing has been labeled yet
        tagger.feed(stream, delivered(air.play(panns.babble(71))))
        await tagger.idle()
        assert not tagger.needs_search(name, air.clock)
        assert tagger.needs_search("another", air.clock)
        assert tagger.needs_search(name, air.clock + seconds(60))  # the label is too old
        assert tagger.needs_search(name, air.clock - seconds(60))  # and says nothing about the past
        tagger.feed(stream, delivered(air.play(panns.over(panns.tune(71), panns.babble(72)))))
        await tagger.idle()
        assert tagger.needs_search(name, air.clock)


async def test_the_gate_is_off_by_default(tagger: StreamTagger, stream: int) -> None:
    air = Air(stream)
    tagger.feed(stream, delivered(air.play(panns.babble(71))))
    await tagger.idle()
    assert tagger.needs_search(str(stream), air.clock)


async def test_audio_that_the_gate_did_not_search_is_covered_by_a_later_match(
    plain_catalog: Catalog,
    index: Index,
    storage: Storage,
    detector: LogMelDetector,
    executor: Executor,
    stream: int,
    tmp_path: Path,
) -> None:
    """The first 8 s are not searched; once the rest is, the match reaches back over them."""
    track = await registered(plain_catalog, tmp_path / "tune.wav", panns.tune(41, 24.0))
    air = Air(stream)
    gated_until = air.clock + seconds(8)

    def needs_search(name: str, start: int) -> bool:
        return start >= gated_until

    matcher = Matcher(detector, index, storage, executor, MatchingSettings(), detector.thresholds, needs_search)
    before = REGISTRY.get_sample_value("airtrace_worker_gated_segments_total") or 0
    bus = MemoryBus(air.play(panns.tune(41, 24.0)), size=2)
    await work_off(Worker(bus, storage, matcher), bus)
    (match,) = await storage.matches.list()
    assert match.track_id == track.id
    assert match.starts < gated_until - seconds(4)
    assert (REGISTRY.get_sample_value("airtrace_worker_gated_segments_total") or 0) > before
