"""A clip finds the tracks that sound like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.errors import AudioError, ModelUnavailable
from monitor.similarity.panns_service import PannsService
from monitor.similarity.search import SimilaritySearch
from monitor.storage.records import Track
from monitor.storage.storage import Storage
from tests import panns
from tests.songs import seconds, written

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


async def test_a_clip_finds_what_sounds_like_it(
    search: SimilaritySearch, tune: Track, babble: Track, tmp_path: Path
) -> None:
    found = await search.search(written(tmp_path / "clip.wav", panns.tune(77, 13.0)), 10)
    assert [each.track.id for each in found.similar] == [tune.id, babble.id]
    assert found.similar[0].score > 0.85 > found.similar[1].score
    assert found.summary.kind == "music"
    assert found.duration_s == pytest.approx(13, abs=0.01)


async def test_an_excerpt_of_a_track_is_found_at_its_position(
    search: SimilaritySearch, tune: Track, babble: Track, tmp_path: Path
) -> None:
    clip = panns.tune(41, 24.0)[seconds(20) :]
    found = (await search.search(written(tmp_path / "clip.wav", clip), 1)).similar
    assert [(each.track.id, each.at_s, each.track_at_s) for each in found] == [(tune.id, 0, 20)]
    assert found[0].best == pytest.approx(1, abs=1e-3)


async def test_a_sound_effect_shorter_than_a_second_is_found(
    search: SimilaritySearch, tune: Track, babble: Track, tmp_path: Path
) -> None:
    for length_s in (0.1, 0.4):
        for effect, like in ((panns.babble(9, length_s), babble), (panns.tune(41, length_s), tune)):
            found = await search.search(written(tmp_path / "effect.wav", effect), 5)
            assert {each.track.id for each in found.similar} == {tune.id, babble.id}
            assert found.similar[0].track.id == like.id
            assert found.duration_s == pytest.approx(length_s, abs=0.01)


async def test_retired_tracks_are_not_found(
    search: SimilaritySearch, catalog: Catalog, tune: Track, babble: Track, tmp_path: Path
) -> None:
    await catalog.retire(tune.id)
    found = await search.search(written(tmp_path / "clip.wav", panns.tune(77)), 10)
    assert [each.track.id for each in found.similar] == [babble.id]


async def test_a_silent_clip_is_refused(search: SimilaritySearch, tune: Track, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nothing but silence"):
        await search.search(written(tmp_path / "clip.wav", np.zeros(seconds(3), np.int16)), 10)


async def test_without_the_checkpoint_a_search_fails_with_what_to_do(
    unavailable: PannsService, storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailable, match="airtrace models fetch panns"):
        await SimilaritySearch(unavailable, storage).search(written(tmp_path / "clip.wav", panns.tune(1)), 10)
