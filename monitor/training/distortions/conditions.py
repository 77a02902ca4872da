"""The conditions a fingerprint is measured under: queries cut from tracks and degraded, with numpy and ffmpeg only.

Airtrace's own evaluation and the benchmark against other systems share this code. Noises and processing chains differ
from those of training, so that no system is measured on exactly the distortions that it learned. Half of training's
rooms are boxes like these, but of other sizes and with other walls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training.cache import resample, run_ffmpeg, through_codec
from monitor.training.distortions.responses import Box, box_response

Floats = NDArray[np.float32]
Pcm = NDArray[np.int16]
Apply = Callable[[Floats, "Sounds", np.random.Generator], Floats]
ReferenceKind = Literal["music", "voice"]

CONTEXT_S = 1.0  # of preceding audio, whose reverberation and codec state carry over into the query
LEVEL = 0.08  # RMS of a query; the level is not what is measured
QUIET = 1e-6
SILENT_RMS = 10 ** (-55 / 20)  # a quieter second has nothing to recognize
RAW = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1")


@dataclass(frozen=True, slots=True)
class Sounds:
    """Sounds to mix over queries: long 32 kHz PCM of many voices and of many noises, int16 (n_samples,) each."""

    speech: Pcm
    noise: Pcm


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to degrade a query.

    rate: seconds of the reference per second of the query.
    apply: degrades sound that starts CONTEXT_S before the query; its output is 1 / `rate` times as long.
    of: whether the queries are cut from music, or from references that are or contain a voice.
    """

    name: str
    apply: Apply
    rate: float = 1.0
    of: ReferenceKind = "music"


def query(
    condition: Condition, track: Pcm, start: int, seconds: float, sounds: Sounds, rng: np.random.Generator
) -> Pcm:
    """Cuts `seconds` from a track, 32 kHz PCM, int16 (n_samples,), starting at sample `start`, and degrades them.

    A shorter query at the same place is a prefix of a longer one, because loudness is measured over all of it.
    """
    context, wanted = round(CONTEXT_S * SAMPLE_RATE_HZ), round(seconds * SAMPLE_RATE_HZ)
    before, length = round(context * condition.rate), round((context + wanted) * condition.rate)
    excerpt = np.zeros(length, np.float32)
    first = max(0, before - start)
    taken = track[max(0, start - before) :][: length - first]
    excerpt[first : first + len(taken)] = to_sound(taken)
    degraded = condition.apply(excerpt, sounds, rng)
    return to_pcm(_fitted(degraded, context + wanted)[context:])


def query_starts(track: Pcm, seconds: float, n: int, rng: np.random.Generator) -> list[int]:
    """Draws `n` samples at which queries may start; none if the track has no suitable place.

    No second of a query of this length is silent, and it stays within the track even under the fastest condition.
    """
    whole = len(track) // SAMPLE_RATE_HZ
    power = np.square(to_sound(track[: whole * SAMPLE_RATE_HZ]).reshape(whole, -1)).mean(axis=1)
    needed = int(np.ceil(seconds * max(condition.rate for condition in CONDITIONS))) + 1
    if whole < needed:
        return []
    is_audible = np.lib.stride_tricks.sliding_window_view(power > SILENT_RMS**2, needed).all(axis=1)
    starts_s = np.flatnonzero(is_audible)
    if not len(starts_s):
        return []
    return [int((rng.choice(starts_s) + rng.random()) * SAMPLE_RATE_HZ) for _ in range(n)]


def to_pcm(sound: Floats) -> Pcm:
    """Converts sound, float32 (n_samples,), to int16 PCM with an RMS of LEVEL, or less if its peaks would clip."""
    gain = min(LEVEL / max(_rms(sound), QUIET), 0.99 / max(float(np.abs(sound).max(initial=0)), QUIET))
    return np.round(sound * gain * 32767).astype(np.int16)


def to_sound(pcm: Pcm) -> Floats:
    """Converts PCM, int16 (n_samples,), to float32 with full scale 1.0."""
    sound: Floats = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
    return sound


# Mixing


