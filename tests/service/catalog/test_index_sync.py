"""Edits, replacement, retirement and exclusions; what verify finds and repairs; a catalog that moves without audio."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from monitor.catalog import transfer
from monitor.catalog.catalog import Catalog
from monitor.catalog.index_check import CheckProgress, Difference, verify
from monitor.catalog.transfer import TransferError
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.errors import Conflict, IdTaken, MetadataError, NotFound, SameAudio
from monitor.matching.matcher import Matcher
from monitor.matching.scan import scan
from monitor.storage import milvus as index_module
from monitor.storage.milvus import SEGMENT_BITS, Index
from monitor.storage.records import Excluded, Fingerprint, Metadata, Track, mask_excluded
from monitor.storage.storage import Storage
from tests.songs import Songs, seconds, written

pytestmark = pytest.mark.usefixtures("songs")


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


async def added(catalog: Catalog, path: Path, **known: Any) -> int:
    registered = await catalog.add(path, Metadata(path.stem, str(path), **known))
    assert registered.track.status == "ready"
    return registered.track.id


async def plays_in(matcher: Matcher, path: Path) -> list[tuple[int, float, float]]:
    """Track and seconds from and to."""
    return [
        (play.track, play.start / SEGMENT_SAMPLES, play.end / SEGMENT_SAMPLES)
        async for scanned in scan(matcher, path)
        for play in scanned.plays
    ]


# What is known of a track


async def test_an_edit_changes_what_it_says_and_nothing_else(catalog: Catalog, song: Path) -> None:
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
    with pytest.raises(MetadataError, match="valid until 2030-01-01"):
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


async def test_tracks_are_found_by_label_rights_holder_codes_and_own_id(storage: Storage) -> None:
    known = {"label": "Nacht", "rights_holder": "Eulen GmbH", "upc": "036000291452", "own_id": "X-77"}
    info = DetectorInfo("fingerprint", "test", "c0ffee", 4)
    for number, details in enumerate([known, {}]):
        metadata = Metadata("t", "s", **details)
        await storage.tracks.add(bytes([number]) * 32, 1, metadata, Fingerprint(info, np.eye(4, dtype=np.float32)))
    for text in ("NACHT", "eulen g", "291452", "x-77"):
        assert [track.id for track in await storage.tracks.list(text)] == [1]
    assert [track.id for track in await storage.tracks.list(status="pending")] == [1, 2]
    assert await storage.tracks.list(status="ready") == []


# Another recording


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


async def test_another_tracks_recording_is_no_replacement(
    catalog: Catalog, song: Path, songs: Songs, tmp_path: Path
) -> None:
    one, path = await added(catalog, song), written(tmp_path / "two.wav", songs.two)
    two = await added(catalog, path)
    with pytest.raises(SameAudio, match=f"track {two} has the same audio"):
        await catalog.replace(one, path, "x")
    assert (await catalog.replace(one, song, "x")).metadata.source == str(song)  # the same: nothing happens


# Retired


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


async def test_a_retirement_that_was_broken_off_is_finished(
    catalog: Catalog, index: Index, storage: Storage, song: Path
) -> None:
    track = await added(catalog, song)
    await storage.tracks.set_status(track, "retiring")
    await catalog.recover()
    retired = await storage.tracks.get(track)
    assert retired is not None
    assert (retired.status, await index.count()) == ("retired", 0)


# Excluded


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


def test_each_segment_with_a_sample_of_the_interval_is_left_out() -> None:
    vectors = np.ones((10, 2), np.float32)

    def left(starts: int, ends: int) -> list[int]:
        return np.flatnonzero(mask_excluded(vectors, [Excluded(starts, ends)], "fingerprint").any(axis=1)).tolist()

    assert left(0, 1) == list(range(1, 10))
    assert left(3 * HOP_SAMPLES, 4 * HOP_SAMPLES) == [0, 1, *range(4, 10)]
    assert left(3 * HOP_SAMPLES + 1, 3 * HOP_SAMPLES + 2) == [0, 1, *range(4, 10)]
    assert left(9 * HOP_SAMPLES, 99 * HOP_SAMPLES) == list(range(8))
    assert vectors.all()


@pytest.mark.parametrize("excluded", [[(-1, 5)], [(5, 5)], [(6, 5)], [(0, 41)], [(0, 10), (9, 12)], [(0, 10), (0, 11)]])
async def test_intervals_that_cannot_be_are_refused(
    catalog: Catalog, song: Path, storage: Storage, excluded: list[tuple[int, int]]
) -> None:
    track = await added(catalog, song)
    with pytest.raises(MetadataError):
        await catalog.exclude(track, [Excluded(seconds(start), seconds(end)) for start, end in excluded])
    [known] = await storage.tracks.list()
    assert (known.id, known.excluded) == (track, ())


# In step


async def differences(catalog: Catalog, storage: Storage, index: Index, *, repair: bool = False) -> list[Difference]:
    found = verify(storage, index, catalog.index_sync, LogMelDetector().info, repair=repair)
    steps = [step async for step in found]
    assert isinstance(steps[-1], CheckProgress)
    assert steps[-1].done == steps[-1].total
    return [step for step in steps if isinstance(step, Difference)]


async def _lose(index: Index, storage: Storage, track: int) -> None:
    await index._call("delete", index._alias, ids=[track << SEGMENT_BITS | segment for segment in (3, 4, 5)])


async def _add(index: Index, storage: Storage, track: int) -> None:
    await index._call("upsert", index._alias, _rows(track, [5000, 5001]))


async def _strangers(index: Index, storage: Storage, track: int) -> None:
    await index._call("upsert", index._alias, _rows(99, [1]))


async def _other(index: Index, storage: Storage, track: int) -> None:
    await index._call("upsert", index._alias, _rows(track, [7]))


async def _pending(index: Index, storage: Storage, track: int) -> None:
    await storage.tracks.set_pending(track)
    await index.delete(track)


async def _revised(index: Index, storage: Storage, track: int) -> None:
    await storage.tracks.set_excluded(track, [Excluded(0, seconds(10))])  # and killed before the index followed


def _rows(track: int, segments: list[int]) -> list[dict[str, Any]]:
    vector = np.zeros(LogMelDetector().info.dimensions, np.float32)
    vector[0] = 1
    return [{"id": track << SEGMENT_BITS | segment, "track": track, "vector": vector} for segment in segments]


Break = Callable[[Index, Storage, int], Coroutine[Any, Any, None]]
BROKEN: dict[str, tuple[Break, list[tuple[int, str]]]] = {
    "missing": (_lose, [(1, "missing")]),
    "extra": (_add, [(1, "extra")]),
    "of no track": (_strangers, [(99, "extra")]),
    "other vectors": (_other, [(1, "other")]),
    "pending": (_pending, [(1, "unfinished")]),
    "revised": (_revised, [(1, "unfinished"), (1, "extra")]),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_what_differs_is_found_and_mended(
    catalog: Catalog, index: Index, storage: Storage, song: Path, songs: Songs, tmp_path: Path, how: str
) -> None:
    await added(catalog, song)
    await added(catalog, written(tmp_path / "two.wav", songs.two))
    assert await differences(catalog, storage, index) == []
    spoil, expected = BROKEN[how]
    await spoil(index, storage, 1)
    for repair in (False, False, True):
        found = await differences(catalog, storage, index, repair=repair)
        if not repair:  # when it is repaired, what was broken off is finished first, and then differs no more
            assert [(each.track, each.kind) for each in found] == expected
        assert {each.repaired for each in found} == {repair}
    assert await differences(catalog, storage, index) == []
    assert await index.count() == await storage.vectors.count_indexable(LogMelDetector().info)


async def test_tracks_of_another_model_are_named_and_not_mended(catalog: Catalog, index: Index, storage: Storage) -> None:
    old = Fingerprint(DetectorInfo("fingerprint", "old", "0ld", 4), np.eye(4, dtype=np.float32))
    track = await storage.tracks.add(b"o" * 32, 1, Metadata("old", "old"), old)
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    for repair in (True, False):
        [found] = await differences(catalog, storage, index, repair=repair)
        assert (found.track, found.kind, found.repaired) == (track, "unembedded", False)


async def test_a_catalog_of_many_batches_is_compared_as_a_whole(
    catalog: Catalog, index: Index, storage: Storage, songs: Songs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await added(catalog, written(tmp_path / f"{number}.wav", songs.one[seconds(number) : seconds(number + 8)]))
    monkeypatch.setattr("monitor.catalog.index_check.BATCH_ROWS", 20)
    monkeypatch.setattr("monitor.catalog.index_check.HEADS", 2)
    assert await differences(catalog, storage, index) == []
    await _lose(index, storage, 5)
    await _strangers(index, storage, 5)
    assert [(each.track, each.kind) for each in await differences(catalog, storage, index)] == [
        (5, "missing"),
        (99, "extra"),
    ]


# A new index beside the old one


async def test_another_kind_of_index_is_built_from_the_stored_vectors_while_searches_go_on(
    catalog: Catalog, index: Index, storage: Storage, matcher: Matcher, song: Path, detector: LogMelDetector, tmp_path: Path
) -> None:
    track = await added(catalog, song)
    there = await index.count()
    song.rename(tmp_path / "copy.wav")
    assert index.kind == "FLAT"
    index._choose = lambda n_vectors: "HNSW"  # as a process with other settings has it
    before, found = index.collection, []
    async with catalog.index_sync.lock():
        async for _ in catalog.index_sync.rebuild():
            found.append([each[0] for each in await plays_in(matcher, tmp_path / "copy.wav")])
    assert found == [[track]]
    assert (index.kind, index.collection != before) == ("HNSW", True)
    assert await index.count() == there
    assert await plays_in(matcher, tmp_path / "copy.wav")
    assert await differences(catalog, storage, index) == []
    assert index._client.list_collections() == [index.collection]


async def test_a_build_that_was_broken_off_leaves_the_old_index_in_use(
    catalog: Catalog, index: Index, storage: Storage, song: Path
) -> None:
    await added(catalog, song)
    there = await index.count()
    with suppress(InterruptedError):
        async with index.building() as new:
            await new.insert(1, np.eye(3, LogMelDetector().info.dimensions, dtype=np.float32))
            raise InterruptedError
    assert await index.count() == there
    async with catalog.index_sync.lock():
        _ = [step async for step in catalog.index_sync.rebuild()]
    assert await index.count() == there
    assert await differences(catalog, storage, index) == []


async def test_an_index_of_another_kind_is_searched_as_what_it_is(
    tmp_path: Path, detector: LogMelDetector, songs: Songs, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = detector.embed(songs.one).vectors
    uri = str(tmp_path / "other.db")
    for kind in ("IVF_FLAT", "HNSW"):
        async with index_module.open_index(uri, None, detector.info, kind) as opened:
            await opened.insert(1, vectors)
            assert opened.kind == "IVF_FLAT"
            assert (await opened.search(vectors[10:11], 1))[0][0].position == 10 * HOP_SAMPLES


async def test_a_new_model_is_built_beside_the_old_one_which_goes_on(
    catalog: Catalog,
    storage: Storage,
    index: Index,
    executor: Executor,
    song: Path,
    matcher: Matcher,
) -> None:
    track = await added(catalog, song)
    newer = _Newer()
    beside = Index(index._client, newer.info, index._run)
    await beside.open()
    new = Catalog(storage, beside, newer, executor)
    assert [(one.track.id, one.error) async for one in new.rebuild()] == [(track, None)]
    await new.recover()
    await catalog.recover()
    assert [each[0] for each in await plays_in(matcher, song)] == [track]
    assert await index.count() == await beside.count()
    assert len(await storage.vectors.models()) == 2
    assert await storage.vectors.prune(newer.info) == 1
    assert [info for info, _, _ in await storage.vectors.models()] == [newer.info]


class _Newer(LogMelDetector):
    """The same vectors, by other weights' name."""

    def __init__(self) -> None:
        super().__init__()
        self.info = DetectorInfo("fingerprint", "newer-1", "ba5eba11", self.info.dimensions)


