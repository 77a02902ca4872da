"""`airtrace model`: what it prints about the weights, and a complete training run on a few files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.commands import model
from monitor.commands.model import TrainingAudio
from monitor.detect.expected_similarity import PREDICTOR_NAME
from monitor.detect.fingerprint import WEIGHTS, NeuralDetector, read_card
from monitor.errors import SettingsError
from monitor.training.errors import TrainingError


async def test_info_describes_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert await model.info(as_json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sha256"] == read_card().sha256
    assert facts["bytes"] == Path(facts["file"]).stat().st_size
    assert facts["training"]["steps"] > 0


async def test_info_without_weights_names_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="airtrace model train"):
        await model.info(as_json=True, weights=tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # within torch's exporter
async def test_training_on_own_files_makes_weights_that_embed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")
    pytest.importorskip("onnxscript")
    music = tmp_path / "music"
    music.mkdir()
    for i in range(6):
        chance = np.random.default_rng(i)
        notes = np.repeat(chance.uniform(300, 3000, 40), 3200)  # 8 s at 16 kHz
        soundfile.write(music / f"{i}.wav", 0.3 * np.sin(2 * np.pi * np.cumsum(notes) / 16_000), 16_000)
    speech = tmp_path / "speech"
    speech.mkdir()
    for i in range(4):
        soundfile.write(speech / f"{i}.wav", 0.2 * np.random.default_rng(90 + i).standard_normal(48_000), 16_000)
    audio = TrainingAudio(music=(music,), speech=(speech,))
    assert (
        await model.train(audio, tmp_path / "work", model.Plan(2, 4, 1, "small", bank=8), threads=1, minutes=None) == 0
    )
    capsys.readouterr()  # what training logs meanwhile
    assert await model.info(as_json=True, weights=tmp_path / "work" / "weights") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["training"]["tracks"], facts["training"]["steps"]) == (6, 2)
    made = tmp_path / "work" / "weights"
    first = (made / PREDICTOR_NAME).read_bytes()
    expected = NeuralDetector(made).embed(np.zeros(96_000, np.int16) + 1000).expected_similarity
    assert expected is not None
    assert expected.shape == (5,)
    assert await model.fit_predictor(audio, made, seed=2) == 0
    assert (made / PREDICTOR_NAME).read_bytes() != first
    NeuralDetector(made)


async def test_the_similarity_predictor_cannot_be_fitted_without_speech(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")
    pytest.importorskip("onnxscript")
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(1).standard_normal(48_000), 16_000)
    with pytest.raises(TrainingError, match="speech"):
        await model.fit_predictor(TrainingAudio(music=(tmp_path,)), WEIGHTS, seed=1)


async def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")
    pytest.importorskip("onnxscript")
    with pytest.raises(SettingsError, match="--music"):
        await model.train(TrainingAudio(), tmp_path, model.Plan(1, 4, 1), threads=1, minutes=None)
