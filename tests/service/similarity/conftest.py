"""PANNs over a real database and index, with a network that knows three kinds of sound (tests/panns.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from monitor.catalog.catalog import Catalog
from monitor.detect.checkpoints import PANNS, Checkpoint
from monitor.detect.logmel import LogMelDetector
from monitor.detect.panns import Panns
from monitor.settings import Settings
from monitor.similarity.enrollment import Enrollment
from monitor.similarity.panns_service import PannsService, open_panns
from monitor.similarity.search import SimilaritySearch
from monitor.similarity.stream_tagger import StreamTagger
from monitor.storage.milvus import Index
from monitor.storage.records import Track
from monitor.storage.storage import Storage
from tests import panns
from tests.service.similarity.steps import LoadNetwork, a_tagger, registered, running, settings_of
from tests.workers import a_stream


@pytest.fixture(scope="session")
def network(panns_checkpoint: Path) -> Panns:
    return Panns(panns_checkpoint, PANNS, "cpu", own=True)


@pytest.fixture
def load_network(network: Panns) -> LoadNetwork:
    """Loading 327 MB in each test would take longer than the tests. A small file is still loaded, and refused."""

    def load(path: Path, published: Checkpoint, device: Any, *, own: bool, threads: int) -> Panns:
        return network if path.stat().st_size > 10**8 else Panns(path, published, device, own=own)

    return load


@pytest.fixture
def settings(tmp_path: Path, panns_checkpoint: Path) -> Settings:
    return settings_of(tmp_path, panns_checkpoint)


@pytest.fixture
async def service(
    settings: Settings, storage: Storage, index: Index, load_network: LoadNetwork
) -> AsyncIterator[PannsService]:
    async with open_panns(settings, storage, index, load_network=load_network) as service:
        yield service


@pytest.fixture
async def unavailable(tmp_path: Path, storage: Storage, index: Index) -> AsyncIterator[PannsService]:
    """The checkpoint has not been fetched."""
    async with open_panns(settings_of(tmp_path, None), storage, index) as service:
        yield service


@pytest.fixture
def enrollment(service: PannsService, storage: Storage) -> Enrollment:
    return Enrollment(service, storage)


@pytest.fixture
def search(service: PannsService, storage: Storage) -> SimilaritySearch:
    return SimilaritySearch(service, storage)


@pytest.fixture
def catalog(
    storage: Storage, index: Index, detector: LogMelDetector, executor: Executor, enrollment: Enrollment
) -> Catalog:
    """Its new tracks get PANNs vectors."""
    return Catalog(storage, index, detector, executor, second_detector=enrollment)


@pytest.fixture
def plain_catalog(storage: Storage, index: Index, detector: LogMelDetector, executor: Executor) -> Catalog:
    """The same catalog in a process without PANNs."""
    return Catalog(storage, index, detector, executor)


@pytest.fixture
async def tune(catalog: Catalog, tmp_path: Path) -> Track:
    return await registered(catalog, tmp_path / "tune.wav", panns.tune(41, 24.0))


@pytest.fixture
async def babble(catalog: Catalog, tmp_path: Path) -> Track:
    return await registered(catalog, tmp_path / "babble.wav", panns.babble(41, 12.0))


@pytest.fixture
async def tagger(service: PannsService, storage: Storage, settings: Settings) -> AsyncIterator[StreamTagger]:
    async with running(a_tagger(service, storage, settings)) as tagger:
        yield tagger


@pytest.fixture
async def stream(storage: Storage) -> int:
    return await a_stream(storage, "radio-one")