# Carried elsewhere


async def exported(storage: Storage, path: Path) -> Path:
    path.write_bytes(b"".join([line async for line in transfer.export_lines(storage)]))
    return path


async def taken(catalog: Catalog, path: Path) -> list[tuple[int, bool]]:
    """Track, and whether it was known."""
    lines = list(transfer.read_lines(path))[1:-1]
    found = [await catalog.import_(transfer.parse_line(line)) for line in lines]
    return [(one.track.id, one.known) for one in found]


async def _full(catalog: Catalog, song: Path, songs: Songs, tmp_path: Path) -> list[Track | None]:
    one = await added(catalog, song, isrc="DEA622100001", territories=("DE",), fields={"a": "b"}, own_id="X-1")
    await catalog.exclude(one, [Excluded(0, seconds(10), "intro")])
    two = await added(catalog, written(tmp_path / "two.wav", songs.two), valid_from=date(2024, 1, 1))
    await catalog.retire(two)
    return [one, two]  # type: ignore[list-item]


async def test_a_catalog_moves_without_its_audio(
    catalog: Catalog, storage: Storage, index: Index, matcher: Matcher, song: Path, songs: Songs, tmp_path: Path
) -> None:
    one, two = await _full(catalog, song, songs, tmp_path)
    before = [await storage.tracks.get(one), await storage.tracks.get(two)]
    path = await exported(storage, tmp_path / "catalog.ndjson")
    assert transfer.check_file(path) == 2
    for track in (one, two):
        await catalog.delete(track)
    assert await index.count() == 0
    numbers = await taken(catalog, path)
    assert [known for _, known in numbers] == [False, False]
    for (number, _), old in zip(numbers, before, strict=True):
        new = await storage.tracks.get(number)
        assert new is not None
        assert old is not None
        assert (new.status, new.metadata, new.excluded, new.sha256, new.duration_s, new.detectors) == (
            *(old.status, old.metadata, old.excluded, old.sha256, old.duration_s, old.detectors),
        )
    assert [each[0] for each in await plays_in(matcher, song)] == [numbers[0][0]]
    assert await differences(catalog, storage, index) == []
    assert [known for _, known in await taken(catalog, path)] == [True, True]
    assert (await catalog.add(song, Metadata("song", "song"))).known
    again = await exported(storage, tmp_path / "again.ndjson")
    assert [orjson.loads(line) for line in again.read_bytes().splitlines()[1:-1]] == [
        orjson.loads(line) for line in path.read_bytes().splitlines()[1:-1]
    ]