def over(sound: Floats, other: Floats, sound_db: float) -> Floats:
    """Mixes `sound` and `other`, with `sound` at `sound_db` decibels relative to `other`."""
    gain = _rms(sound) / max(_rms(other), QUIET) * 10 ** (-sound_db / 20)
    both: Floats = sound + other * np.float32(gain)
    return both


def speech_over(music_db: float) -> Apply:
    """Mixes consecutive voices over the music, which is at `music_db` decibels relative to them."""
    return lambda sound, sounds, rng: over(sound, _piece(sounds.speech, len(sound), rng), music_db)


TREBLE_HZ = (2000.0, 4000.0, 9000.0)
TREBLE_DB = -3.0  # of the upper band relative to the lower one: Byrne et al., JASA 96, 1994, table II


def bright_speech_over(music_db: float) -> Apply:
    """Like `speech_over`, with synthetic treble for voices recorded without any, by rectification as in exciters."""

    def apply(sound: Floats, sounds: Sounds, rng: np.random.Generator) -> Floats:
        voice = _piece(sounds.speech, len(sound), rng)
        presence = band(voice, *TREBLE_HZ[:2])
        treble = band(np.abs(presence), *TREBLE_HZ[1:])
        return over(sound, over(voice, treble, _db(voice, presence) - TREBLE_DB), music_db)

    return apply


def noise_and_room(sound: Floats, sounds: Sounds, rng: np.random.Generator) -> Floats:
    """NAFP's condition: background noise 0 to 10 dB below the music, then a room and a microphone."""
    background = (_effects, _babble, _roar)[int(rng.integers(3))](sounds, len(sound), rng)
    return in_room(over(sound, background, rng.uniform(0, 10)), rng)


def _effects(sounds: Sounds, n: int, rng: np.random.Generator) -> Floats:
    return _piece(sounds.noise, n, rng)


def _babble(sounds: Sounds, n: int, rng: np.random.Generator) -> Floats:
    """Six voices at once, as in a pub."""
    voices: Floats = np.sum([_piece(sounds.speech, n, rng) for _ in range(6)], axis=0, dtype=np.float32)
    return voices


def _roar(_: Sounds, n: int, rng: np.random.Generator) -> Floats:
    """Pink noise that swells and fades over some seconds, as in a street."""
    shape = 1 / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ), 40))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
    swell = 1 + 0.6 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.5) * np.arange(n) / SAMPLE_RATE_HZ + rng.random()))
    return (noise * swell).astype(np.float32)


def _piece(pcm: Pcm, n: int, rng: np.random.Generator) -> Floats:
    start = int(rng.integers(0, max(1, len(pcm) - n)))
    return to_sound(np.resize(pcm[start : start + n], n) if len(pcm) else np.zeros(n, np.int16))


# Transmission

# From the size of a kitchen to that of a bar, with reverberation times of about 0.1 to 0.8 s.
ROOM = Box(((2.5, 8.0), (2.5, 10.0), (2.2, 4.0)), reflected=(0.55, 0.9), images=6, margin=0.1, nearest_m=0.3)
MICROPHONE_HZ = ((60.0, 250.0), (5000.0, 9000.0))


def in_room(sound: Floats, rng: np.random.Generator) -> Floats:
    """A loudspeaker recorded by a microphone in a box-shaped room (see `box_response`)."""
    (low, high), n = (rng.uniform(*edge) for edge in MICROPHONE_HZ), len(sound) + SAMPLE_RATE_HZ
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    microphone = (hz / low) ** 2 / (1 + (hz / low) ** 2) / np.sqrt(1 + (hz / high) ** 8)
    heard = np.fft.irfft(np.fft.rfft(sound, n) * np.fft.rfft(room(rng), n) * microphone, n)
    return heard[: len(sound)].astype(np.float32)


def room(rng: np.random.Generator) -> Floats:
    """The impulse response of a random room, float32 (SAMPLE_RATE_HZ,), with the direct sound at sample 0."""
    return box_response(ROOM, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, rng).astype(np.float32)


