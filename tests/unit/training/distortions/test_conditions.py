"""The benchmark's conditions: a degraded query stays at its place, and has the stated ratios."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training.distortions import conditions
from monitor.training.distortions.conditions import CONDITIONS, Condition, Sounds

CLICK_S = 7.0
MUSIC = [condition for condition in CONDITIONS if condition.of == "music"]


def test_every_condition_keeps_sounds_in_place(condition: Condition, sounds: Sounds) -> None:
    track = _burst_at(CLICK_S, seconds=14)
    start = 2 * SAMPLE_RATE_HZ
    pcm = conditions.query(condition, track, start, 10, sounds, np.random.default_rng(3))
    assert len(pcm) == 10 * SAMPLE_RATE_HZ
    heard = _loudest_s(pcm)
    assert heard == pytest.approx((CLICK_S - 2) / condition.rate, abs=0.04)


@pytest.fixture(params=[c for c in MUSIC if "-18" not in c.name and "-12" not in c.name], ids=lambda c: c.name)
def condition(request: pytest.FixtureRequest) -> Condition:
    chosen: Condition = request.param
    return chosen


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    rng = np.random.default_rng(1)
    return Sounds(_noise(rng, 20), _noise(rng, 20))


def test_a_query_depends_only_on_the_seed(sounds: Sounds) -> None:
    track = _noise(np.random.default_rng(5), 14)
    room = next(c for c in CONDITIONS if "room" in c.name)
    first, second, other = (
        conditions.query(room, track, SAMPLE_RATE_HZ, 2, sounds, np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("music_db", [6.0, 0.0, -12.0])
def test_a_mix_has_the_stated_ratio(music_db: float) -> None:
    rng = np.random.default_rng(2)
    music, speech = (rng.standard_normal(SAMPLE_RATE_HZ).astype(np.float32) for _ in range(2))
    added = conditions.over(music, speech, music_db) - music
    assert 10 * np.log10(np.square(music).mean() / np.square(added).mean()) == pytest.approx(music_db, abs=0.01)


def test_a_band_pass_attenuates_sound_outside_its_band() -> None:
    sound = np.random.default_rng(4).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    power = np.abs(np.fft.rfft(conditions.band(sound, 300, 3400))) ** 2  # one bin per Hz
    assert power[150] < power[500:3000].mean() / 100
    assert power[5000:].mean() < power[500:3000].mean() / 100


def test_the_direct_sound_of_a_room_comes_first() -> None:
    response = conditions.room(np.random.default_rng(6))
    assert response[0] > 0
    assert np.square(response[SAMPLE_RATE_HZ // 2 :]).sum() < np.square(response).sum() / 10


def test_queries_start_only_where_there_is_sound() -> None:
    rng = np.random.default_rng(9)
    track = np.concatenate([np.zeros(30 * SAMPLE_RATE_HZ, np.int16), _noise(rng, 30)])
    found = conditions.query_starts(track, 10, 20, rng)
    assert len(found) == 20
    assert all(start >= 30 * SAMPLE_RATE_HZ and start + 10.4 * SAMPLE_RATE_HZ < len(track) for start in found)
    assert conditions.query_starts(track[: 30 * SAMPLE_RATE_HZ], 10, 20, rng) == []


def test_no_clip_of_speech_is_used_twice() -> None:
    rng = np.random.default_rng(8)
    clips = [np.full(10 * SAMPLE_RATE_HZ, 100 + i, np.int16) for i in range(20)]
    made = list(conditions.voice_references(clips, [], 30, rng))
    assert 3 <= len(made) <= 20 * 10 / conditions.VOICE_S
    assert all(len(pcm) <= conditions.VOICE_S * SAMPLE_RATE_HZ for _, pcm in made)
    assert len({name for name, _ in made}) == len(made)


def _noise(rng: np.random.Generator, seconds: int) -> conditions.Pcm:
    return (rng.standard_normal(seconds * SAMPLE_RATE_HZ) * 1000).astype(np.int16)


def _burst_at(at_s: float, seconds: int) -> conditions.Pcm:
    """Silence with a tone of 60 ms centered at `at_s`."""
    times = np.arange(seconds * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ - at_s
    return (20000 * np.sin(2 * np.pi * 1000 * times) * (np.abs(times) < 0.03)).astype(np.int16)


def _loudest_s(pcm: conditions.Pcm) -> float:
    """The center of the loudest 60 ms."""
    width = int(0.06 * SAMPLE_RATE_HZ)
    power = np.cumsum(np.square(pcm.astype(np.float64)))
    return float(np.argmax(power[width:] - power[:-width]) + width / 2) / SAMPLE_RATE_HZ
