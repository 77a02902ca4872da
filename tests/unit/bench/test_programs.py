"""The truth of programs is correct: plays are at their places and levels, and unregistered music is not in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.training import corpus
from monitor.training.cache import decode
from monitor.training.corpus import AudioFile
from monitor.training.distortions.conditions import Floats, at_speed, to_sound
from monitor.training.errors import TrainingError
from tests.bench import items, programs
from tests.bench.items import BANDS_DB, DEGRADATIONS, Item, PlayedInterval, Studio
from tests.bench.sources import NOTHING, Catalog, ClipStream, Deck, Reference, split_catalog

TRACK_S = 40
REACH = SAMPLE_RATE_HZ // 10  # how far to search for a track around its place
WAVES_CHANGED = ("pitch", "tempo")  # waveforms differ, so envelopes are compared
FRAME = SAMPLE_RATE_HZ // 1000


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Twelve different tracks of noise bursts, of which the last four are not registered."""
    folder = tmp_path_factory.mktemp("tracks")
    references = tuple(_reference(folder, i) for i in range(12))
    return Catalog(references[:8], references[8:], ())


@pytest.fixture
def studio(catalog: Catalog, tmp_path: Path) -> Studio:
    return _studio(catalog, tmp_path, seed=1)


def _studio(catalog: Catalog, folder: Path, seed: int) -> Studio:
    rng = np.random.default_rng(seed)
    clips = [_file(folder / f"clip{i}.wav", _bursts(100 + i, 3), "speech") for i in range(4)]
    return Studio(catalog, ClipStream(clips, rng), ClipStream(clips[:2], rng), rng)


def _reference(folder: Path, i: int) -> Reference:
    file = _file(folder / f"track{i}.wav", _bursts(i, TRACK_S), "music")
    return Reference(f"track{i}.flac", f"track{i}", file)


def _file(path: Path, sound: Floats, kind: corpus.Kind) -> AudioFile:
    soundfile.write(path, sound, SAMPLE_RATE_HZ, "PCM_16")
    return AudioFile(kind, path, path.stem)


def _bursts(seed: int, seconds: int) -> Floats:
    """Noise whose level changes every few tenths of a second."""
    rng = np.random.default_rng(seed)
    n = seconds * SAMPLE_RATE_HZ
    gains = np.repeat(rng.uniform(0.02, 0.3, seconds * 8), rng.integers(2000, 6000, seconds * 8))
    return (np.resize(gains, n) * rng.standard_normal(n)).astype(np.float32)


def _lag(heard: Floats, expected: Floats, reach: int) -> int:
    """The delay of `heard` in samples, by cross-correlation."""
    n = 1 << (len(heard) + 2 * reach).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(expected, n)), n)
    return int(np.concatenate([both[-reach:], both[: reach + 1]]).argmax()) - reach


