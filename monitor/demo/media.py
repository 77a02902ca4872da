"""Reads and writes audio for the demo's program with ffmpeg. Streams are read in ingest/sources."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.sources.ffmpeg import binary
from monitor.demo.errors import DemoError
from monitor.demo.processes import run

RATE_HZ = 44_100
CHANNELS = 2
BYTE_RATE = 16_000  # of the MP3, per second: constant 128 kbit/s
G722_BYTES_PER_S = 8_000  # without a header, so the size gives the duration

Pcm = NDArray[np.float32]  # (samples, CHANNELS), full scale 1.0

DURATION = re.compile(r"Duration: (\d+):(\d+):(\d+\.\d+)")


async def duration_s(path: Path) -> float | None:
    """The duration of a file's audio in seconds; None if ffmpeg finds no audio."""
    if path.suffix == ".g722":
        return path.stat().st_size / G722_BYTES_PER_S
    seen = await run([binary(), "-hide_banner", "-nostdin", "-i", str(path)])
    found = DURATION.search(seen.err)
    if found is None or "Audio:" not in seen.err:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


async def decode(path: Path, start_s: float, length_s: float) -> Pcm:
    """Decodes an excerpt of a file, exact to the sample: float32 (samples, 2), with silence after the file's end.

    ffmpeg decodes from the beginning, because seeking in an MP3 by its bit rate may be off by seconds.

    Raises:
        DemoError: the file cannot be decoded.
    """
    cut = ["-ss", f"{start_s:.3f}", "-t", f"{length_s:.3f}"]
    form = ["-vn", "-f", "f32le", "-ac", str(CHANNELS), "-ar", str(RATE_HZ), "-"]
    read = await run([binary(), "-v", "error", "-nostdin", *_input(path), *cut, *form])
    pcm = np.frombuffer(read.out[: len(read.out) // (4 * CHANNELS) * 4 * CHANNELS], "<f4").reshape(-1, CHANNELS)
    if not len(pcm):
        raise DemoError(f"{path} cannot be decoded at {start_s:.0f} s ({_last_line(read.err)}): remove the file")
    whole = np.zeros((round(length_s * RATE_HZ), CHANNELS), np.float32)
    kept = min(len(whole), len(pcm))
    whole[:kept] = pcm[:kept]
    return whole


async def encode_mp3(pcm: Pcm) -> bytes:
    """Encodes float32 PCM (samples, 2) as constant 128 kbit/s MP3 frames, as a station sends them.

    There is no ID3 tag and no Xing header.

    Raises:
        DemoError: ffmpeg cannot encode MP3.
    """
    form = ["-f", "f32le", "-ac", str(CHANNELS), "-ar", str(RATE_HZ), "-i", "-"]
    mp3 = ["-c:a", "libmp3lame", "-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3", "-"]
    made = await run([binary(), "-v", "error", *form, *mp3], given=pcm.astype("<f4").tobytes())
    if made.status or not made.out:
        raise DemoError(f"ffmpeg cannot encode MP3 ({_last_line(made.err)}): apt-get install ffmpeg")
    return made.out


def _input(path: Path) -> list[str]:
    return ["-f", "g722", "-i", str(path)] if path.suffix == ".g722" else ["-i", str(path)]


def _last_line(err: str) -> str:
    return (err.strip().splitlines() or ["no message"])[-1]
