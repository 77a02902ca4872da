"""Predicts, from a segment's vector alone, the cosine it would have with the music's own recording.

Voices and effects over music leave their mark on the vector, whatever the music is. A small network, trained together
with the fingerprint (`monitor/training/expected_similarity.py`), estimates how much of the music's own vector is left.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SettingsError

Floats = NDArray[np.float32]
PREDICTOR_NAME = "expected_similarity.npz"


@dataclass(frozen=True, slots=True)
class SimilarityPredictor:
    """A small fully connected network with ReLU between its layers.

    layers: weight, float32 (outputs, inputs), and bias, float32 (outputs,), per layer. The last layer has one output.
    """

    layers: tuple[tuple[Floats, Floats], ...]

    def __call__(self, vectors: Floats) -> Floats:
        """Expected cosines, float32 (k,), of unit vectors, float32 (k, dimensions)."""
        values = vectors
        for i, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if i + 1 < len(self.layers):
                values = np.maximum(values, 0)
        expected: Floats = values[:, 0].astype(np.float32)
        return expected

    def to_bytes(self) -> bytes:
        """Serializes it as an .npz file."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {}
        for i, (weight, bias) in enumerate(self.layers):
            arrays |= {f"w{i}": weight, f"b{i}": bias}
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> SimilarityPredictor:
        """Deserializes the content of an .npz file.

        Raises:
            ValueError, KeyError, EOFError, BadZipFile: the data is not a serialized predictor.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            n_layers = len(file.files) // 2
            return cls(
                tuple((file[f"w{i}"].astype(np.float32), file[f"b{i}"].astype(np.float32)) for i in range(n_layers))
            )


def read(folder: Path, sha256: str) -> SimilarityPredictor:
    """Reads the predictor of the weights in a folder.

    Raises:
        SettingsError: the file is missing or damaged, or has another checksum.
    """
    path = folder / PREDICTOR_NAME
    try:
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        predictor = SimilarityPredictor.from_bytes(data)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{path} cannot be used ({error}): install airtrace again") from error
    if found != sha256:
        raise SettingsError(f"{path} does not belong to the weights in the same folder: install airtrace again")
    return predictor
