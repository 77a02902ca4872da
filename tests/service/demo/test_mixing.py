"""A program of generated tones through real ffmpeg: where each sounds, how loud, and a constant bit rate."""

import wave
from pathlib import Path

import numpy as np
import pytest

from monitor.demo import media
from monitor.demo.errors import DemoError
from monitor.demo.media import BYTE_RATE, RATE_HZ
from monitor.demo.mixing import MUSIC_DBFS, leveled, mixed, render
from monitor.demo.music import from_directory
from monitor.demo.program import Excerpt, Item, Kind, Program, plan

SOURCE_HZ = 16_000


def tone(path: Path, hz: float, seconds: float, level: float = 0.1) -> Path:
    samples = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * SOURCE_HZ)) / SOURCE_HZ)
    write(path, samples)
    return path


def staircase(path: Path, seconds: int) -> Path:
    """Second k sounds at 200 + 50 k Hz: a position can be heard."""
    at = np.arange(seconds * SOURCE_HZ) / SOURCE_HZ
    write(path, 0.3 * np.sin(2 * np.pi * (200 + 50 * np.floor(at)) * at))
    return path


def write(path: Path, samples) -> None:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SOURCE_HZ, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())


def loudest_hz(sound, at_s, length_s=0.4):
    piece = sound[round(at_s * RATE_HZ) : round((at_s + length_s) * RATE_HZ)]
    mono = piece.mean(axis=1)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    return float(np.fft.rfftfreq(len(mono), 1 / RATE_HZ)[spectrum.argmax()])


def dbfs(sound, start_s, end_s):
    piece = sound[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
    return 20 * np.log10(np.sqrt(np.mean(np.square(piece))) + 1e-9)


@pytest.fixture
def program(tmp_path):
    stairs = staircase(tmp_path / "stairs.wav", 30)
    quiet = tone(tmp_path / "quiet.wav", 3000, 30, level=0.01)
    voice = tone(tmp_path / "voice.wav", 5000, 3)
    items = (
        Item(Kind.KNOWN, 0.0, 6.0, Excerpt(stairs, 10.0, 6.0), fade_out_s=2.0),
        Item(Kind.UNKNOWN, 4.0, 10.0, Excerpt(quiet, 5.0, 6.0), fade_in_s=2.0),
        Item(Kind.SILENCE, 10.0, 12.0),
        Item(Kind.BED, 12.0, 18.0, Excerpt(stairs, 2.0, 6.0), (Excerpt(voice, 0.0, 3.0, at_s=1.0),)),
    )
    return Program((), (), items, 18.0)


async def test_excerpts_sound_where_the_truth_says(program):
    sound = await mixed(program)
    assert len(sound) == 18 * RATE_HZ
    for at_s, hz in ((0.3, 700), (1.3, 750), (3.3, 850), (8.0, 3000), (16.5, 500)):
        assert loudest_hz(sound, at_s) == pytest.approx(hz, abs=5)


async def test_loud_and_quiet_recordings_are_aired_alike_and_silence_is_silent(program):
    sound = await mixed(program)
    assert dbfs(sound, 1, 3) == pytest.approx(MUSIC_DBFS, abs=0.5)
    assert dbfs(sound, 7, 9) == pytest.approx(MUSIC_DBFS, abs=0.5)
    assert dbfs(sound, 10.1, 11.9) < -100
    assert dbfs(sound, 4.5, 5.5) == pytest.approx(MUSIC_DBFS, abs=1.0)  # the crossfade


async def test_the_mp3_has_a_constant_number_of_bytes_a_second_and_the_same_sound(program, tmp_path):
    broadcast = await render(program)
    assert broadcast.byte_rate == BYTE_RATE
    assert len(broadcast.mp3) == pytest.approx(18 * BYTE_RATE, rel=0.01)
    assert broadcast.mp3[0] == 0xFF  # a frame at once: no tag, no header
    (tmp_path / "aired.mp3").write_bytes(broadcast.mp3[9 * BYTE_RATE :])
    aired = await media.decode(tmp_path / "aired.mp3", 0.0, 9.0)
    assert loudest_hz(aired, 16.5 - 9.0) == pytest.approx(500, abs=5)


def test_silence_stays_silence():
    assert not leveled(np.zeros((1000, 2), np.float32), -20.0).any()


async def test_a_file_without_audio_is_named(tmp_path):
    (tmp_path / "bad.ogg").write_bytes(b"no audio")
    item = Item(Kind.KNOWN, 0.0, 5.0, Excerpt(tmp_path / "bad.ogg", 0.0, 5.0))
    with pytest.raises(DemoError, match=r"bad\.ogg cannot be decoded"):
        await mixed(Program((), (), (item, item), 5.0))


async def test_a_directory_of_a_users_own_music_becomes_a_program(tmp_path):
    tone(tmp_path / "a.wav", 440, 45)
    tone(tmp_path / "b.wav", 660, 41)
    (tmp_path / "cover.jpg").write_bytes(b"picture")
    (tmp_path / "broken.mp3").write_bytes(b"not audio")
    sounds = await from_directory(tmp_path)
    assert [(r.path.name, r.duration_s) for r in sounds.music] == [("a.wav", 45.0), ("b.wav", 41.0)]
    assert len((await render(plan(sounds.music, sounds.speech, 1, 45.0))).mp3) > 44 * BYTE_RATE


@pytest.mark.parametrize("what", ["missing", "empty"])
async def test_a_directory_without_music_is_reported(tmp_path, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DemoError, match=what):
        await from_directory(tmp_path / what)


async def test_headerless_g722_has_the_length_of_its_bytes(tmp_path):
    (tmp_path / "prompt.g722").write_bytes(bytes(16_000))
    assert await media.duration_s(tmp_path / "prompt.g722") == 2.0
    assert len(await media.decode(tmp_path / "prompt.g722", 0.0, 2.0)) == 2 * RATE_HZ
