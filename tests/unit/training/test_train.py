"""The training loop on a small cache: schedules, resuming, and starting from other weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")

from monitor.detect.spectrum import BANDS, SPECTRA  # noqa: E402
from monitor.training.errors import TrainingError  # noqa: E402
from monitor.training.model import Encoder, Shape  # noqa: E402
from monitor.training.pairs import Pairs  # noqa: E402
from monitor.training.train import Recipe, averaged, rate, strength_at, train  # noqa: E402

SMALL = Shape(widths=(8, 16, 16, 64), blocks=(0, 0, 0), hidden=4)


def _recipe(steps: int) -> Recipe:
    return Recipe(steps=steps, pairs=8, warm_up=3, bank=4, shape=SMALL)


def test_the_learning_rate_rises_and_then_falls_to_zero() -> None:
    recipe = _recipe(100)
    assert rate(0, 0.0, recipe) < rate(2, 0.02, recipe)
    assert rate(50, 0.5, recipe) == pytest.approx(recipe.learning_rate / 2)
    assert rate(100, 1.0, recipe) == pytest.approx(0, abs=1e-12)


def test_voices_get_louder_during_a_run() -> None:
    recipe = _recipe(100)
    assert strength_at(0.0, recipe).snr_db[0] > strength_at(0.2, recipe).snr_db[0]
    assert strength_at(1.0, recipe) == recipe.strength


def test_an_interrupted_run_ends_with_the_same_weights(pairs: Pairs, tmp_path: Path) -> None:
    whole = train(pairs, _recipe(6), tmp_path / "whole", threads=1)
    recipe = _recipe(6)
    interrupted = tmp_path / "interrupted"
    path = train(pairs, recipe, interrupted, threads=1, stop_at=3)
    assert averaged(path)[1] == 3
    assert averaged(train(pairs, recipe, interrupted, threads=1))[1] == 6
    first, second = (averaged(p)[0].state_dict() for p in (whole, path))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)
    progress = [json.loads(line) for line in (interrupted / "progress.jsonl").read_text().splitlines()]
    assert progress[-1]["step"] == 6
    assert np.isfinite(progress[-1]["loss"])


def test_a_checkpoint_of_another_network_is_rejected(pairs: Pairs, tmp_path: Path) -> None:
    train(pairs, _recipe(1), tmp_path, threads=1)
    with pytest.raises(TrainingError, match="another network"):
        train(pairs, Recipe(steps=2, pairs=8, bank=4, shape=Shape((8, 16, 32, 64), (0, 0, 0))), tmp_path, threads=1)


def test_a_larger_network_can_start_from_a_smaller_one(pairs: Pairs, tmp_path: Path) -> None:
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
    with pytest.raises(TrainingError, match="another shape"):
        train(pairs, wider, tmp_path / "wider", threads=1, start_from=small)
