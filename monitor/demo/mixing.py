"""Renders a planned program: decodes its excerpts, adjusts their levels, mixes them and encodes the MP3."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.demo import media
from monitor.demo.media import BYTE_RATE, CHANNELS, RATE_HZ, Pcm
from monitor.demo.program import MUSIC_OVER_SPEECH_DB, Excerpt, Item, Program

MUSIC_DBFS = -20.0  # RMS of an excerpt, excluding its pauses
SPEECH_DBFS = -20.0
MAX_PEAK = 0.9  # an item with higher peaks is attenuated as a whole
GATE_DB = -35.0  # blocks this far below the loudest one are pauses and do not count for the level
BLOCK_S = 0.1
MAX_DECODERS = 2  # ffmpeg processes at a time


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A rendered program: MP3 with a constant number of bytes per second."""

    mp3: bytes
    byte_rate: int
    duration_s: float


async def render(program: Program) -> Broadcast:
    """Decodes, mixes and encodes a program; takes a few seconds for three minutes.

    Raises:
        DemoError: a file cannot be decoded.
    """
    mix = await mixed(program)
    return Broadcast(await media.encode_mp3(mix), BYTE_RATE, program.duration_s)


async def mixed(program: Program) -> Pcm:
    """The mixed program: float32 (samples, 2), 44.1 kHz.

    Raises:
        DemoError: a file cannot be decoded.
    """
    turns = asyncio.Semaphore(MAX_DECODERS)
    mix = np.zeros((round(program.duration_s * RATE_HZ), CHANNELS), np.float32)

    async def place(item: Item) -> None:
        async with turns:
            sound = await _sound(item)
        first = round(item.start_s * RATE_HZ)
        kept = sound[: len(mix) - first]
        mix[first : first + len(kept)] += kept

    try:
        async with asyncio.TaskGroup() as group:
            for item in program.items:
                group.create_task(place(item), name=f"mix {item.title}")
    except ExceptionGroup as failed:  # the first failure is enough to report
        raise failed.exceptions[0] from None
    return np.clip(mix, -1.0, 1.0)


async def _sound(item: Item) -> Pcm:
    sound = np.zeros((round((item.end_s - item.start_s) * RATE_HZ), CHANNELS), np.float32)
    if item.music:
        _add(sound, item.music, leveled(await _decoded(item.music), MUSIC_DBFS))
    speech_dbfs = MUSIC_DBFS - MUSIC_OVER_SPEECH_DB if item.music else SPEECH_DBFS
    for sentence in item.speech:
        _add(sound, sentence, leveled(await _decoded(sentence), speech_dbfs))
    peak = float(np.abs(sound).max(initial=0.0))
    if peak > MAX_PEAK:
        sound *= MAX_PEAK / peak
    return faded(sound, item.fade_in_s, item.fade_out_s)


async def _decoded(excerpt: Excerpt) -> Pcm:
    return await media.decode(excerpt.path, excerpt.start_s, excerpt.length_s)


def _add(sound: Pcm, excerpt: Excerpt, pcm: Pcm) -> None:
    first = round(excerpt.at_s * RATE_HZ)
    kept = pcm[: len(sound) - first]
    sound[first : first + len(kept)] += kept


def leveled(pcm: Pcm, dbfs: float) -> Pcm:
    """The sound (samples, 2) scaled to an RMS level of `dbfs`, measured without its pauses. Silence stays silence."""
    rms = _active_rms(pcm)
    return pcm if rms == 0.0 else pcm * np.float32(10 ** (dbfs / 20) / rms)


def _active_rms(pcm: Pcm) -> float:
    block = round(BLOCK_S * RATE_HZ)
    whole = len(pcm) // block * block
    blocks = pcm[:whole].reshape(-1, block * CHANNELS) if whole else pcm.reshape(1, -1)
    power: NDArray[np.float64] = np.mean(np.square(blocks, dtype=np.float64), axis=1)
    active = power[power >= power.max() * 10 ** (GATE_DB / 10)]
    return float(np.sqrt(active.mean()))


def faded(pcm: Pcm, in_s: float, out_s: float) -> Pcm:
    """The sound (samples, 2) with equal-power fades at both ends, so that a crossfade keeps the loudness."""
    shaped = pcm.copy()
    n_in, n_out = (min(len(pcm), round(seconds * RATE_HZ)) for seconds in (in_s, out_s))
    shaped[:n_in] *= _rise(n_in)
    shaped[len(pcm) - n_out :] *= _rise(n_out)[::-1]
    return shaped


def _rise(n: int) -> Pcm:
    return np.sin(np.linspace(0.0, np.pi / 2, n, dtype=np.float32))[:, np.newaxis]
