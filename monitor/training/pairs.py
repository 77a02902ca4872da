"""Batches of pairs: a segment of a track as it is in the catalog, and the same second as it is heard on the air.

In a share of the pairs a voice belongs to both views: songs, spoken word and commercials are tracks too, and there
the voice is what must be recognised, while other voices over it must not be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detect import spectrum
from monitor.detect.spectrum import HOP, RATE_HZ, SEGMENT
from monitor.training import augment, responses, voices
from monitor.training.augment import Floats
from monitor.training.cache import Cache, Clip
from monitor.training.errors import TrainingError
from monitor.training.transforms import irfft, rfft

Pcm = NDArray[np.int16]

PAST = int(responses.LONGEST_S * RATE_HZ)  # of a heard view, for its room's sake
HEARD = PAST + SEGMENT
SPARE = 1000  # more, because what is played faster uses more
OVER = slice(PAST, HEARD)
SILENCE = 10.0  # rms of 16 bit beneath which a segment is drawn again
TRIES = 4
SUNG_S = 2400.0
HISS_S = 600  # half of it pink, half white
LONGEST_VOICE_S = 9 * 3600.0
LONGEST_NOISE_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Strength:
    """How often and how strongly the heard view is changed. Shares are of all pairs.

    copy: played from a copy (codec, tempo, pitch). speed: of the rest, played up to `speed_most` faster or slower.
    voice: pairs whose track has a voice; alone: of these, how many are nothing else.
    noise: with something over it; snr_db from what to what; hard: share of them at no more than `hard_db`.
    bright: of what is over the music, how many have more treble than their recordings.
    roar: of those with noise, how many have broadband noise over them that swells and fades, at `roar_db`.
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
    """Images of both views, float32 (n, BANDS, SPECTRA), and the number of each pair's track, (n,)."""

    catalog: Floats
    heard: Floats
    tracks: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair's views begin, in samples of the cache's clips; `rate` of the heard view's clip."""

    original: Clip
    catalog_start: int
    clip: Clip
    heard_start: int


