"""The index of PANNs vectors stays in sync with PostgreSQL, and a refused checkpoint stays refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.catalog.catalog import Catalog
from monitor.errors import ModelUnavailable
from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService, open_panns
from monitor.storage.milvus import Index
from monitor.storage.records import Track
from monitor.storage.storage import Storage
from tests.service.similarity.steps import LoadNetwork, settings_of

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


async def test_an_index_that_was_lost_or_has_too_many_vectors_is_rebuilt_from_the_database(
    settings: Settings,
    service: PannsService,
    load_network: LoadNetwork,
    storage: Storage,
    index: Index,
    plain_catalog: Catalog,
    tune: Track,
    babble: Track,
) -> None:
    first = (await service.loaded()).index
    await first.recreate()  # lost
    async with open_panns(settings, storage, index, load_network=load_network) as again:
        assert await (await again.loaded()).index.count() == 5
    await plain_catalog.delete(babble.id)
    async with open_panns(settings, storage, index, load_network=load_network) as again:
        assert await (await again.loaded()).index.count() == 3


async def test_a_deleted_track_leaves_the_index(
    service: PannsService, catalog: Catalog, tune: Track, babble: Track
) -> None:
    await catalog.delete(babble.id)
    assert await (await service.loaded()).index.count() == 3


async def test_fingerprints_and_panns_vectors_have_separate_collections(
    service: PannsService, catalog: Catalog, index: Index, tune: Track
) -> None:
    loaded = await service.loaded()
    assert loaded.index.collection != index.collection
    assert await index.count() > await loaded.index.count() == 3


async def test_a_checkpoint_that_was_refused_is_not_read_again(tmp_path: Path, storage: Storage, index: Index) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no checkpoint")
    async with open_panns(settings_of(tmp_path, bad), storage, index) as service:
        with pytest.raises(ModelUnavailable, match=r"bad\.pth"):
            await service.loaded()
        bad.unlink()
        assert "bad.pth" in (service.unavailable_reason() or "")
