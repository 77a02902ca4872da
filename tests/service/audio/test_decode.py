"""Every kind of audio file: what ffmpeg or libsndfile reads is registered, and the rest is refused with a reason."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import Executor
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile

from ingest.sources import ffmpeg
from monitor.audio import decode
from monitor.catalog import tags
from monitor.catalog.catalog import Catalog
from monitor.detect.logmel import LogMelDetector
from monitor.errors import AudioError
from monitor.storage.milvus import Index
from monitor.storage.records import Metadata
from monitor.storage.storage import Storage
from tests.songs import Songs, seconds, written

pytestmark = pytest.mark.usefixtures("songs")


async def encoded(source: Path, target: Path, *options: str) -> Path:
    command = [ffmpeg.binary(), "-v", "error", "-y", "-i", source, *options, target]
    await asyncio.to_thread(subprocess.run, command, check=True, stdin=subprocess.DEVNULL)
    return target


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one[: seconds(10)])


SHAPES = {
    "100 kHz": ("high.wav", ["-ar", "100000"]),
    "8 kHz": ("low.wav", ["-ar", "8000"]),
    "8 bit": ("eight.wav", ["-c:a", "pcm_u8"]),
    "24 bit": ("deep.wav", ["-c:a", "pcm_s24le"]),
    "float": ("float.wav", ["-c:a", "pcm_f32le"]),
    "double": ("double.wav", ["-c:a", "pcm_f64le"]),
    "stereo": ("stereo.flac", ["-ac", "2"]),
    "5.1": ("surround.wav", ["-ac", "6"]),
    "5.1 in AC-3": ("surround.ac3", ["-ac", "6"]),
    "7.1": ("eight.flac", ["-ac", "8"]),
    "in MP4": ("song.m4a", ["-c:a", "aac"]),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_usual_shape_of_audio_is_registered(
    catalog: Catalog, song: Path, tmp_path: Path, shape: str
) -> None:
    name, options = SHAPES[shape]
    path = await encoded(song, tmp_path / name, *options)
    track = (await catalog.add(path, Metadata(name, name))).track
    assert track.status == "ready"
    assert track.duration_s == pytest.approx(10, abs=0.2)


async def test_a_protected_file_is_refused_as_protected(catalog: Catalog, song: Path, tmp_path: Path) -> None:
    key = ["-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8"]
    path = await encoded(song, tmp_path / "a.m4a", "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *key)
    with pytest.raises(AudioError, match=r"a\.m4a: copy-protected") as caught:
        await catalog.add(path, Metadata("a", "a"))
    assert caught.value.reason == "protected"


@pytest.mark.parametrize("kind", [b"drms", b"aavd"])
async def test_the_protection_of_other_shops_is_recognized(
    catalog: Catalog, song: Path, tmp_path: Path, kind: bytes
) -> None:
    path = await encoded(song, tmp_path / "a.m4a", "-c:a", "aac")
    content = path.read_bytes()
    assert content.count(b"mp4a") == 1
    path.write_bytes(content.replace(b"mp4a", kind))
    with pytest.raises(AudioError) as caught:
        await catalog.add(path, Metadata("a", "a"))
    assert caught.value.reason == "protected"


async def test_a_container_that_is_damaged_in_the_middle_is_refused(
    catalog: Catalog, storage: Storage, song: Path, tmp_path: Path
) -> None:
    path = await encoded(song, tmp_path / "a.m4a", "-c:a", "aac")
    content = bytearray(path.read_bytes())
    begin = content.index(b"moov")
    content[begin : begin + 400] = np.random.default_rng(1).bytes(400)
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.m4a"):
        await catalog.add(path, Metadata("a", "a"))
    assert await storage.tracks.list() == []


async def test_what_is_longer_than_allowed_is_refused_before_it_is_decoded_to_its_end(
    storage: Storage, index: Index, detector: LogMelDetector, executor: Executor, tmp_path: Path
) -> None:
    """A bomb: three hours of silence in 100 kB."""
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8000, np.int16))
    assert path.stat().st_size < 1_000_000
    decoded: list[int] = []
    with pytest.raises(AudioError, match=r"bomb\.flac: longer than .* h"):
        await _decode_into(decoded, path, max_s=300)
    assert len(decoded) <= 6, "of 180 minutes"
    catalog = Catalog(storage, index, detector, executor, max_s=300)
    with pytest.raises(AudioError, match=r"bomb\.flac: longer than .* h") as caught:
        await catalog.add(path, Metadata("bomb", "bomb"))
    assert caught.value.reason == "too_long"
    assert await storage.tracks.list() == []


async def _decode_into(decoded: list[int], path: Path, max_s: float) -> None:
    async for block in decode.blocks(path, max_s):
        decoded.append(len(block))


async def test_a_copy_for_ffmpeg_does_not_fill_the_disk(songs: Songs, tmp_path: Path) -> None:
    path = tmp_path / "song.mat"  # only libsndfile reads it
    soundfile.write(path, songs.one[: seconds(20)], 32_000, format="MAT5")
    with pytest.raises(AudioError) as caught:
        _ = [block async for block in decode.blocks(path, max_copy_bytes=1_000_000)]
    assert caught.value.reason == "too_long"


async def test_a_file_that_ffmpeg_does_not_decode_in_time_is_abandoned(song: Path) -> None:
    with pytest.raises(AudioError) as caught:
        _ = [block async for block in decode.blocks(song, stall_s=0.0)]
    assert caught.value.reason == "stalled"


# Tags


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.ogg", "a.m4a", "a.opus"])
async def test_tags_are_read_from_every_usual_kind_of_file(song: Path, tmp_path: Path, name: str) -> None:
    values = {"title": "Nächte 夜", "artist": "The Owls", "album": "Night"}
    options = [part for key, value in values.items() for part in ("-metadata", f"{key}={value}")]
    path = await encoded(song, tmp_path / name, *options)
    assert tags.read(path) == values


async def test_identifiers_in_tags_are_used_if_they_are_valid(song: Path, tmp_path: Path) -> None:
    path = await encoded(song, tmp_path / "a.flac")
    file = mutagen.File(path)
    file["isrc"], file["barcode"], file["organization"] = "DE-A62-21-00001", "036000291453", "Nacht\x00Label"
    file["title"] = "x" * 2000
    file.save()
    assert tags.read(path) == {"isrc": "DEA622100001", "label": "Nacht Label", "title": "x" * 500}


@pytest.mark.parametrize("content", [b"", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff" * 100, b"OggS" + b"\x00" * 60])
def test_tags_that_cannot_be_read_are_ignored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    assert tags.read(path) == {}
    assert tags.read(tmp_path / "none.mp3") == {}
