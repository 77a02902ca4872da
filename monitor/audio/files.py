"""Audio files through libsndfile. The only module of `monitor` that imports soundfile, and only if needed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import AudioError

COPY_FRAMES = 1 << 16
MAX_COPY_BYTES = 8_000_000_000  # 6 h in stereo; only rare formats are copied
UNREADABLE = (RuntimeError, OSError, TypeError)  # soundfile's errors are RuntimeErrors


def header_duration_s(path: Path) -> float | None:
    """The duration in seconds that a file's header states; None if libsndfile cannot read the file."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            return float(file.frames / file.samplerate)
    except UNREADABLE:
        return None


def read(content: bytes) -> tuple[NDArray[np.float32], int] | None:
    """Decodes a whole file that is in memory.

    Returns:
        Samples, float32 of shape (frames, channels), full scale 1.0, and their rate in Hz; None if libsndfile cannot
        read the content.
    """
    import soundfile

    try:
        samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except UNREADABLE:
        return None
    return samples, int(rate_hz)


def copy_as_wav(path: Path, copy: Path, max_bytes: int = MAX_COPY_BYTES) -> None:
    """Copies a file that libsndfile reads into a WAV file (RF64, 32-bit float) with the same rate and channels.

    Raises:
        AudioError: the copy would have more than `max_bytes` bytes.
        RuntimeError, OSError: libsndfile cannot read the file.
    """
    import soundfile

    n_bytes = 0
    with (
        soundfile.SoundFile(path) as source,
        soundfile.SoundFile(copy, "w", source.samplerate, source.channels, "FLOAT", format="RF64") as target,
    ):
        for block in source.blocks(COPY_FRAMES, dtype="float32"):  # libsndfile reads floats as integers unscaled
            n_bytes += block.nbytes
            if n_bytes > max_bytes:
                raise AudioError("too_long", f"{path.name}: more than {max_bytes // 10**9} GB once it is decoded")
            target.write(block)