def _envelope(sound: Floats) -> Floats:
    """The level of every millisecond, without its mean."""
    power = np.square(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
    loudness = np.convolve(np.sqrt(power), np.ones(10) / 10, "same")
    return (loudness - loudness.mean()).astype(np.float32)


def _track(catalog: Catalog, heard: PlayedInterval, n: int) -> Floats:
    """The first `n` samples of what is played according to the truth, at its speed."""
    (reference,) = [known for known in catalog.known if known.name == heard.track]
    start = heard.track_start
    assert start == int(start)
    sound = to_sound(decode(reference.file)[int(start) : int(start) + round(n * heard.rate) + REACH])
    return at_speed(heard.rate)(sound, NOTHING, np.random.default_rng())[:n]


def _late_samples(catalog: Catalog, item: Item, heard: PlayedInterval) -> float:
    n = heard.end - heard.start
    sound, expected = item.sound[heard.start : heard.end], _track(catalog, heard, n)
    if heard.kind in WAVES_CHANGED:
        return FRAME * _lag(_envelope(sound), _envelope(expected), REACH // FRAME)
    return _lag(sound, expected, REACH)


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_degraded_music_is_where_the_truth_says(catalog: Catalog, studio: Studio, name: str) -> None:
    studio.degraded = Deck([name], studio.rng)
    item = items.degraded(studio, studio.known)
    (heard,) = item.heard
    assert heard.kind == name.split()[0]
    # Stretching moves bursts by some milliseconds; the delay of MP3 is known to a sample; all others are exact.
    allowed = 5 * FRAME if heard.kind in WAVES_CHANGED else 2 if heard.kind in ("codec", "harsh") else 0
    assert abs(_late_samples(catalog, item, heard)) <= allowed
    assert heard.rate == pytest.approx(
        items.conditions.HARSH_RATE if name == "harsh" else items.BY_NAME.get(name, CLEAN).rate
    )


CLEAN = items.BY_NAME["clean"]


@pytest.mark.parametrize("snr_db", [None, -4.0])
@pytest.mark.parametrize("make", [items.excerpt, items.whole, items.jingle, items.medley, items.twice, items.jump])
def test_every_part_of_an_item_is_where_the_truth_says(
    catalog: Catalog, studio: Studio, make: items.Make, snr_db: float | None
) -> None:
    item = make(studio, studio.known, snr_db)
    assert [_late_samples(catalog, item, heard) for heard in item.heard] == [0.0] * len(item.heard)
    assert all(heard.snr_db == snr_db for heard in item.heard)


def test_a_crossfade_overlaps_and_counts_where_it_is_audible(catalog: Catalog, studio: Studio) -> None:
    item = items.crossfade(studio, studio.known, None)
    assert [_late_samples(catalog, item, heard) for heard in item.heard] == [0.0] * items.CHAIN
    for before, after in zip(item.heard, item.heard[1:], strict=False):
        assert 1 < (before.end - after.start) / SAMPLE_RATE_HZ < items.FADE_S[1]
    assert item.heard[0].start == 0
    assert item.heard[-1].end == len(item.sound)


def test_the_same_stretch_twice_is_two_adjacent_plays(studio: Studio) -> None:
    first, second = items.twice(studio, studio.known, None).heard
    assert (first.track, first.track_start) == (second.track, second.track_start)
    assert first.end == second.start


def test_a_jump_stays_in_its_track_and_is_long_enough(catalog: Catalog, studio: Studio) -> None:
    for _ in range(10):
        first, second = items.jump(studio, studio.known, None).heard
        assert first.track == second.track
        goes_on = first.track_start + first.end - first.start
        assert abs(second.track_start - goes_on) >= items.MIN_JUMP_S * SAMPLE_RATE_HZ


def test_simultaneous_tracks_have_the_levels_in_the_truth(catalog: Catalog, studio: Studio) -> None:
    item = items.both(studio, studio.known)
    one, other = item.heard
    assert one.snr_db is not None
    assert one.snr_db == -other.snr_db >= 0  # type: ignore[operator]
    assert _heard_db(catalog, item, one) == pytest.approx(one.snr_db, abs=0.3)


@pytest.mark.parametrize("band", BANDS_DB)
def test_music_has_the_requested_level_below_the_voice(
    catalog: Catalog, studio: Studio, band: tuple[float, float]
) -> None:
    asked_db = float(np.mean(band))
    item = items.excerpt(studio, studio.known, asked_db)
    assert item.heard[0].kind == "speech"
    assert _heard_db(catalog, item, item.heard[0]) == pytest.approx(asked_db, abs=0.5)


def test_music_under_effects_is_a_kind_of_its_own(catalog: Catalog, studio: Studio) -> None:
    item = items.excerpt(studio, studio.known, -3.0, studio.effects)
    assert item.heard[0].kind == "effects"
    assert _heard_db(catalog, item, item.heard[0]) == pytest.approx(-3, abs=0.5)


def _heard_db(catalog: Catalog, item: Item, heard: PlayedInterval) -> float:
    """The level of the track in the sound relative to the rest of it, in dB."""
    sound = item.sound[heard.start : heard.end].astype(np.float64)
    track = _track(catalog, heard, heard.end - heard.start).astype(np.float64)
    share = track * (sound @ track) / (track @ track)
    return 10 * float(np.log10(np.mean(share**2) / np.mean((sound - share) ** 2)))


def test_unknown_music_has_no_truth(studio: Studio) -> None:
    assert items.excerpt(studio, studio.unknown, None).heard == ()
    assert items.medley(studio, studio.unknown, -3.0).heard == ()


# Programs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `tune` split with short synthetic sounds instead of some of its files."""
    folder = tmp_path_factory.mktemp("corpus")
    for i, row in enumerate(row for row in corpus._table("music.tsv") if row["package"] == "flare-game"):
        path = folder / "flare-game" / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        _file(path.with_suffix(".wav"), _bursts(i, 60), "music")
        path.with_suffix(".wav").rename(path)
    for package, kind in (("asterisk-prompt-it-menardi-wav", "speech"), ("supertux-data", "noise")):
        (folder / package).mkdir()
        for i in range(6):
            _file(folder / package / f"{i}.wav", _bursts(200 + i, 3), kind)  # type: ignore[arg-type]
    return folder


def test_a_program_is_full_and_its_truth_is_correct(root: Path) -> None:
    catalog = split_catalog("tune", 3, [root])
    (program,) = programs.programs(catalog, "tune", [root], 0.1, seed=3)
    assert len(program.pcm) == 360 * SAMPLE_RATE_HZ
    assert program.plays
    for play in program.plays:
        assert 0 <= play.start_s < play.end_s <= 360
        assert play.track_end_s - play.track_start_s == pytest.approx((play.end_s - play.start_s) * play.speed)
        start, end = (round(s * SAMPLE_RATE_HZ) for s in (play.start_s, play.end_s))
        heard = PlayedInterval(
            play.track, start, end, play.track_start_s * SAMPLE_RATE_HZ, play.speed, play.snr_db, play.kind
        )
        if play.kind not in WAVES_CHANGED:
            assert abs(_late_samples(catalog, Item(to_sound(program.pcm)), heard)) <= 2


def test_a_program_depends_on_its_seed(root: Path) -> None:
    catalog = split_catalog("tune", 3, [root])
    first, again, other = (next(programs.programs(catalog, "tune", [root], 0.02, seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.pcm, again.pcm)
    assert first.plays == again.plays
    assert not np.array_equal(first.pcm, other.pcm)


def test_recordings_of_unregistered_audio_have_sound_and_no_truth(root: Path) -> None:
    catalog = split_catalog("tune", 3, [root])
    made = list(programs.unknown_programs(catalog, "tune", [root], 0.05, seed=3))
    assert [(len(one.pcm), one.plays) for one in made] == [(180 * SAMPLE_RATE_HZ, ())]
    assert made[0].pcm.std() > 100


def test_all_music_may_be_unregistered(root: Path) -> None:
    catalog = split_catalog("tune", 3, [root], unknown_share=1.0)
    assert (len(catalog.known), len(catalog.unknown)) == (0, 12)
    assert next(programs.programs(catalog, "tune", [root], 0.01, seed=3)).plays == ()


def test_written_recordings_have_the_same_samples(root: Path, tmp_path: Path) -> None:
    catalog = split_catalog("tune", 3, [root])
    for suffix in (".flac", ".wav"):
        (program,) = programs.programs(catalog, "tune", [root], 0.01, seed=3, suffix=suffix)
        assert programs.write(tmp_path, [program]) == list(program.plays)
        pcm, rate_hz = soundfile.read(tmp_path / program.recording, dtype="int16")
        assert rate_hz == SAMPLE_RATE_HZ
        assert np.array_equal(pcm, program.pcm)


# The catalog


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every music file of the corpus as an empty file, because only the names count."""
    folder = tmp_path_factory.mktemp("listed")
    for row in corpus._table("music.tsv"):
        path = folder / row["package"] / row["path"].split("!/")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize("seed", range(5))
def test_no_version_of_an_unregistered_track_is_in_the_catalog(listed: Path, seed: int) -> None:
    for split in ("test", "tune"):
        catalog = split_catalog(split, seed, [listed])  # type: ignore[arg-type]
        registered = {reference.group for reference in (*catalog.known, *catalog.distractors)}
        assert catalog.unknown
        assert registered.isdisjoint(reference.group for reference in catalog.unknown)


def test_versions_are_left_out_together(listed: Path) -> None:
    everything = Counter(reference.group for reference in split_catalog("tune", 0, [listed], 0.0).known)
    left_out = Counter(
        reference.group for seed in range(5) for reference in split_catalog("tune", seed, [listed]).unknown
    )
    twins = [group for group, n in everything.items() if n > 1 and left_out[group]]
    assert twins
    assert all(left_out[group] % everything[group] == 0 for group in twins)


def test_file_names_in_a_catalog_are_unique(listed: Path) -> None:
    catalog = split_catalog("test", 0, [listed])
    names = [reference.name for reference in (*catalog.known, *catalog.unknown, *catalog.distractors)]
    assert len(names) == len(set(names)) > 700
    assert not any("/" in name or "," in name for name in names)


def test_distractors_come_from_other_splits(listed: Path) -> None:
    splits = {
        split: {reference.name for reference in split_catalog(split, 0, [listed], 0.0).known}
        for split in ("test", "tune", "train")
    }
    assert {reference.name for reference in split_catalog("tune", 0, [listed]).distractors} == splits["train"]
    assert {reference.name for reference in split_catalog("test", 0, [listed]).distractors} == (
        splits["train"] | splits["tune"]
    )


def test_a_missing_split_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="pass other folders"):
        split_catalog("tune", 0, [tmp_path])


def test_missing_speech_is_an_error_before_the_work(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no clips of speech"):
        next(programs.programs(replace(catalog), "tune", [tmp_path], 1.0, seed=1))
