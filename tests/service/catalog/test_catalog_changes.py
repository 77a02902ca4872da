"""Changes of a track: edits, replacement, retirement and excluded intervals."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from monitor.catalog.catalog import Catalog
from monitor.core.segments import HOP_SAMPLES
from monitor.detect.detector import DetectorInfo
from monitor.errors import Conflict, IdTaken, MetadataError, NotFound, SameAudio
from monitor.matching.matcher import Matcher
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Fingerprint, Metadata, mask_excluded
from monitor.storage.storage import Storage
from tests.service.catalog.steps import added, differences, plays_in
from tests.songs import Songs, seconds, written

pytestmark = pytest.mark.usefixtures("songs")


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


# Metadata


async def test_an_edit_changes_the_given_fields_and_nothing_else(catalog: Catalog, song: Path) -> None:
    track = await added(catalog, song, artist="The Owls", fields={"mood": "calm"})
    changes = {"title": "Night", "territories": ("DE",), "valid_until": date(2030, 1, 1), "own_id": "X-1"}
    edited = await catalog.edit(track, changes)
    assert edited.metadata == Metadata(
        "Night",
        str(song),
        artist="The Owls",
        fields={"mood": "calm"},
        territories=("DE",),
        valid_until=date(2030, 1, 1),
        own_id="X-1",
    )
    with pytest.raises(MetadataError, match="valid_until 2030-01-01"):
        await catalog.edit(track, {"valid_from": date(2031, 1, 1)})
    with pytest.raises(NotFound):
        await catalog.edit(track + 1, {"title": "x"})


async def test_an_own_id_belongs_to_one_track(catalog: Catalog, song: Path, songs: Songs, tmp_path: Path) -> None:
    await added(catalog, song, own_id="X-1")
    other = written(tmp_path / "two.wav", songs.two)
    with pytest.raises(IdTaken, match="X-1"):
        await catalog.add(other, Metadata("two", "two", own_id="X-1"))
    track = await added(catalog, other, own_id="X-2")
    with pytest.raises(IdTaken):
        await catalog.edit(track, {"own_id": "X-1"})


async def test_tracks_are_found_by_label_rights_holder_identifiers_and_own_id(storage: Storage) -> None:
    known = {"label": "Nacht", "rights_holder": "Eulen GmbH", "upc": "036000291452", "own_id": "X-77"}
    info = DetectorInfo("fingerprint", "test", "c0ffee", 4)
    for number, details in enumerate([known, {}]):
        metadata = Metadata("t", "s", **details)
        await storage.tracks.add(bytes([number]) * 32, 1, metadata, Fingerprint(info, np.eye(4, dtype=np.float32)))
    for text in ("NACHT", "eulen g", "291452", "x-77"):
        assert [track.id for track in await storage.tracks.list(text)] == [1]
    assert [track.id for track in await storage.tracks.list(status="pending")] == [1, 2]
    assert await storage.tracks.list(status="ready") == []


# Replacement


async def test_a_replaced_recording_is_matched_by_its_new_sound_only(
    catalog: Catalog, index: Index, storage: Storage, matcher: Matcher, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = await added(catalog, song)
    await catalog.exclude(track, [Excluded(0, seconds(5))])
    assert [each[0] for each in await plays_in(matcher, song)] == [track]  # so that its vectors are cached
    two = written(tmp_path / "two.wav", songs.two[: seconds(25)])
    replaced = await catalog.replace(track, two, "/new/two.wav")
    assert (replaced.id, replaced.status, replaced.duration_s, replaced.excluded) == (track, "ready", 25, ())
    assert replaced.metadata.source == "/new/two.wav"
    assert await plays_in(matcher, song) == []
    assert [each[0] for each in await plays_in(matcher, two)] == [track]
    assert await differences(catalog, storage, index) == []
    again = await catalog.add(song, Metadata("song", "song"))
    assert not again.known  # its sound is no longer in the catalog


async def test_a_recording_of_another_track_is_refused_as_a_replacement(
    catalog: Catalog, song: Path, songs: Songs, tmp_path: Path
) -> None:
    one, path = await added(catalog, song), written(tmp_path / "two.wav", songs.two)
    two = await added(catalog, path)
    with pytest.raises(SameAudio, match=f"track {two} has the same audio"):
        await catalog.replace(one, path, "x")
    assert (await catalog.replace(one, song, "x")).metadata.source == str(song)  # the same: nothing happens


# Retirement


async def test_a_retired_track_is_not_matched_and_comes_back_without_its_audio(
    catalog: Catalog, index: Index, matcher: Matcher, storage: Storage, song: Path, tmp_path: Path
) -> None:
    track, there = await added(catalog, song), await index.count()
    copy = song.rename(tmp_path / "copy.wav")
    assert (await catalog.retire(track)).status == "retired"
    assert (await plays_in(matcher, copy), await index.count()) == ([], 0)
    known = await catalog.add(copy, Metadata("copy", "copy"))
    assert (known.known, known.track.status) == (True, "retired")
    with pytest.raises(Conflict, match=f"airtrace tracks restore {track}"):
        await catalog.replace(track, copy, "x")
    copy.rename(song)
    await catalog.recover()
    assert await index.count() == 0
    assert (await catalog.restore(track)).status == "ready"
    assert [each[0] for each in await plays_in(matcher, song)] == [track]
    assert await index.count() == there


async def test_an_interrupted_retirement_is_completed(
    catalog: Catalog, index: Index, storage: Storage, song: Path
) -> None:
    track = await added(catalog, song)
    await storage.tracks.set_status(track, "retiring")
    await catalog.recover()
    retired = await storage.tracks.get(track)
    assert retired is not None
    assert (retired.status, await index.count()) == ("retired", 0)


# Excluded intervals


async def test_an_excluded_interval_never_matches_and_the_rest_does(
    catalog: Catalog, matcher: Matcher, storage: Storage, index: Index, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = await added(catalog, song)
    intro = written(tmp_path / "intro.wav", songs.one[: seconds(12)])
    assert [each[0] for each in await plays_in(matcher, intro)] == [track]
    excluded = (Excluded(0, seconds(12), "a sample library's"), Excluded(seconds(30), seconds(31)))
    assert (await catalog.exclude(track, excluded[::-1])).excluded == excluded
    assert await plays_in(matcher, intro) == []  # at once, though its vectors were cached
    [(found, start_s, _)] = await plays_in(matcher, song)
    assert (found, start_s) == (track, pytest.approx(12, abs=1.5))
    assert await differences(catalog, storage, index) == []
    assert (await catalog.exclude(track, [])).excluded == ()
    assert [each[0] for each in await plays_in(matcher, intro)] == [track]


def test_every_segment_that_overlaps_an_excluded_interval_is_masked() -> None:
    vectors = np.ones((10, 2), np.float32)

    def left(starts: int, ends: int) -> list[int]:
        return np.flatnonzero(mask_excluded(vectors, [Excluded(starts, ends)], "fingerprint").any(axis=1)).tolist()

    assert left(0, 1) == list(range(1, 10))
    assert left(3 * HOP_SAMPLES, 4 * HOP_SAMPLES) == [0, 1, *range(4, 10)]
    assert left(3 * HOP_SAMPLES + 1, 3 * HOP_SAMPLES + 2) == [0, 1, *range(4, 10)]
    assert left(9 * HOP_SAMPLES, 99 * HOP_SAMPLES) == list(range(8))
    assert vectors.all()


@pytest.mark.parametrize("excluded", [[(-1, 5)], [(5, 5)], [(6, 5)], [(0, 41)], [(0, 10), (9, 12)], [(0, 10), (0, 11)]])
async def test_invalid_intervals_are_refused(
    catalog: Catalog, song: Path, storage: Storage, excluded: list[tuple[int, int]]
) -> None:
    track = await added(catalog, song)
    with pytest.raises(MetadataError):
        await catalog.exclude(track, [Excluded(seconds(start), seconds(end)) for start, end in excluded])
    [known] = await storage.tracks.list()
    assert (known.id, known.excluded) == (track, ())