async def test_a_packed_export_is_read_as_well(catalog: Catalog, storage: Storage, song: Path, tmp_path: Path) -> None:
    await added(catalog, song)
    path = await exported(storage, tmp_path / "catalog.ndjson")
    packed = tmp_path / "catalog.ndjson.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert transfer.check_file(packed) == 1
    assert list(transfer.read_lines(packed)) == list(transfer.read_lines(path))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(TransferError, match="cannot be read"):
        transfer.check_file(packed)


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off in a line": (lambda content: content[: len(content) // 2], "damaged"),
    "a line is missing": (lambda content: b"\n".join(content.split(b"\n")[:1] + content.split(b"\n")[2:]), "damaged"),
    "its end is missing": (lambda content: content[: content.rstrip().rindex(b"\n") + 1], "damaged"),
    "another title": (lambda content: content.replace(b'"song"', b'"Song"'), "damaged"),
    "a newer version": (lambda content: content.replace(b'"airtrace_catalog":1', b'"airtrace_catalog":2'), "version"),
    "something else": (lambda content: b"Dear diary\n", "not_a_catalog"),
    "nothing": (lambda content: b"", "damaged"),
}


@pytest.mark.parametrize("how", DAMAGED)
async def test_a_damaged_export_is_refused(
    catalog: Catalog, storage: Storage, song: Path, tmp_path: Path, how: str
) -> None:
    spoil, reason = DAMAGED[how]
    await added(catalog, song)
    path = await exported(storage, tmp_path / "catalog.ndjson")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TransferError) as caught:
        transfer.check_file(path)
    assert caught.value.reason == reason


