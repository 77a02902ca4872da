"""The catalog with real files: what is registered and refused, and how it recovers from crashes and losses."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ingest.sources import ffmpeg
from monitor.catalog.catalog import Catalog
from monitor.core.segments import SEGMENT_SAMPLES, count_segments
from monitor.demo.music import cache_folder
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.errors import AudioError, DependencyError, ModelMismatch, NotFound
from monitor.matching.matcher import Matcher
from monitor.matching.scan import scan
from monitor.storage.milvus import Index
from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.storage import Storage
from tests import ffmpegs
from tests.songs import Songs, seconds, written
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("songs")  # which sees to it that the music is there

MUSIC = cache_folder()
OGG = MUSIC / "wordwarvi-sound/usr/share/wordwarvi/sounds/destiny_facedown.ogg"
MP3 = MUSIC / "asc-music/usr/share/games/asc/music/frontiers.mp3"
G722 = MUSIC / "asterisk-moh-opsound-g722/usr/share/asterisk/moh/manolo_camp-morning_coffee.g722"


@pytest.fixture
def song(tmp_path: Path, songs: Songs) -> Path:
    return written(tmp_path / "song.wav", songs.one)


def about(path: Path) -> Metadata:
    return Metadata(path.stem, str(path))


async def added(catalog: Catalog, path: Path) -> int:
    registered = await catalog.add(path, about(path))
    assert not registered.known
    assert registered.track.status == "ready"
    return registered.track.id


async def tracks_in(matcher: Matcher, path: Path) -> list[int]:
    return [play.track async for scanned in scan(matcher, path) for play in scanned.plays]


# What is registered


@pytest.mark.parametrize(("path", "duration_s"), [(OGG, 52.3), (G722, 73.1)], ids=["ogg", "g722"])
async def test_real_files_are_registered(catalog: Catalog, index: Index, path: Path, duration_s: float) -> None:
    registered = await catalog.add(path, about(path))
    assert (registered.known, registered.track.status) == (False, "ready")
    assert registered.track.duration_s == pytest.approx(duration_s, abs=0.5)
    n_segments = count_segments(round(registered.track.duration_s * SEGMENT_SAMPLES))
    assert 0.9 * n_segments <= await index.count() <= n_segments


async def test_a_registered_track_is_found_in_an_excerpt_at_its_position(
    catalog: Catalog, matcher: Matcher, song: Path, songs: Songs, tmp_path: Path
) -> None:
    track = await added(catalog, song)
    excerpt = written(tmp_path / "excerpt.wav", songs.one[seconds(12.2) : seconds(30)])
    [play] = [play async for scanned in scan(matcher, excerpt) for play in scanned.plays]
    assert play.track == track
    assert play.track_start == pytest.approx(seconds(12.2), abs=seconds(1))
    assert play.track_end == pytest.approx(seconds(30), abs=seconds(1))


async def test_the_same_audio_is_recognized_under_another_name_and_with_other_tags(
    catalog: Catalog, index: Index, tmp_path: Path
) -> None:
    track = await added(catalog, OGG)
    there = await index.count()
    renamed, tagged = tmp_path / "another name.ogg", tmp_path / "tagged.ogg"
    shutil.copy(OGG, renamed)
    command = [ffmpeg.binary(), "-v", "error", "-i", OGG, "-c", "copy", "-metadata", "title=Anew", tagged]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert tagged.read_bytes() != OGG.read_bytes()
    for path in (OGG, renamed, tagged):
        again = await catalog.add(path, about(path))
        assert (again.known, again.track.id, again.track.metadata.source) == (True, track, str(OGG))
    assert await index.count() == there


async def test_the_same_file_several_times_at_once_is_one_track(catalog: Catalog, song: Path, storage: Storage) -> None:
    registered = await asyncio.gather(*(catalog.add(song, about(song)) for _ in range(4)))
    assert len({one.track.id for one in registered}) == 1
    assert sorted(one.known for one in registered) == [False, True, True, True]
    assert {one.track.status for one in registered} == {"ready"}
    assert await storage.tracks.count() == 1


async def test_a_truncated_mp3_is_registered_as_far_as_it_goes(catalog: Catalog, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.mp3"
    truncated.write_bytes(MP3.read_bytes()[:300_001])
    track = (await catalog.add(truncated, about(truncated))).track
    assert track.status == "ready"
    assert 5 < track.duration_s < 60


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("song.htk", "PCM_16"), ("song.mat", "FLOAT"), ("loud.mat", "FLOAT")],
)
async def test_a_file_that_libsndfile_reads_and_ffmpeg_does_not(
    catalog: Catalog, matcher: Matcher, songs: Songs, tmp_path: Path, name: str, subtype: str
) -> None:
    sound = songs.one[: seconds(20)].astype(np.float32) / 32768
    if name == "loud.mat":  # floats may go beyond 1
        sound *= 1.5 / np.abs(sound).max()
    path = tmp_path / name
    soundfile.write(path, sound, 32_000, subtype=subtype, format="MAT5" if path.suffix == ".mat" else None)
    with pytest.raises(Exception, match="Invalid data"):  # otherwise this tests nothing
        _ = [piece async for piece in ffmpeg.decode(path)]
    track = await added(catalog, path)
    assert await tracks_in(matcher, written(tmp_path / "same.wav", songs.one[: seconds(20)])) == [track]


async def test_one_second_of_audio_is_enough(catalog: Catalog, index: Index, songs: Songs, tmp_path: Path) -> None:
    await added(catalog, written(tmp_path / "second.wav", songs.one[seconds(5) : seconds(6)]))
    assert await index.count() == 1


# What is refused


def _text(path: Path) -> None:
    path.write_text("Dear diary, today I heard a song. " * 100)


def _playlist(path: Path) -> None:
    path.write_text(f"#EXTM3U\n{OGG}\n")


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "silent.wav": ("silent", lambda path: written(path, np.zeros(seconds(5), np.int16))),
    "hum.wav": ("silent", lambda path: written(path, np.full(seconds(5), 1200, np.int16))),  # a constant voltage
    "empty.mp3": ("empty", Path.touch),
    "text.mp3": ("not_audio", _text),
    "list.mp3": ("not_audio", _playlist),
    "short.wav": ("too_short", lambda path: written(path, np.full(seconds(0.9), 1000, np.int16))),
    "header.wav": ("not_audio", lambda path: path.write_bytes(b"RIFF\xff\xff\xff\x7fWAVEfmt ")),
    "missing.wav": ("unreadable", lambda path: None),
    "folder.wav": ("not_audio", Path.mkdir),
    "pipe.wav": ("not_audio", os.mkfifo),
}


@pytest.mark.parametrize("name", BAD)
async def test_an_unusable_file_is_refused_with_its_name_and_a_reason(
    catalog: Catalog, storage: Storage, index: Index, tmp_path: Path, name: str
) -> None:
    reason, make = BAD[name]
    make(tmp_path / name)
    with pytest.raises(AudioError, match=name) as caught:
        async with asyncio.timeout(20):
            await catalog.add(tmp_path / name, about(tmp_path / name))
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    assert (await storage.tracks.list(), await index.count()) == ([], 0)


async def test_missing_ffmpeg_is_not_blamed_on_the_file(
    catalog: Catalog, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise ffmpeg.FfmpegMissing

    monkeypatch.setattr(ffmpeg, "binary", missing)
    with pytest.raises(DependencyError, match="apt-get install ffmpeg"):
        await catalog.add(song, about(song))


async def test_a_cancelled_registration_leaves_no_ffmpeg_and_no_track(catalog: Catalog, storage: Storage) -> None:
    before = ffmpegs.running()
    adding = asyncio.create_task(catalog.add(MP3, about(MP3)), name="add")
    await until(lambda: bool(ffmpegs.running() - before))
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    await until(lambda: not ffmpegs.running() - before)
    assert await storage.tracks.list() == []


# Deleting


async def test_a_deleted_track_is_no_longer_found(
    catalog: Catalog, matcher: Matcher, index: Index, song: Path, storage: Storage
) -> None:
    track = await added(catalog, song)
    assert await tracks_in(matcher, song) == [track]
    await catalog.delete(track)
    assert await tracks_in(matcher, song) == []
    assert (await index.count(), await storage.tracks.list()) == (0, [])
    with pytest.raises(NotFound, match=f"no track {track}"):
        await catalog.delete(track)


async def test_a_track_that_is_deleted_while_it_is_registered_leaves_nothing_in_the_index(
    catalog: Catalog, index: Index, storage: Storage, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting: list[asyncio.Task[None]] = []
    insert = index.insert

    async def meanwhile(track: int, vectors: np.ndarray) -> None:
        deleting.append(asyncio.create_task(catalog.delete(track), name="delete"))
        await asyncio.sleep(0.2)  # enough time to finish if nothing held it back
        await insert(track, vectors)

    monkeypatch.setattr(index, "insert", meanwhile)
    await catalog.add(song, about(song))
    await deleting[0]
    assert (await index.count(), await storage.tracks.list()) == (0, [])


async def test_a_deletion_that_fails_in_milvus_can_be_repeated(
    catalog: Catalog, index: Index, storage: Storage, song: Path, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = await added(catalog, song)
    with monkeypatch.context() as away:
        away.setattr(index, "delete", _milvus_is_away)
        with pytest.raises(DependencyError):
            await catalog.delete(track)
    assert await tracks_in(matcher, song) == []
    await catalog.delete(track)
    assert (await index.count(), await storage.tracks.list()) == (0, [])


async def _milvus_is_away(*_: object) -> None:
    raise DependencyError("Milvus: away")


# Recovery


@pytest.mark.parametrize("how", ["recover", "again"])
async def test_a_track_that_is_missing_in_the_index_is_completed(
    catalog: Catalog,
    index: Index,
    storage: Storage,
    song: Path,
    matcher: Matcher,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    with monkeypatch.context() as away:
        away.setattr(index, "insert", _milvus_is_away)
        with pytest.raises(DependencyError):
            await catalog.add(song, about(song))
    [track] = await storage.tracks.list()
    assert track.status == "pending"
    assert await tracks_in(matcher, song) == []
    if how == "recover":
        await catalog.recover()
    else:
        assert (await catalog.add(song, about(song))).track.status == "ready"
    assert await tracks_in(matcher, song) == [track.id]


async def test_a_lost_index_is_rebuilt_without_any_audio(
    catalog: Catalog, index: Index, song: Path, songs: Songs, matcher: Matcher, tmp_path: Path
) -> None:
    one = await added(catalog, song)
    two = await added(catalog, written(tmp_path / "two.wav", songs.two))
    there = await index.count()
    copy = tmp_path / "copy.wav"
    song.rename(copy)
    (tmp_path / "two.wav").unlink()
    await index.recreate()
    assert await tracks_in(matcher, copy) == []
    await catalog.recover()
    assert await index.count() == there
    assert await tracks_in(matcher, copy) == [one]
    assert await tracks_in(matcher, written(tmp_path / "again.wav", songs.two)) == [two]


async def test_several_processes_that_start_at_once_rebuild_the_index_once(
    catalog: Catalog,
    index: Index,
    song: Path,
    storage: Storage,
    detector: LogMelDetector,
    executor: Executor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await added(catalog, song)
    there = await index.count()
    await index.recreate()
    built = 0
    rebuilding = index.rebuilding

    def counted(n_vectors: int) -> AbstractAsyncContextManager[Index]:
        nonlocal built
        built += 1
        return rebuilding(n_vectors)

    monkeypatch.setattr(index, "rebuilding", counted)
    others = [Catalog(storage, index, detector, executor) for _ in range(3)]
    await asyncio.gather(*(other.recover() for other in others))
    assert (built, await index.count()) == (1, there)


async def test_an_index_with_additional_vectors_is_left_alone(
    catalog: Catalog, index: Index, song: Path, songs: Songs
) -> None:
    await added(catalog, song)
    there = await index.count()
    elsewhere = np.eye(3, index._info.dimensions, dtype=np.float32)
    await index.insert(999, elsewhere)  # another process is registering a track
    await catalog.recover()
    assert await index.count() == there + 3


async def test_a_track_that_is_registered_while_the_index_is_rebuilt_is_in_it(
    catalog: Catalog,
    index: Index,
    song: Path,
    songs: Songs,
    storage: Storage,
    tmp_path: Path,
    detector: LogMelDetector,
    executor: Executor,
) -> None:
    await added(catalog, song)
    await index.recreate()
    other = Catalog(storage, index, detector, executor)
    two = written(tmp_path / "two.wav", songs.two)
    await asyncio.gather(catalog.recover(), other.add(two, about(two)), *(other.recover() for _ in range(3)))
    assert await index.count() == await storage.vectors.count_indexable(detector.info)


# Another model


@pytest.fixture
async def old_track(storage: Storage, song: Path, songs: Songs) -> int:
    """A track that was registered with other weights."""
    info = DetectorInfo("fingerprint", "old-1", "0ld0ld", 8)
    vectors = np.eye(8, dtype=np.float32)
    track = await storage.tracks.add(b"o" * 32, len(songs.one), about(song), Fingerprint(info, vectors))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


async def test_vectors_of_other_weights_are_refused_with_the_command_that_repairs_it(
    catalog: Catalog, old_track: int
) -> None:
    with pytest.raises(ModelMismatch, match="airtrace tracks rebuild"):
        await catalog.recover()


async def test_a_rebuild_embeds_tracks_of_another_model_again(
    catalog: Catalog, old_track: int, song: Path, matcher: Matcher
) -> None:
    rebuilt = [one async for one in catalog.rebuild()]
    assert [(one.track.id, one.error) for one in rebuilt] == [(old_track, None)]
    await catalog.recover()
    assert await tracks_in(matcher, song) == [old_track]
    assert [one async for one in catalog.rebuild()] == []


@pytest.mark.parametrize("what", ["gone", "another"])
async def test_a_rebuild_reports_an_unusable_file_and_continues(
    catalog: Catalog,
    old_track: int,
    song: Path,
    songs: Songs,
    matcher: Matcher,
    storage: Storage,
    tmp_path: Path,
    what: str,
) -> None:
    two = await added(catalog, written(tmp_path / "two.wav", songs.two))
    if what == "gone":
        song.unlink()
    else:
        written(song, songs.unknown[: seconds(20)])
    [failed] = [one async for one in catalog.rebuild()]
    assert failed.track.id == old_track
    assert failed.error is not None
    assert "song.wav" in failed.error
    assert await tracks_in(matcher, tmp_path / "two.wav") == [two]
    await catalog.recover()  # it does without the failed track
    old = await storage.tracks.get(old_track)
    assert old is not None
    assert (old.status, old.error) == ("failed", failed.error)
