"""A bank of synthetic transmission responses: rooms, loudspeakers, microphones, telephone lines, radio, equalizers.

A response is the product of a minimum-phase filter and of a room:

    room         a direct sound, a few reflections and exponentially decaying noise, with a faster decay of treble;
                 or the image sources of a loudspeaker in a box with six hard walls
    loudspeaker  a high-pass at 80 to 500 Hz, two to five resonances, a low-pass at 2.5 to 9 kHz
    line         a telephone (300 to 3,400 Hz) or AM radio (up to 2 to 5 kHz)
    equalizer    up to +-12 dB, smooth over the octaves; the mildest third of the bank has nothing else
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detect.spectrum import RATE_HZ

Floats = NDArray[np.float32]
Doubles = NDArray[np.floating[Any]]
Spectra = NDArray[np.complex64]

MAX_RESPONSE_S = 0.5  # responses are cut here; a clip needs this much preceding audio
REVERBERATION_S = (0.08, 0.9)  # RT60
DIRECT_DB = (-8.0, 12.0)  # of the direct sound relative to the room
MIN_GAIN_DB = -60.0
ROOM_SHARE = 0.85  # of the responses outside the mildest third
BOX_SHARE = 0.5  # of the rooms
SOUND_M_PER_S = 343.0


@dataclass(frozen=True, slots=True)
class Box:
    """A distribution of box-shaped rooms with six equal walls.

    edges_m: the range of each of the three edges.
    reflected: the range of the walls' amplitude reflection coefficient.
    images: the number of image sources along an axis, in either direction.
    margin: the smallest distance of source and microphone from a wall, as a share of the edge.
    nearest_m: the distance below which a source gets no louder.
    """

    edges_m: tuple[tuple[float, float], ...]
    reflected: tuple[float, float]
    images: int
    margin: float
    nearest_m: float


# From the size of a car to that of a hall.
BOX = Box(((2.0, 12.0), (2.0, 9.0), (2.1, 5.0)), reflected=(0.45, 0.93), images=7, margin=0.05, nearest_m=0.2)


def response_bank(size: int, samples: int, rng: np.random.Generator, rate_hz: int = RATE_HZ) -> Spectra:
    """Spectra of `size` random responses, for FFTs of `samples`: complex64 (size, samples // 2 + 1), mean power 1."""
    return np.stack([_one(samples, i / size, rng, rate_hz) for i in range(size)])


def _one(samples: int, rank: float, rng: np.random.Generator, rate_hz: int) -> Spectra:
    hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    gain_db = _equalizer(hz, rng, max_db=6.0 if rank < 1 / 3 else 12.0)
    if rank >= 1 / 3:
        kind = rng.choice(["speaker", "telephone", "radio", "none"], p=[0.5, 0.15, 0.15, 0.2])
        gain_db += {"speaker": _speaker, "telephone": _telephone, "radio": _radio, "none": _nothing}[kind](hz, rng)
    spectrum = _causal(gain_db, samples)
    if rank >= 1 / 3 and rng.random() < ROOM_SHARE:
        room = _box if rng.random() < BOX_SHARE else _room
        spectrum = spectrum * np.fft.rfft(room(rng, rate_hz), samples)
    power = float(np.mean(np.abs(spectrum) ** 2))
    scaled: Spectra = (spectrum / np.sqrt(power)).astype(np.complex64)
    return scaled


def _equalizer(hz: Doubles, rng: np.random.Generator, max_db: float) -> Doubles:
    octaves = np.log2(np.maximum(hz, 50) / 50)
    points = np.arange(0, 9)
    gains = rng.uniform(-max_db, max_db, len(points)) * rng.random()
    return np.interp(octaves, points, gains)


def _speaker(hz: Doubles, rng: np.random.Generator) -> Doubles:
    gain = _high_pass(hz, np.exp(rng.uniform(np.log(80), np.log(500))), int(rng.integers(1, 4)))
    gain += _low_pass(hz, np.exp(rng.uniform(np.log(2500), np.log(9000))), int(rng.integers(1, 3)))
    for _ in range(rng.integers(2, 6)):
        center, width = np.exp(rng.uniform(np.log(200), np.log(7000))), rng.uniform(0.05, 0.5)
        gain += rng.uniform(-10, 10) * np.exp(-0.5 * (np.log2(np.maximum(hz, 1) / center) / width) ** 2)
    return gain


def _telephone(hz: Doubles, rng: np.random.Generator) -> Doubles:
    return _high_pass(hz, rng.uniform(200, 400), 4) + _low_pass(hz, rng.uniform(3000, 3600), 10)


def _radio(hz: Doubles, rng: np.random.Generator) -> Doubles:
    return _high_pass(hz, rng.uniform(50, 200), 2) + _low_pass(hz, rng.uniform(2000, 5000), int(rng.integers(2, 8)))


def _nothing(hz: Doubles, rng: np.random.Generator) -> Doubles:
    return np.zeros_like(hz)


def _high_pass(hz: Doubles, edge_hz: float, order: int) -> Doubles:
    gain: Doubles = -10 * np.log10(1 + (edge_hz / np.maximum(hz, 1)) ** (2 * order))
    return gain


def _low_pass(hz: Doubles, edge_hz: float, order: int) -> Doubles:
    gain: Doubles = -10 * np.log10(1 + (hz / edge_hz) ** (2 * order))
    return gain


def _causal(gain_db: Doubles, samples: int) -> NDArray[np.complex128]:
    """The minimum-phase spectrum with this magnitude, made by folding its cepstrum onto positive times."""
    logs = np.maximum(gain_db - gain_db.max(), MIN_GAIN_DB) * (np.log(10) / 20)
    cepstrum = np.fft.irfft(logs, samples)
    half = samples // 2
    cepstrum[1:half] *= 2
    cepstrum[half + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum, samples))


