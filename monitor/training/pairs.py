"""Batches of training pairs: a segment of a track as in the catalog, and the same second as heard on the air.

In a share of the pairs, a voice belongs to both views: songs, spoken word and commercials are tracks, too. Their voices
must be recognized, while other voices over them must be ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detect import spectrum
from monitor.detect.spectrum import HOP_SAMPLES_16K, RATE_HZ, SEGMENT_SAMPLES_16K
from monitor.training.cache import Cache, Clip
from monitor.training.distortions import augment, responses, voices
from monitor.training.distortions.augment import Floats
from monitor.training.distortions.transforms import irfft, rfft
from monitor.training.errors import TrainingError

Pcm = NDArray[np.int16]

PAST_SAMPLES = int(responses.MAX_RESPONSE_S * RATE_HZ)  # before a heard view, for its reverberation
HEARD_SAMPLES = PAST_SAMPLES + SEGMENT_SAMPLES_16K
SPARE_SAMPLES = 1000  # read in addition, because faster playback needs more
OVER = slice(PAST_SAMPLES, HEARD_SAMPLES)
SILENCE_RMS = 10.0  # in 16-bit steps; quieter segments are drawn again
TRIES = 4
SUNG_S = 2400.0
HISS_S = 600  # half of it pink, half white
MAX_VOICE_S = 9 * 3600.0
MAX_NOISE_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class AugmentationStrength:
    """How often and how strongly the heard view is changed. All fields but the ranges in dB are shares of the pairs.

    copy: taken from a copy (codec, tempo, pitch).
    speed: of the others, played up to `max_speed` faster or slower.
    voice: the track has a voice. alone: of these, the track is nothing but a voice.
    noise: with voices, effects or noise over the music, at `snr_db` or, for a share `hard` of them, at `hard_db`.
    bright: of the sounds over the music, with more treble than in their recordings.
    roar: of those with noise, with broadband noise that swells and fades, at `roar_db`.
    underneath: with other music 2 to 20 dB below.
    response: through a room, loudspeaker, line or equalizer. dry_voice: of all, the sound over it skips the response.
    hiss: with stationary noise at the end of the chain.
    compressed, clipped, rounded: through these distortions.
    cut_out: with a band or a time span of the image masked.
    """

    copy: float = 0.5
    speed: float = 0.5
    max_speed: float = 0.065
    voice: float = 0.18
    alone: float = 0.3
    noise: float = 0.85
    snr_db: tuple[float, float] = (-6.0, 12.0)
    hard: float = 0.4
    hard_db: tuple[float, float] = (-16.0, -3.0)
    bright: float = 0.4
    roar: float = 0.3
    roar_db: tuple[float, float] = (-3.0, 12.0)
    underneath: float = 0.15
    response: float = 0.8
    dry_voice: float = 0.35
    hiss: float = 0.15
    compressed: float = 0.3
    clipped: float = 0.15
    rounded: float = 0.08
    reference: float = 0.2
    cut_out: float = 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of both views, float32 (n, BANDS, SPECTRA), and the number of each pair's track, int64 (n,)."""

    catalog: Floats
    heard: Floats
    tracks: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """The clips and start samples of a pair's two views."""

    original: Clip
    catalog_start: int
    clip: Clip
    heard_start: int


