"""The training cache: each file is decoded once, an interrupted build resumes, and copies are aligned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.detect.spectrum import RATE_HZ
from monitor.training import cache, corpus
from monitor.training.errors import TrainingError

SAMPLE_RATE_HZ = 32_000


def _melody(seconds: float, seed: int, rate_hz: int = 44_100) -> np.ndarray:
    chance = np.random.default_rng(seed)
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    notes = chance.uniform(300, 2500, int(seconds / 0.2) + 1)[(at / 0.2).astype(int)]
    return 0.3 * np.sin(2 * np.pi * np.cumsum(notes) / rate_hz) + 0.01 * chance.standard_normal(len(at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, seconds in (("music", 14), ("speech", 2), ("noise", 1)):
        (tmp_path / kind).mkdir()
        soundfile.write(tmp_path / kind / "a.wav", _melody(seconds, seed=len(kind)), 44_100)
    (tmp_path / "music" / "broken.ogg").write_bytes(b"not audio")
    return tmp_path


def _files(folder: Path) -> list[corpus.AudioFile]:
    return corpus.of_folders([folder / "music"], [folder / "speech"], [folder / "noise"])


def test_a_cache_holds_all_kinds_of_sound_and_copies_of_the_music(folder: Path) -> None:
    made = cache.build(folder / "cache", _files(folder), seed=1)
    seconds = {kind: [clip.samples / RATE_HZ for clip in made.of_kind(kind)] for kind in ("music", "speech", "noise")}
    assert seconds == {
        "music": [pytest.approx(14, abs=0.01)],
        "speech": [pytest.approx(2, abs=0.01)],
        "noise": [pytest.approx(1, abs=0.01)],
    }
    assert len(made.of_kind("copy")) == 2


def test_cached_files_are_not_decoded_again(folder: Path) -> None:
    first = cache.build(folder / "cache", _files(folder), seed=1)
    index = folder / "cache" / "clips.jsonl"
    index.write_text(index.read_text() + '{"kind": "music", "na')  # as a killed run leaves it
    second = cache.build(folder / "cache", _files(folder), seed=1)
    assert second.clips == first.clips
    assert len(second.pcm) == len(first.pcm)


def test_a_missing_cache_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="airtrace model train"):
        cache.load(tmp_path)


@pytest.mark.parametrize(
    ("codec", "form", "kbps"), [("libmp3lame", "mp3", 64), ("aac", "adts", 64), ("libopus", "ogg", 64)]
)
def test_the_delay_of_a_codec_is_removed(codec: str, form: str, kbps: int) -> None:
    pcm = (_melody(5, seed=4, rate_hz=SAMPLE_RATE_HZ) * 20_000).astype(np.int16)
    made = cache.through_codec(pcm, codec, form, kbps)
    n = min(len(made), len(pcm))
    similarity = np.corrcoef(made[:n], pcm[:n])[0, 1]
    assert similarity > 0.8


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_length_and_pitch(rate_hz: int) -> None:
    seconds = 0.7
    tone = np.sin(2 * np.pi * 1000 * np.arange(int(seconds * rate_hz)) / rate_hz).astype(np.float32)
    made = cache.resample(tone, rate_hz, SAMPLE_RATE_HZ)
    assert len(made) == pytest.approx(seconds * SAMPLE_RATE_HZ, abs=4)
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(made)) / SAMPLE_RATE_HZ)
    assert np.abs(made - expected)[1000:-1000].max() < 0.02


def test_resampling_nothing_returns_nothing() -> None:
    assert len(cache.resample(np.zeros(0, np.float32), 44_100, SAMPLE_RATE_HZ)) == 0
