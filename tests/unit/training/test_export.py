"""The export of a checkpoint to the weights of a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")
pytest.importorskip("onnxscript")

from monitor.detect.fingerprint import NeuralDetector  # noqa: E402
from monitor.training.errors import TrainingError  # noqa: E402
from monitor.training.export import export  # noqa: E402
from monitor.training.model import Encoder, Shape  # noqa: E402

SMALL = Shape(widths=(8, 16, 16, 64), blocks=(0, 0, 0), hidden=4)


def test_without_a_checkpoint_nothing_is_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        export(tmp_path / "checkpoint.pt", tmp_path, {}, {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # within torch's exporter
def test_exported_weights_can_be_used_for_embedding(tmp_path: Path) -> None:
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
