"""PCM as FLAC and back, bit by bit the same: what makes windows small on Kafka. Pure.

Measured on 270 windows of 2 s of real music as stations send it (one core; size of the PCM, ms to encode, to decode):
flac 0.56, 0.67, 0.71; gzip 0.89, 2.3, 0.63; zstd 0.91, 0.18, 0.14; lz4 0.98, 1.9, 0.11. What FLAC costs is a tenth
of what matching a window does, and it halves the log and the network.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile

from ingest.errors import WireError

LEVEL = 0.375  # of 0 to 1, FLAC's level 3: those above take up to twice the time for 0.7 % less
MAX_SAMPLES = 60 * 32_000  # a window has 10 s at most; a few bytes of FLAC can claim hours


def encode(pcm: bytes, rate_hz: int) -> bytes:
    """Mono s16 as FLAC."""
    out = io.BytesIO()
    samples = np.frombuffer(pcm, "<i2")
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16", compression_level=LEVEL)
    return out.getvalue()


def decode(flac: bytes, rate_hz: int) -> bytes:
    """The mono s16 in FLAC.

    Raises:
        WireError: it is damaged, too long, or of another format.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as file:
            shape = (file.format, file.samplerate, file.channels, file.subtype)
            if shape != ("FLAC", rate_hz, 1, "PCM_16"):
                raise WireError(f"audio of another format: {shape}")
            n_samples = file.frames
            if n_samples > MAX_SAMPLES:
                raise WireError(f"{n_samples} samples in one window, this reader takes {MAX_SAMPLES}")
            samples = file.read(dtype="int16")
    except soundfile.SoundFileError as error:
        raise WireError(f"damaged FLAC: {error}") from error
    if len(samples) != n_samples:
        raise WireError(f"damaged FLAC: {len(samples)} of {n_samples} samples")
    pcm: bytes = samples.astype("<i2").tobytes()
    return pcm