def _long(said: dict[str, Any]) -> None:
    said["fingerprints"][0]["vectors"] = "AAAA" * 1024  # zeros are silence
    said["fingerprints"][0]["vectors"] = said["fingerprints"][0]["vectors"].replace("AAAA", "/3//", 1)


SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
    "no title": lambda said: said.pop("title"),
    "a bad code": lambda said: said.update(isrc="nonsense"),
    "no numbers": _long,
    "half a vector": lambda said: said["fingerprints"][0].update(vectors="AAAA"),
    "another model": lambda said: said["fingerprints"][0].update(checksum="e15e"),
    "no fingerprints": lambda said: said.update(fingerprints=[]),
    "no hash": lambda said: said.update(audio_sha256="xyz"),
    "an interval of one number": lambda said: said.update(excluded=[[1]]),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_line_that_cannot_be_used_is_refused_and_leaves_nothing(
    catalog: Catalog, storage: Storage, song: Path, tmp_path: Path, how: str
) -> None:
    track = await added(catalog, song)
    path = await exported(storage, tmp_path / "catalog.ndjson")
    await catalog.delete(track)
    said = orjson.loads(path.read_bytes().splitlines()[1])
    SPOILT[how](said)
    with pytest.raises((TransferError, MetadataError)):
        await catalog.import_(transfer.parse_line(orjson.dumps(said)))
    assert await storage.tracks.list() == []


async def test_the_same_export_read_twice_at_once_is_there_once(
    catalog: Catalog, storage: Storage, index: Index, song: Path, tmp_path: Path
) -> None:
    track, there = await added(catalog, song), await index.count()
    path = await exported(storage, tmp_path / "catalog.ndjson")
    await catalog.delete(track)
    numbers = await asyncio.gather(*(taken(catalog, path) for _ in range(3)))
    assert sorted(known for [(_, known)] in numbers) == [False, True, True]
    assert await index.count() == there