def telephone(sound: Floats, _: Sounds, __: np.random.Generator) -> Floats:
    """G.711: 300 to 3,400 Hz, 8-bit mu-law."""
    narrow = band(sound, 300, 3400)
    scale = max(float(np.abs(narrow).max()), QUIET)
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / scale) / np.log(256)
    steps = np.round(compressed * 127) / 127
    expanded: Floats = (np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255 * scale).astype(np.float32)
    return expanded


def band(sound: Floats, low_hz: float, high_hz: float) -> Floats:
    """A zero-phase band-pass with the magnitude response of a 6th-order Butterworth filter."""
    n = len(sound) + SAMPLE_RATE_HZ // 4
    hz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ), 1)
    gain = 1 / np.sqrt((1 + (low_hz / hz) ** 12) * (1 + (hz / high_hz) ** 12))
    return np.fft.irfft(np.fft.rfft(sound, n) * gain, n)[: len(sound)].astype(np.float32)


CODECS = (("libmp3lame", "mp3", 32), ("aac", "adts", 32), ("libopus", "ogg", 24))


def coded(codec: str, form: str, kbps: int) -> Apply:
    """Encodes and decodes with one codec."""
    return lambda sound, _, __: _through_codec(sound, codec, form, kbps)


def any_codec(sound: Floats, _: Sounds, rng: np.random.Generator) -> Floats:
    """Encodes and decodes with a random one of CODECS."""
    codec, form, kbps = CODECS[int(rng.integers(len(CODECS)))]
    return _through_codec(sound, codec, form, kbps)


def _through_codec(sound: Floats, codec: str, form: str, kbps: int) -> Floats:
    made = through_codec(to_pcm(sound), codec, form, kbps)
    return _fitted(to_sound(made), len(sound))


# Playback and processing chains

HARSH_RATE = 1.015


def at_speed(rate: float) -> Apply:
    """Changes speed and pitch together, like a turntable or a station that saves time."""
    return lambda sound, _, __: resample(sound, round(SAMPLE_RATE_HZ * rate), SAMPLE_RATE_HZ)


def filtered(filters: str) -> Apply:
    """Applies ffmpeg's filters."""
    arguments = [*RAW, "-i", "pipe:0", "-af", filters]
    return lambda sound, _, __: to_sound(run_ffmpeg(arguments, to_pcm(sound).tobytes()))


def harsh(sound: Floats, sounds: Sounds, rng: np.random.Generator) -> Floats:
    """A radio in a bar under a conversation, forwarded at a low bit rate: mild distortions, but all at once."""
    fast = at_speed(HARSH_RATE)(sound, sounds, rng)
    heard = in_room(over(fast, _piece(sounds.speech, len(fast), rng), 0.0), rng)
    heard = over(heard, _piece(sounds.noise, len(heard), rng), 9.0)
    driven = np.tanh(2 * heard / max(float(np.abs(heard).max()), QUIET)).astype(np.float32)
    return _through_codec(band(driven, 200, 3600), "libmp3lame", "mp3", 32)


def clean(sound: Floats, _: Sounds, __: np.random.Generator) -> Floats:
    """No degradation."""
    return sound


def _conditions() -> Iterator[Condition]:
    yield Condition("clean", clean)
    yield Condition("noise 0-10 dB + room", noise_and_room)
    for music_db in (6, 0, -6, -12, -18):
        yield Condition(f"speech over, music {music_db:+d} dB", speech_over(music_db))
    yield Condition("telephone", telephone)
    yield Condition("MP3 32 kb/s", coded("libmp3lame", "mp3", 32))
    for percent in (-4, -2, 2, 4):
        yield Condition(f"speed {percent:+d} %", at_speed(1 + percent / 100), 1 + percent / 100)
    for semitones in (-1, 1):
        yield Condition(f"pitch {semitones:+d} semitone", filtered(f"rubberband=pitch={2 ** (semitones / 12):.6f}"))
    for percent in (-4, 4):
        rate = 1 + percent / 100
        yield Condition(f"tempo {percent:+d} %", filtered(f"rubberband=tempo={rate:.6f}"), rate)
    yield Condition("harsh chain", harsh, HARSH_RATE)
    yield Condition("voice: clean", clean, of="voice")
    yield Condition("voice: codecs 24-32 kb/s", any_codec, of="voice")
    yield Condition("voice: other speech 6 dB below", speech_over(6), of="voice")
    for music_db in (-6, -12):
        yield Condition(f"bright speech over, music {music_db:+d} dB", bright_speech_over(music_db))