def _room(rng: np.random.Generator, rate_hz: int) -> Doubles:
    samples = int(MAX_RESPONSE_S * rate_hz)
    times = np.arange(samples) / rate_hz
    seconds = np.exp(rng.uniform(*np.log(REVERBERATION_S)))
    high = seconds * rng.uniform(0.3, 0.9)
    # Two bands of noise, of which the upper decays faster; a one-sample sum and difference separate them well enough.
    noise = rng.standard_normal((2, samples + 1))
    low_band, high_band = noise[0, 1:] + noise[0, :-1], noise[1, 1:] - noise[1, :-1]
    tail = low_band * 10 ** (-3 * times / seconds) + high_band * 10 ** (-3 * times / high)
    arrival = int(rng.uniform(0.001, 0.012) * rate_hz)
    tail[:arrival] = 0
    for _ in range(rng.integers(0, 8)):
        tail[int(rng.uniform(0.001, 0.05) * rate_hz)] += rng.normal() * 3
    tail *= 1 / np.linalg.norm(tail)
    tail[0] += 10 ** (rng.uniform(*DIRECT_DB) / 20)
    response: Doubles = tail
    return response


def _box(rng: np.random.Generator, rate_hz: int) -> Doubles:
    response = box_response(BOX, int(MAX_RESPONSE_S * rate_hz), rate_hz, rng)
    return response / np.linalg.norm(response)


def box_response(box: Box, samples: int, rate_hz: int, rng: np.random.Generator) -> Doubles:
    """The impulse response of a random box by image sources (Allen and Berkley, JASA 65, 1979): float64 (samples,).

    The direct sound is at sample 0.
    """
    size = np.array([rng.uniform(*edge) for edge in box.edges_m])
    source, ear = (rng.uniform(box.margin, 1 - box.margin, 3) * size for _ in range(2))
    k = np.arange(-box.images, box.images + 1)
    # Along each axis, an image is at 2 k size +- source and was reflected |2 k| or |2 k - 1| times.
    at = [np.concatenate([2 * k * s + p, 2 * k * s - p]) - e for s, p, e in zip(size, source, ear, strict=True)]
    met = np.concatenate([np.abs(2 * k), np.abs(2 * k - 1)])
    meters = np.sqrt(at[0][:, None, None] ** 2 + at[1][:, None] ** 2 + at[2] ** 2)
    bounces = met[:, None, None] + met[:, None] + met
    gains = rng.uniform(*box.reflected) ** bounces / np.maximum(meters, box.nearest_m)
    # Real surfaces scatter. Without random signs, the late images would add up to a hum.
    gains *= np.where(bounces > 2, rng.choice([-1.0, 1.0], gains.shape), 1.0)
    delays = np.round((meters - meters.min()) / SOUND_M_PER_S * rate_hz).astype(np.int64)
    near = delays < samples
    return np.bincount(delays[near], gains[near], samples).astype(np.float64)
