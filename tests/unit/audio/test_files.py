"""Files that libsndfile reads, and files that it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio import files
from monitor.errors import AudioError


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((4000, 2), 0.5), 8000, subtype="FLOAT")
    return path


def test_the_duration_is_read_from_the_header(stereo: Path) -> None:
    assert files.header_duration_s(stereo) == 0.5


def test_a_file_in_memory_is_decoded_with_its_channels(stereo: Path) -> None:
    found = files.read(stereo.read_bytes())
    assert found is not None
    samples, rate_hz = found
    assert (samples.shape, samples.dtype, rate_hz) == ((4000, 2), np.float32, 8000)
    assert (samples == 0.5).all()


@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a.mp3"])
def test_content_that_libsndfile_cannot_read_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not audio")
    assert files.header_duration_s(tmp_path / name) is None
    assert files.read(b"not audio") is None


def test_a_copy_has_the_same_samples_unless_it_would_be_too_large(stereo: Path, tmp_path: Path) -> None:
    files.copy_as_wav(stereo, tmp_path / "copy.wav")
    np.testing.assert_array_equal(soundfile.read(tmp_path / "copy.wav")[0], soundfile.read(stereo)[0])
    with pytest.raises(AudioError) as caught:
        files.copy_as_wav(stereo, tmp_path / "copy.wav", max_bytes=1000)
    assert caught.value.reason == "too_long"
