"""Encoded programs: their times, and laps that continue each other, checked with ffmpeg."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from ingest.sources.ffmpeg import binary
from tests.bench.live import frames
from tests.bench.live.frames import Codec, Encoded
from tests.bench.live.programs import FORMATS

LENGTH_S = 4.0


@pytest.fixture(scope="module", params=["mp3", "aac", "opus"])
def encoded(request: pytest.FixtureRequest) -> Encoded:
    """Four seconds of noise."""
    codec: Codec = request.param
    noise = np.random.default_rng(1).normal(0, 3000, round(LENGTH_S * 44_100)).astype("<i2")
    form = ("-f", "s16le", "-ac", "1", "-ar", "44100", "-i", "-")
    made = subprocess.run(
        [binary(), "-v", "error", *form, *FORMATS[codec], "-"], input=noise.tobytes(), capture_output=True, check=True
    )
    return frames.parse(codec, made.stdout)


def _decoded_s(data: bytes) -> tuple[float, str]:
    """The length of what ffmpeg decodes in seconds, and its complaints."""
    done = subprocess.run(
        [binary(), "-v", "warning", "-i", "-", "-f", "s16le", "-ac", "1", "-ar", "8000", "-"],
        input=data,
        capture_output=True,
        check=True,
    )
    return len(done.stdout) / 2 / 8000, done.stderr.decode()


def test_the_chunks_of_a_lap_are_the_whole_program(encoded: Encoded) -> None:
    assert encoded.duration_s == pytest.approx(LENGTH_S, abs=0.1)
    assert np.all(np.diff(encoded.ends_s) > 0)
    assert np.diff(encoded.ends_s).max() < 0.25
    assert encoded.offsets[0] == len(encoded.head)
    assert encoded.offsets[-1] == len(encoded.data)


def test_a_chunk_is_on_the_air_when_its_sound_is_over(encoded: Encoded) -> None:
    n = len(encoded.ends_s)
    assert encoded.aired(0) == 0
    assert encoded.aired(encoded.ends_s[0] - 0.001) == 0
    assert encoded.aired(encoded.ends_s[0] + 0.001) == 1
    assert encoded.aired(encoded.duration_s + 0.001) == n
    assert encoded.aired(3 * encoded.duration_s + encoded.ends_s[4] + 0.001) == 3 * n + 5


def test_a_listener_that_joins_in_the_middle_hears_laps_without_a_break(encoded: Encoded) -> None:
    n = len(encoded.ends_s)
    first, beyond = n // 2, 2 * n + n // 2
    decoded_s, complaints = _decoded_s(encoded.head + encoded.chunks(first, beyond))
    expected_s = 2 * encoded.duration_s - encoded.ends_s[first - 1] + encoded.ends_s[n // 2 - 1]
    assert decoded_s == pytest.approx(expected_s, abs=0.1)
    assert not [line for line in complaints.splitlines() if "overread" not in line and "backstep" not in line]


def test_chunks_sent_one_by_one_are_the_same_bytes(encoded: Encoded) -> None:
    n = len(encoded.ends_s)
    single = b"".join(encoded.chunks(number, number + 1) for number in range(n - 2, n + 3))
    assert encoded.chunks(n - 2, n + 3) == single
    assert encoded.chunks(5, 5) == b""


def test_a_page_that_is_not_moved_keeps_its_checksum() -> None:
    page = frames.OGG_HEADER.pack(b"OggS", 0, 0, 960, 7, 3, 0, 1) + bytes([4]) + b"abcd"
    signed = frames.moved(page, 0, 0)
    assert frames.moved(signed, 0, 0) == signed
    assert frames.moved(frames.moved(signed, 100, 1), -100, -1) == signed
    assert signed != page


def test_data_in_another_format_is_an_error() -> None:
    for codec in ("mp3", "aac", "opus"):
        with pytest.raises(ValueError, match="at byte 0"):
            frames.parse(codec, bytes(64))  # type: ignore[arg-type]
