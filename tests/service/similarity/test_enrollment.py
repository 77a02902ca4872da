"""Tracks get their PANNs vectors when they are registered, or later from their files."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.similarity.enrollment import Enrollment
from monitor.similarity.panns_service import PannsService
from monitor.similarity.search import SimilaritySearch
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Track
from monitor.storage.storage import Storage
from tests import panns
from tests.service.similarity.steps import (
    registered,
)
from tests.songs import seconds, written

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


async def test_a_new_track_gets_its_vectors_with_its_fingerprint(
    service: PannsService, search: SimilaritySearch, storage: Storage, tune: Track
) -> None:
    known = await storage.tracks.get(tune.id)
    assert known is not None
    assert set(known.detectors) > {"panns"}
    loaded = await service.loaded()
    vectors = (await search.references([tune.id]))[tune.id]
    assert vectors.shape == (3, 2048)  # 10, 10 and 4 s
    pcm = panns.tune(41, 24.0)
    wanted = loaded.panns.listen([pcm[:320_000], pcm[320_000:640_000], pcm[640_000:]]).vectors
    np.testing.assert_allclose(vectors, wanted, atol=2e-4)  # stored as float16
    assert await loaded.index.count() == 3


async def test_a_track_is_registered_without_vectors_if_the_model_is_missing(
    unavailable: PannsService,
    storage: Storage,
    index: Index,
    detector: LogMelDetector,
    executor: Executor,
    tmp_path: Path,
) -> None:
    catalog = Catalog(storage, index, detector, executor, second_detector=Enrollment(unavailable, storage))
    track = await registered(catalog, tmp_path / "tune.wav", panns.tune(1))
    assert track.status == "ready"
    assert "panns" not in track.detectors


async def test_tracks_are_enrolled_later_from_their_files(
    enrollment: Enrollment, plain_catalog: Catalog, tmp_path: Path
) -> None:
    there = await registered(plain_catalog, tmp_path / "there.wav", panns.tune(1))
    gone = await registered(plain_catalog, tmp_path / "gone.wav", panns.tune(2))
    other = await registered(plain_catalog, tmp_path / "other.wav", panns.tune(3))
    (tmp_path / "gone.wav").unlink()
    written(tmp_path / "other.wav", panns.tune(3, 4.0))
    found = {each.track.id: each.error async for each in enrollment.enroll_all()}
    assert found[there.id] is None
    assert "No such file" in (found[gone.id] or "")
    assert "not the recording" in (found[other.id] or "")
    assert [each.track.id async for each in enrollment.enroll_all()] == [gone.id, other.id]  # the first has them


async def test_excluded_intervals_of_a_track_sound_like_nothing(
    search: SimilaritySearch, catalog: Catalog, storage: Storage, tune: Track
) -> None:
    await catalog.exclude(tune.id, [Excluded(seconds(12), seconds(13), "a sting")])
    vectors = (await search.references([tune.id]))[tune.id]
    assert vectors.any(axis=1).tolist() == [True, False, True]
