"""Tracks and their vectors."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.storage import Storage
from tests.service.storage.samples import INFO, OTHER, SECOND, SONG, ready_track, vectors


async def test_the_same_audio_is_stored_once(storage: Storage) -> None:
    await ready_track(storage)
    assert await storage.tracks.add(bytes([1]) * 32, 1, Metadata("x", "y"), Fingerprint(INFO, vectors())) is None
    assert len(await storage.tracks.list()) == 1


async def test_a_pending_track_is_not_matched(storage: Storage) -> None:
    track = await ready_track(storage)
    assert await storage.tracks.set_pending(track)
    assert (await storage.vectors.references([track], INFO), await storage.tracks.revisions([track])) == ({}, {})
    assert await storage.tracks.pending() == [track]
    assert not await storage.tracks.set_pending(track + 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [("owls", {1}), ("100%", {2}), ("_", {3}), ("%", {2}), ("\\", {3}), ("ZWÖLF", {3}), (None, {1, 2, 3})],
)
async def test_a_search_takes_the_text_literally(storage: Storage, text: str | None, found: set[int]) -> None:
    await ready_track(storage, 1)
    await ready_track(storage, 2, Metadata("100% Pure", "a"))
    await ready_track(storage, 3, Metadata("zwölf_mal\\", "b"))
    assert {track.id for track in await storage.tracks.list(text)} == found


async def test_vectors_are_read_back_in_half_precision(storage: Storage) -> None:
    track = await ready_track(storage)
    reference = (await storage.vectors.references([track], INFO))[track]
    assert reference.vectors.dtype == np.float32
    assert reference.vectors == pytest.approx(vectors(), abs=1e-3)


async def test_silence_does_not_count_as_vectors_to_index(storage: Storage) -> None:
    with_silence = vectors()
    with_silence[3:7] = 0
    track = await storage.tracks.add(b"s" * 32, SECOND, SONG, Fingerprint(INFO, with_silence))
    assert track is not None
    assert await storage.vectors.count_indexable(INFO) == 0
    await storage.tracks.set_status(track, "ready")
    assert await storage.vectors.count_indexable(INFO) == 6
    assert await storage.vectors.count_indexable(OTHER) == 0


async def test_tracks_of_another_model_are_found(storage: Storage) -> None:
    mine, other = await ready_track(storage, 1), await ready_track(storage, 2, info=OTHER)
    assert [track.id for track in await storage.vectors.tracks_of_other_models(INFO)] == [other]
    assert [track.id for track in await storage.vectors.tracks_of_other_models(OTHER)] == [mine]
    assert (await storage.vectors.references([mine, other], INFO)).keys() == {mine}
