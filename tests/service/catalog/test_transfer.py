"""A catalog moves to another place without its audio; damaged files are refused."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from monitor.catalog import transfer
from monitor.catalog.catalog import Catalog
from monitor.catalog.transfer import TransferError
from monitor.errors import MetadataError
from monitor.matching.matcher import Matcher
from monitor.storage.milvus import Index
from monitor.storage.records import Excluded, Metadata, Track
from monitor.storage.storage import Storage
from tests.service.catalog.steps import added, differences, plays_in
from tests.songs import Songs, seconds, written

pytestmark = pytest.mark.usefixtures("songs")


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


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


async def test_a_compressed_export_is_read(catalog: Catalog, storage: Storage, song: Path, tmp_path: Path) -> None:
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


def _long(values: dict[str, Any]) -> None:
    values["fingerprints"][0]["vectors"] = "AAAA" * 1024  # zeros are silence
    values["fingerprints"][0]["vectors"] = values["fingerprints"][0]["vectors"].replace("AAAA", "/3//", 1)


SPOILED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no title": lambda values: values.pop("title"),
    "a bad code": lambda values: values.update(isrc="nonsense"),
    "no numbers": _long,
    "half a vector": lambda values: values["fingerprints"][0].update(vectors="AAAA"),
    "another model": lambda values: values["fingerprints"][0].update(checksum="e15e"),
    "no fingerprints": lambda values: values.update(fingerprints=[]),
    "no hash": lambda values: values.update(audio_sha256="xyz"),
    "an interval of one number": lambda values: values.update(excluded=[[1]]),
}


@pytest.mark.parametrize("how", SPOILED)
async def test_an_invalid_line_is_refused_and_leaves_nothing(
    catalog: Catalog, storage: Storage, song: Path, tmp_path: Path, how: str
) -> None:
    track = await added(catalog, song)
    path = await exported(storage, tmp_path / "catalog.ndjson")
    await catalog.delete(track)
    values = orjson.loads(path.read_bytes().splitlines()[1])
    SPOILED[how](values)
    with pytest.raises((TransferError, MetadataError)):
        await catalog.import_(transfer.parse_line(orjson.dumps(values)))
    assert await storage.tracks.list() == []


async def test_concurrent_imports_of_one_export_add_each_track_once(
    catalog: Catalog, storage: Storage, index: Index, song: Path, tmp_path: Path
) -> None:
    track, there = await added(catalog, song), await index.count()
    path = await exported(storage, tmp_path / "catalog.ndjson")
    await catalog.delete(track)
    numbers = await asyncio.gather(*(taken(catalog, path) for _ in range(3)))
    assert sorted(known for [(_, known)] in numbers) == [False, True, True]
    assert await index.count() == there
