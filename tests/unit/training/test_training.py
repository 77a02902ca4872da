"""The training loop on a tiny cache: it learns, it goes on where it was cut, and what it exports is what it trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")
pytest.importorskip("onnxscript")

from monitor.detect.fingerprint import NeuralDetector  # noqa: E402
from monitor.detect.spectrum import BANDS, RATE_HZ, SPECTRA  # noqa: E402
from monitor.training import cache  # noqa: E402
from monitor.training.errors import TrainingError  # noqa: E402
from monitor.training.export import export  # noqa: E402
from monitor.training.loss import nt_xent  # noqa: E402
from monitor.training.model import Encoder, Shape  # noqa: E402
from monitor.training.pairs import Pairs, Strength  # noqa: E402
from monitor.training.train import Recipe, averaged, rate, strength_at, train  # noqa: E402

SMALL = Shape(widths=(8, 16, 16, 64), blocks=(0, 0, 0), hidden=4)
TRACKS = 12


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    chance = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("cache")
    with cache.Writer(folder) as writer:
        for kind, n, seconds in (("music", TRACKS, 6), ("speech", 3, 30), ("noise", 3, 30)):
            for i in range(n):
                notes = np.repeat(chance.uniform(300, 3000, seconds * 5), RATE_HZ // 5)
                sound = 8000 * np.sin(2 * np.pi * np.cumsum(notes) / RATE_HZ) + chance.normal(0, 50, len(notes))
                writer.add(sound.astype(np.int16), kind=kind, name=f"{kind} {i}", track=f"{kind} {i}")
    return Pairs(cache.load(folder), bank_size=4, seed=1)


def _recipe(steps: int) -> Recipe:
    return Recipe(steps=steps, pairs=8, warm_up=3, bank=4, shape=SMALL)


def test_a_batch_is_of_different_tracks_and_the_same_for_the_same_seed(pairs: Pairs) -> None:
    first, second, other = (pairs.batch(10, Strength(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert len(set(first.tracks)) == 10
    assert first.catalog.shape == first.heard.shape == (10, 160, 28)
    assert np.isfinite(first.heard).all()
    assert np.array_equal(first.heard, second.heard)
    assert not np.array_equal(first.heard, other.heard)


def test_more_pairs_than_tracks_are_refused(pairs: Pairs) -> None:
    with pytest.raises(TrainingError, match="--pairs"):
        pairs.batch(TRACKS + 1, Strength(), np.random.default_rng(1))


def test_without_changes_both_views_show_the_same(pairs: Pairs) -> None:
    changes = ["copy", "speed", "voice", "noise", "underneath", "response", "hiss", "compressed", "clipped", "rounded"]
    nothing = Strength(**dict.fromkeys([*changes, "cut_out"], 0.0))
    batch = pairs.batch(TRACKS, nothing, np.random.default_rng(1))
    catalog, heard = (part.reshape(TRACKS, -1) for part in (batch.catalog, batch.heard))
    nearest = (heard @ catalog.T).argmax(axis=1)
    assert (nearest == np.arange(TRACKS)).mean() > 0.7


def test_the_loss_is_low_only_when_partners_are_nearest() -> None:
    first = torch.nn.functional.normalize(torch.randn(16, 32, generator=torch.Generator().manual_seed(1)), dim=1)
    low, all_right = nt_xent(first, first, 0.05)
    high, none_right = nt_xent(first, first.roll(1, 0), 0.05)
    assert float(low) < 0.5 < 5 < float(high)
    assert (all_right, none_right) == (1.0, 0.0)


def test_the_rate_rises_and_falls_to_zero() -> None:
    recipe = _recipe(100)
    assert rate(0, 0.0, recipe) < rate(2, 0.02, recipe)
    assert rate(50, 0.5, recipe) == pytest.approx(recipe.learning_rate / 2)
    assert rate(100, 1.0, recipe) == pytest.approx(0, abs=1e-12)


def test_voices_get_louder_over_a_run() -> None:
    recipe = _recipe(100)
    assert strength_at(0.0, recipe).snr_db[0] > strength_at(0.2, recipe).snr_db[0]
    assert strength_at(1.0, recipe) == recipe.strength


def test_a_run_that_was_cut_ends_as_one_that_was_not(pairs: Pairs, tmp_path: Path) -> None:
    whole = train(pairs, _recipe(6), tmp_path / "whole", threads=1)
    recipe = _recipe(6)
    cut = tmp_path / "cut"
    path = train(pairs, recipe, cut, threads=1, stop_at=3)
    assert averaged(path)[1] == 3
    assert averaged(train(pairs, recipe, cut, threads=1))[1] == 6
    first, second = (averaged(p)[0].state_dict() for p in (whole, path))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)
    told = [json.loads(line) for line in (cut / "progress.jsonl").read_text().splitlines()]
    assert told[-1]["step"] == 6
    assert np.isfinite(told[-1]["loss"])


def test_another_network_is_not_trained_on(pairs: Pairs, tmp_path: Path) -> None:
    train(pairs, _recipe(1), tmp_path, threads=1)
    with pytest.raises(TrainingError, match="another network"):
        train(pairs, Recipe(steps=2, pairs=8, bank=4, shape=Shape((8, 16, 32, 64), (0, 0, 0))), tmp_path, threads=1)


def test_a_larger_network_starts_as_the_smaller_one_and_goes_on_from_there(pairs: Pairs, tmp_path: Path) -> None:
    small = train(pairs, _recipe(3), tmp_path / "small", threads=1)
    shape = replace(SMALL, blocks=(1, 0, 2))
    larger = Encoder(shape)
    larger.take_over(averaged(small)[0].state_dict(), SMALL)
    images = torch.randn(4, BANDS, SPECTRA, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = (network.eval()(images) for network in (averaged(small)[0], larger))
    assert torch.allclose(before, after, atol=1e-5)
    grown = train(pairs, replace(_recipe(2), shape=shape), tmp_path / "larger", threads=1, start_from=small)
    assert averaged(grown)[0].shape == shape
    wider = replace(_recipe(1), shape=Shape((8, 16, 32, 64), (0, 0, 0)))
    with pytest.raises(TrainingError, match="other widths"):
        train(pairs, wider, tmp_path / "wider", threads=1, start_from=small)


def test_without_a_checkpoint_nothing_is_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        export(tmp_path / "checkpoint.pt", tmp_path, {}, {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # within torch's exporter
def test_exported_weights_embed_as_the_trained_ones(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = Encoder(SMALL)
    kept = {"shape": {"widths": SMALL.widths, "blocks": SMALL.blocks, "dimensions": 128, "hidden": 4}, "step": 7}
    torch.save(kept | {"model": model.state_dict(), "average": model.state_dict()}, tmp_path / "checkpoint.pt")
    card = export(tmp_path / "checkpoint.pt", tmp_path / "weights", {"tracks": 3}, {"clean": 1.0})
    assert card.training == {"tracks": 3, "steps": 7, "precision": "float32"}
    detector = NeuralDetector(tmp_path / "weights")
    assert detector.info.checksum == card.sha256[:12]
    pcm = (np.random.default_rng(1).standard_normal(64_000) * 3000).astype(np.int16)
    assert np.linalg.norm(detector.embed(pcm).vectors, axis=1) == pytest.approx(1, abs=1e-5)