CONDITIONS: tuple[Condition, ...] = tuple(_conditions())

# References that are a voice alone, or a voice over music

VOICE_S = 40.0
PAUSE_S = (0.1, 0.6)
BED_DB = (6.0, 12.0)  # below a commercial's voice
BED_RATE = 0.8  # four semitones lower than the track it is made from, so that the bed is not in the catalog
NOTE_S = (0.2, 0.8)
SCALE = (-7, -5, -3, -1, 0, 2, 4, 5, 7)  # semitones relative to the speaker's pitch


def voice_references(
    clips: Sequence[Pcm], music: Sequence[Pcm], n: int, rng: np.random.Generator
) -> Iterator[tuple[str, Pcm]]:
    """Makes up to `n` named tracks of VOICE_S: spoken word, commercials and synthetic songs in turn.

    Stops when the clips of speech run out; none is used twice.
    """
    order = iter(rng.permutation(len(clips)))
    for i in range(n):
        kind = ("spoken word", "commercial", "song")[i % 3]
        voice = _spoken((clips[k] for k in order), rng)
        if voice is None:
            return
        if kind == "song":
            voice = _sung(voice, rng)
        if kind != "spoken word" and music:
            voice = _on_bed(voice, music[int(rng.integers(len(music)))], kind, rng)
        yield f"{kind} {i:03d}", to_pcm(voice)


def _spoken(clips: Iterator[Pcm], rng: np.random.Generator) -> Floats | None:
    """Concatenates clips at one level, with pauses; None if too few are left."""
    parts: list[Floats] = []
    left = int(VOICE_S * SAMPLE_RATE_HZ)
    for clip in clips:
        sound = to_sound(clip)
        pause = np.zeros(int(rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ), np.float32)
        parts += [sound * np.float32(LEVEL / max(_rms(sound), QUIET)), pause]
        left -= len(sound) + len(pause)
        if left <= 0:
            return np.concatenate(parts)[: int(VOICE_S * SAMPLE_RATE_HZ)]
    return None


def _sung(voice: Floats, rng: np.random.Generator) -> Floats:
    """Bends the pitch of a voice along random notes, with vibrato. The length stays about the same."""
    semitones = np.empty(len(voice))
    at = 0
    while at < len(voice):
        length = int(rng.uniform(*NOTE_S) * SAMPLE_RATE_HZ)
        semitones[at : at + length] = rng.choice(SCALE)
        at += length
    semitones += 0.3 * np.sin(2 * np.pi * 5.5 * np.arange(len(voice)) / SAMPLE_RATE_HZ)
    at_samples = np.cumsum(2 ** (semitones / 12))
    used = at_samples[at_samples < len(voice) - 1]
    return np.interp(used, np.arange(len(voice)), voice).astype(np.float32)


def _on_bed(voice: Floats, track: Pcm, kind: str, rng: np.random.Generator) -> Floats:
    bed = resample(_piece(track, round(len(voice) * BED_RATE), rng), round(SAMPLE_RATE_HZ * BED_RATE), SAMPLE_RATE_HZ)
    return over(voice, _fitted(bed, len(voice)), rng.uniform(*BED_DB) if kind == "commercial" else 0.0)


def _fitted(sound: Floats, n: int) -> Floats:
    """Cuts or zero-pads sound to `n` samples."""
    return sound[:n] if len(sound) >= n else np.pad(sound, (0, n - len(sound)))


def _db(sound: Floats, other: Floats) -> float:
    return 20 * float(np.log10(max(_rms(sound), QUIET) / max(_rms(other), QUIET)))


def _rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0