class Pairs:
    """Draws batches from a cache. All randomness of a batch comes from the generator passed to the call."""

    def __init__(self, cache: Cache, *, bank_size: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._pcm = cache.pcm
        music = [clip for clip in cache.of_kind("music") if clip.samples > 2 * SEGMENT_SAMPLES_16K]
        names = sorted({clip.track for clip in music})
        numbers = {name: i for i, name in enumerate(names)}
        self._originals: list[list[Clip]] = [[] for _ in names]
        self._copies: list[list[Clip]] = [[] for _ in names]
        self._by_name = {clip.name: clip for clip in music}
        for clip in music:
            self._originals[numbers[clip.track]].append(clip)
        for clip in cache.of_kind("copy"):
            if clip.of in self._by_name and clip.samples > 2 * SEGMENT_SAMPLES_16K:
                self._copies[numbers[clip.track]].append(clip)
        lengths = np.array([sum(clip.samples for clip in clips) for clips in self._originals], np.float64)
        self._log_lengths = np.log(lengths)
        self.tracks, self.music_s, self.copies = len(names), lengths.sum() / RATE_HZ, len(cache.of_kind("copy"))
        speech = voices.concatenated(cache, cache.of_kind("speech"), MAX_VOICE_S, rng)
        noise = voices.concatenated(cache, cache.of_kind("noise"), MAX_NOISE_S, rng)
        # Without speech or noise, other music is mixed over the music instead.
        fallback = voices.concatenated(cache, music, 1800.0, rng)
        self._noise = noise if len(noise) > 60 * RATE_HZ else fallback
        self._speech = speech if len(speech) > 60 * RATE_HZ else self._noise
        self._sung = voices.sung(self._speech, SUNG_S, rng)
        self._bank = responses.response_bank(bank_size, HEARD_SAMPLES, rng)
        self._hiss = np.concatenate(
            [augment.pink(HISS_S // 2, RATE_HZ, rng).ravel(), rng.standard_normal(HISS_S // 2 * RATE_HZ, np.float32)]
        )

    def batch(self, size: int, strength: AugmentationStrength, rng: np.random.Generator) -> Batch:
        """Draws `size` pairs, all of different tracks.

        Raises:
            TrainingError: the cache has fewer tracks.
        """
        if size > self.tracks:
            raise TrainingError(
                f"a batch of {size} pairs needs as many tracks, but there are only {self.tracks}: lower --pairs"
            )
        # The Gumbel trick: samples without replacement, with probabilities proportional to the lengths.
        tracks = np.argsort(-(self._log_lengths + rng.gumbel(size=self.tracks)))[:size]
        places, catalog = self._audible_places(tracks, strength, rng)
        heard = np.stack(
            [self._read(p.clip, p.heard_start - PAST_SAMPLES, HEARD_SAMPLES + SPARE_SAMPLES) for p in places]
        )
        is_copy = np.array([p.clip is not p.original for p in places])
        catalog, heard = self._with_voice(catalog, heard, places, is_copy, strength, rng)
        heard = self._on_air(heard, is_copy, strength, rng)
        images = spectrum.normalize(
            np.concatenate([spectrum.mel_power(catalog, rfft), spectrum.mel_power(heard, rfft)]).transpose(0, 2, 1)
        )
        return Batch(images[:size], augment.cut_out(images[size:], rng.random(size) < strength.cut_out, rng), tracks)

    def _audible_places(
        self, tracks: NDArray[np.int64], strength: AugmentationStrength, rng: np.random.Generator
    ) -> tuple[list[Place], Floats]:
        places = [self._place(int(track), strength, rng) for track in tracks]
        catalog = np.stack([self._read(p.original, p.catalog_start, SEGMENT_SAMPLES_16K) for p in places])
        for _ in range(TRIES):
            for i in np.flatnonzero(augment.rms(catalog)[:, 0] < SILENCE_RMS):
                places[i] = self._place(int(tracks[i]), strength, rng)
                catalog[i] = self._read(places[i].original, places[i].catalog_start, SEGMENT_SAMPLES_16K)
        return places, catalog

    def _place(self, track: int, strength: AugmentationStrength, rng: np.random.Generator) -> Place:
        offset = int(
            rng.uniform(-HOP_SAMPLES_16K / 2, HOP_SAMPLES_16K / 2)
        )  # a query is at most half a hop off the catalog's segments
        if self._copies[track] and rng.random() < strength.copy:
            clip = self._copies[track][int(rng.integers(len(self._copies[track])))]
            original = self._by_name[clip.of]
            heard = int(rng.integers(0, clip.samples - SEGMENT_SAMPLES_16K))
            middle = clip.source_start + (heard + SEGMENT_SAMPLES_16K / 2) * clip.rate
            start = int(middle - SEGMENT_SAMPLES_16K / 2) - offset
        else:
            clip = original = self._draw_by_length(self._originals[track], rng)
            start = int(rng.integers(0, original.samples - SEGMENT_SAMPLES_16K))
            heard = start + offset
        # Beyond the ends of a clip, both views are silent.
        return Place(original, start, clip, heard)

    @staticmethod
    def _draw_by_length(clips: list[Clip], rng: np.random.Generator) -> Clip:
        lengths = np.array([clip.samples for clip in clips], np.float64)
        return clips[int(rng.choice(len(clips), p=lengths / lengths.sum()))]

    def _read(self, clip: Clip, start: int, samples: int) -> Floats:
        out = np.zeros(samples, np.float32)
        low, high = max(0, start), min(clip.samples, start + samples)
        if high > low:
            out[low - start : high - start] = self._pcm[clip.start + low : clip.start + high]
        return out

    def _with_voice(
        self,
        catalog: Floats,
        heard: Floats,
        places: list[Place],
        is_copy: NDArray[np.bool_],
        strength: AugmentationStrength,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Adds a voice to both views of some pairs, but not of pairs from copies, which have no voice."""
        n = len(catalog)
        catalog, heard = catalog * 0.1, heard * 0.1
        share = strength.voice / max(1e-6, 1 - float(is_copy.mean()))
        rows = np.flatnonzero((rng.random(n) < share) & ~is_copy)
        for i in rows:
            source = self._sung if rng.random() < 0.4 else self._speech
            at = int(rng.integers(PAST_SAMPLES + HOP_SAMPLES_16K, len(source) - 3 * SEGMENT_SAMPLES_16K))
            offset = places[i].heard_start - places[i].catalog_start
            voice = source[at : at + SEGMENT_SAMPLES_16K].astype(np.float32)
            late = source[at + offset - PAST_SAMPLES : at + offset - PAST_SAMPLES + heard.shape[1]].astype(np.float32)
            if np.sqrt(np.mean(voice**2)) < voices.LEVEL / 8:
                continue  # a pause in the speech
            is_alone = rng.random() < strength.alone
            music = max(float(np.sqrt(np.mean(catalog[i] ** 2))), 1e-3)
            gain = 0.0 if is_alone else voices.LEVEL / music * 10 ** (-rng.uniform(-6, 15) / 20)
            catalog[i] = catalog[i] * gain + voice
            heard[i] = heard[i] * gain + late
        return catalog, heard

    def _on_air(
        self, heard: Floats, is_copy: NDArray[np.bool_], strength: AugmentationStrength, rng: np.random.Generator
    ) -> Floats:
        n = len(heard)
        faster = np.flatnonzero(~is_copy & (rng.random(n) < strength.speed))
        factors = np.exp(rng.uniform(-strength.max_speed, strength.max_speed, len(faster))).astype(np.float32)
        heard[faster] = augment.at_speed(heard[faster], factors, PAST_SAMPLES + SEGMENT_SAMPLES_16K // 2)
        heard = augment.at_level(heard[:, :HEARD_SAMPLES], OVER)
        below = np.where(rng.random(n) < strength.underneath, rng.uniform(2, 20, n), np.nan)
        heard = augment.mixed(heard, heard[rng.permutation(n)], below, OVER)
        heard = self._through(heard, self._over(heard, strength, rng), strength, rng)
        hiss = np.where(rng.random(n) < strength.hiss, rng.uniform(0, 30, n), np.nan)
        starts = rng.integers(0, len(self._hiss) - HEARD_SAMPLES, n)
        noise = np.lib.stride_tricks.sliding_window_view(self._hiss, HEARD_SAMPLES)[starts]
        heard = augment.mixed(heard, noise, hiss, OVER)
        heard = augment.compressed(heard, rng.random(n) < strength.compressed, rng)
        heard = augment.clipped(heard, rng.random(n) < strength.clipped, rng)
        heard = augment.rounded(heard, rng.random(n) < strength.rounded, rng)
        return np.ascontiguousarray(heard[:, OVER])

    def _over(self, heard: Floats, strength: AugmentationStrength, rng: np.random.Generator) -> Floats:
        """The sound over each row, at its level: speech, effects, both, broadband noise or nothing."""
        n = len(heard)
        kind = rng.choice(3, n, p=[0.6, 0.2, 0.2])
        is_roar = rng.random(n) < strength.roar
        over = np.zeros_like(heard)
        for i in np.flatnonzero(rng.random(n) < strength.noise):
            if is_roar[i]:
                over[i] = self._roar(rng)
                continue
            if kind[i] != 1:
                over[i] += self._excerpt(self._speech if rng.random() < 0.85 else self._sung, rng)
            if kind[i] != 0:
                over[i] += self._excerpt(self._noise, rng) * 10 ** (rng.uniform(-9, 6) / 20)
        over = augment.brightened(over, (rng.random(n) < strength.bright) & ~is_roar, rng)
        over *= 0.1 / voices.LEVEL
        is_hard = rng.random(n) < strength.hard
        snr_db = np.where(is_hard, rng.uniform(*strength.hard_db, n), rng.uniform(*strength.snr_db, n))
        snr_db = np.where(is_roar, rng.uniform(*strength.roar_db, n), snr_db)
        return self._scaled(heard, over, snr_db)

    def _roar(self, rng: np.random.Generator) -> Floats:
        """Noise like traffic, wind or crowds. Its level swings by up to a factor of nine within 2 to 20 seconds."""
        at = int(rng.integers(0, len(self._hiss) - HEARD_SAMPLES))
        turns = np.arange(HEARD_SAMPLES, dtype=np.float32) / RATE_HZ * rng.uniform(0.05, 0.5) + rng.random()
        swell = 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * turns)
        roar: Floats = (self._hiss[at : at + HEARD_SAMPLES] * swell * voices.LEVEL).astype(np.float32)
        return roar

    @staticmethod
    def _scaled(heard: Floats, over: Floats, snr_db: NDArray[np.float64]) -> Floats:
        loudness = np.maximum(augment.rms(over[:, OVER]), 0.04)  # a pause in speech is not amplified
        gains = augment.rms(heard[:, OVER]) / loudness * 10 ** (-snr_db[:, np.newaxis] / 20)
        scaled: Floats = over * gains.astype(np.float32)
        return scaled

    def _through(self, heard: Floats, over: Floats, strength: AugmentationStrength, rng: np.random.Generator) -> Floats:
        """Filters both by one response, or only the music, as when someone speaks into a microphone over a bed."""
        n = len(heard)
        is_changed = rng.random(n) < strength.response
        is_dry = rng.random(n) < strength.dry_voice
        bank = self._bank[rng.integers(0, len(self._bank), n)]
        spectra = rfft(heard, axis=1)
        others = rfft(over, axis=1)
        together = spectra + others * ~is_dry[:, np.newaxis]
        together[is_changed] *= bank[is_changed]
        # A response has unit power over all frequencies, but not over those of this music, so the level is set again.
        sound = irfft(together, HEARD_SAMPLES, axis=1).astype(np.float32, copy=False)
        sound = augment.at_level(sound, OVER)
        dry = over * is_dry[:, np.newaxis] * (0.1 / np.maximum(augment.rms(heard[:, OVER]), augment.QUIET))
        out: Floats = sound + dry.astype(np.float32, copy=False)
        return out

    @staticmethod
    def _excerpt(source: Pcm, rng: np.random.Generator) -> Floats:
        at = int(rng.integers(0, len(source) - HEARD_SAMPLES))
        return source[at : at + HEARD_SAMPLES].astype(np.float32)