class Pairs:
    """Draws batches from a cache. All randomness comes from the generator that each call is given."""

    def __init__(self, cache: Cache, *, bank_size: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._pcm = cache.pcm
        music = [clip for clip in cache.of_kind("music") if clip.samples > 2 * SEGMENT]
        names = sorted({clip.track for clip in music})
        numbers = {name: i for i, name in enumerate(names)}
        self._originals: list[list[Clip]] = [[] for _ in names]
        self._copies: list[list[Clip]] = [[] for _ in names]
        self._by_name = {clip.name: clip for clip in music}
        for clip in music:
            self._originals[numbers[clip.track]].append(clip)
        for clip in cache.of_kind("copy"):
            if clip.of in self._by_name and clip.samples > 2 * SEGMENT:
                self._copies[numbers[clip.track]].append(clip)
        lengths = np.array([sum(clip.samples for clip in clips) for clips in self._originals], np.float64)
        self._log_lengths = np.log(lengths)
        self.tracks, self.music_s, self.copies = len(names), lengths.sum() / RATE_HZ, len(cache.of_kind("copy"))
        speech = voices.joined(cache, cache.of_kind("speech"), LONGEST_VOICE_S, rng)
        noise = voices.joined(cache, cache.of_kind("noise"), LONGEST_NOISE_S, rng)
        # Without speech or noise of one's own, music serves: it is over the music in any case.
        fallback = voices.joined(cache, music, 1800.0, rng)
        self._noise = noise if len(noise) > 60 * RATE_HZ else fallback
        self._speech = speech if len(speech) > 60 * RATE_HZ else self._noise
        self._sung = voices.sung(self._speech, SUNG_S, rng)
        self._bank = responses.bank(bank_size, HEARD, rng)
        self._hiss = np.concatenate(
            [augment.pink(HISS_S // 2, RATE_HZ, rng).ravel(), rng.standard_normal(HISS_S // 2 * RATE_HZ, np.float32)]
        )

    def batch(self, size: int, strength: Strength, rng: np.random.Generator) -> Batch:
        """`size` pairs, all of different tracks.

        Raises:
            TrainingError: there are fewer tracks.
        """
        if size > self.tracks:
            raise TrainingError(f"a batch of {size} needs as many tracks, and there are {self.tracks}: lower --pairs")
        # Gumbel's trick: without replacement, in proportion to the length.
        tracks = np.argsort(-(self._log_lengths + rng.gumbel(size=self.tracks)))[:size]
        places, catalog = self._audible_places(tracks, strength, rng)
        heard = np.stack([self._read(p.clip, p.heard_start - PAST, HEARD + SPARE) for p in places])
        is_copy = np.array([p.clip is not p.original for p in places])
        catalog, heard = self._with_voice(catalog, heard, places, is_copy, strength, rng)
        heard = self._on_air(heard, is_copy, strength, rng)
        images = spectrum.normalised(
            np.concatenate([spectrum.mel_power(catalog, rfft), spectrum.mel_power(heard, rfft)]).transpose(0, 2, 1)
        )
        return Batch(images[:size], augment.cut_out(images[size:], rng.random(size) < strength.cut_out, rng), tracks)

    def _audible_places(
        self, tracks: NDArray[np.int64], strength: Strength, rng: np.random.Generator
    ) -> tuple[list[Place], Floats]:
        places = [self._place(int(track), strength, rng) for track in tracks]
        catalog = np.stack([self._read(p.original, p.catalog_start, SEGMENT) for p in places])
        for _ in range(TRIES):
            for i in np.flatnonzero(augment.rms(catalog)[:, 0] < SILENCE):
                places[i] = self._place(int(tracks[i]), strength, rng)
                catalog[i] = self._read(places[i].original, places[i].catalog_start, SEGMENT)
        return places, catalog

    def _place(self, track: int, strength: Strength, rng: np.random.Generator) -> Place:
        offset = int(rng.uniform(-HOP / 2, HOP / 2))  # a query lies at most half a hop off the catalog's segments
        if self._copies[track] and rng.random() < strength.copy:
            clip = self._copies[track][int(rng.integers(len(self._copies[track])))]
            original = self._by_name[clip.of]
            heard = int(rng.integers(0, clip.samples - SEGMENT))
            middle = clip.source_start + (heard + SEGMENT / 2) * clip.rate
            start = int(middle - SEGMENT / 2) - offset
        else:
            clip = original = self._longer(self._originals[track], rng)
            start = int(rng.integers(0, original.samples - SEGMENT))
            heard = start + offset
        # At an end, what is read beyond it is silence in both views.
        return Place(original, start, clip, heard)

    @staticmethod
    def _longer(clips: list[Clip], rng: np.random.Generator) -> Clip:
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
        strength: Strength,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Pairs of whose track a voice is a part; not where the heard view is of a copy, which has none."""
        n = len(catalog)
        catalog, heard = catalog * 0.1, heard * 0.1
        share = strength.voice / max(1e-6, 1 - float(is_copy.mean()))
        rows = np.flatnonzero((rng.random(n) < share) & ~is_copy)
        for i in rows:
            source = self._sung if rng.random() < 0.4 else self._speech
            at = int(rng.integers(PAST + HOP, len(source) - 3 * SEGMENT))
            offset = places[i].heard_start - places[i].catalog_start
            voice = source[at : at + SEGMENT].astype(np.float32)
            late = source[at + offset - PAST : at + offset - PAST + heard.shape[1]].astype(np.float32)
            if np.sqrt(np.mean(voice**2)) < voices.LEVEL / 8:
                continue  # a pause
            is_alone = rng.random() < strength.alone
            music = max(float(np.sqrt(np.mean(catalog[i] ** 2))), 1e-3)
            gain = 0.0 if is_alone else voices.LEVEL / music * 10 ** (-rng.uniform(-6, 15) / 20)
            catalog[i] = catalog[i] * gain + voice
            heard[i] = heard[i] * gain + late
        return catalog, heard

    def _on_air(
        self, heard: Floats, is_copy: NDArray[np.bool_], strength: Strength, rng: np.random.Generator
    ) -> Floats:
        n = len(heard)
        faster = np.flatnonzero(~is_copy & (rng.random(n) < strength.speed))
        factors = np.exp(rng.uniform(-strength.max_speed, strength.max_speed, len(faster))).astype(np.float32)
        heard[faster] = augment.at_speed(heard[faster], factors, PAST + SEGMENT // 2)
        heard = augment.at_level(heard[:, :HEARD], OVER)
        beneath = np.where(rng.random(n) < strength.underneath, rng.uniform(2, 20, n), np.nan)
        heard = augment.mixed(heard, heard[rng.permutation(n)], beneath, OVER)
        heard = self._through(heard, self._over(heard, strength, rng), strength, rng)
        hiss = np.where(rng.random(n) < strength.hiss, rng.uniform(0, 30, n), np.nan)
        starts = rng.integers(0, len(self._hiss) - HEARD, n)
        noise = np.lib.stride_tricks.sliding_window_view(self._hiss, HEARD)[starts]
        heard = augment.mixed(heard, noise, hiss, OVER)
        heard = augment.compressed(heard, rng.random(n) < strength.compressed, rng)
        heard = augment.clipped(heard, rng.random(n) < strength.clipped, rng)
        heard = augment.rounded(heard, rng.random(n) < strength.rounded, rng)
        return np.ascontiguousarray(heard[:, OVER])

    def _over(self, heard: Floats, strength: Strength, rng: np.random.Generator) -> Floats:
        """What is heard over each row: speech, effects, both or nothing, at its level."""
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
        """Traffic, wind, a crowd: its level swings by up to a factor of nine, over two to twenty seconds."""
        at = int(rng.integers(0, len(self._hiss) - HEARD))
        turns = np.arange(HEARD, dtype=np.float32) / RATE_HZ * rng.uniform(0.05, 0.5) + rng.random()
        swell = 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * turns)
        roar: Floats = (self._hiss[at : at + HEARD] * swell * voices.LEVEL).astype(np.float32)
        return roar

    @staticmethod
    def _scaled(heard: Floats, over: Floats, snr_db: NDArray[np.float64]) -> Floats:
        loudness = np.maximum(augment.rms(over[:, OVER]), 0.04)  # a pause in speech is not raised to a roar
        gains = augment.rms(heard[:, OVER]) / loudness * 10 ** (-snr_db[:, np.newaxis] / 20)
        scaled: Floats = over * gains.astype(np.float32)
        return scaled

    def _through(self, heard: Floats, over: Floats, strength: Strength, rng: np.random.Generator) -> Floats:
        """Both through one response, or only the music, when somebody speaks into a microphone over a bed."""
        n = len(heard)
        is_changed = rng.random(n) < strength.response
        is_dry = rng.random(n) < strength.dry_voice
        bank = self._bank[rng.integers(0, len(self._bank), n)]
        spectra = rfft(heard, axis=1)
        others = rfft(over, axis=1)
        together = spectra + others * ~is_dry[:, np.newaxis]
        together[is_changed] *= bank[is_changed]
        # A response has power 1 over all pitches, but not over those of this music: the ratio is set anew.
        sound = irfft(together, HEARD, axis=1).astype(np.float32, copy=False)
        sound = augment.at_level(sound, OVER)
        dry = over * is_dry[:, np.newaxis] * (0.1 / np.maximum(augment.rms(heard[:, OVER]), augment.QUIET))
        out: Floats = sound + dry.astype(np.float32, copy=False)
        return out

    @staticmethod
    def _excerpt(source: Pcm, rng: np.random.Generator) -> Floats:
        at = int(rng.integers(0, len(source) - HEARD))
        return source[at : at + HEARD].astype(np.float32)
