"""The fingerprint: Airtrace's own small network, trained for broadcasts (`monitor/training`), run by onnxruntime.

weights/ holds the weights and model.json, which describes them. Weights whose checksum differs from model.json are
rejected, because vectors of different weights look alike and never match.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.likelihood import LlrCurve
from monitor.core.segments import HOP_SAMPLES, count_segments
from monitor.core.thresholds import Thresholds
from monitor.detect import expected_similarity, spectrum
from monitor.detect.detector import DetectorInfo, Embeddings
from monitor.errors import SettingsError

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"
CARD_NAME, NETWORK_NAME = "model.json", "fingerprint.onnx"
CHECKSUM_DIGITS = 12
BLOCK_SEGMENTS = 128  # per call of the network: 2 MB of images and its activations stay in the core's cache
THREADS = 1  # one core embeds hundreds of streams


@dataclass(frozen=True, slots=True)
class Card:
    """The content of model.json, which describes the weights.

    version: of the training recipe and the front end.
    sha256: of the network's file.
    training, scores: information for people.
    similarity_predictor: sha256 of the predictor's file; empty if there is none.
    """

    version: str
    sha256: str
    dimensions: int
    training: dict[str, Any]
    scores: dict[str, Any]
    similarity_predictor: str = ""


class NeuralDetector:
    """The neural fingerprint. A vector depends only on the weights and its segment's samples, not on level or DC."""

    # Fitted on the `tune` split, as CARD.md explains: cosines along true alignments, over all of the benchmark's
    # conditions down to music 18 dB below speech. The first curve compares them with random alignments, the second one
    # with alignments that music outside the catalog proposes. Both curves are flatter than the measured likelihoods,
    # because neighboring segments share sound.
    thresholds = Thresholds(
        LlrCurve(
            (0.0, 0.1, 0.2, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 1.0),
            (-1.0, -1.0, -0.4, 0.0, 0.8, 1.5, 2.0, 2.6, 3.3, 4.0, 4.2),
        ),
        LlrCurve(
            (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
            (-1.0, -0.8, -0.6, -0.35, 0.0, 0.4, 1.1, 2.2, 3.3, 4.8, 5.0),
        ),
        contrast_curve=LlrCurve(
            (-0.15, 0.0, 0.1, 0.18, 0.25, 0.3, 0.35, 0.4, 0.5), (-2.5, -1.75, -0.7, 0.0, 0.8, 1.4, 2.1, 2.75, 4.0)
        ),
        faint_curve=LlrCurve(
            (-0.15, -0.05, 0.025, 0.075, 0.125, 0.175, 0.225, 0.275, 0.325, 0.4, 0.5, 0.6),
            (-0.55, -0.45, -0.24, -0.1, 0.13, 0.36, 0.55, 0.75, 0.95, 1.2, 1.55, 1.8),
        ),
        deficit_cost=6.0,
        open_llr=16.0,
    )

    def __init__(self, weights: Path = WEIGHTS, threads: int = THREADS) -> None:
        """Loads the network.

        Raises:
            SettingsError: the folder has no weights, or other weights than its model.json describes.
        """
        import onnxruntime  # takes 0.1 s, which commands that embed nothing should not pay

        card = read_card(weights)
        network = checked_network(weights, card)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._similarity_predictor = (
            expected_similarity.read(weights, card.similarity_predictor) if card.similarity_predictor else None
        )
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.info = DetectorInfo("fingerprint", card.version, card.sha256[:CHECKSUM_DIGITS], card.dimensions)

    def embed(self, pcm: NDArray[np.int16]) -> Embeddings:
        """Embeds every whole segment of 32 kHz mono PCM, int16 (n_samples,)."""
        n_segments = count_segments(len(pcm))
        if n_segments == 0:
            return Embeddings(np.empty((0, self.info.dimensions), np.float32), np.empty(0, np.bool_))
        audible = spectrum.audible(pcm)
        parts = [
            self._vectors(spectrum.images(pcm[first * HOP_SAMPLES : (first + BLOCK_SEGMENTS + 1) * HOP_SAMPLES]))
            for first in range(0, n_segments, BLOCK_SEGMENTS)
        ]
        vectors = np.concatenate(parts)
        vectors[~audible] = 0
        return Embeddings(vectors, audible, self._similarity_predictor(vectors) if self._similarity_predictor else None)

    def _vectors(self, images: Floats) -> Floats:
        vectors: Floats = self._session.run(None, {"images": images})[0]
        return vectors


def read_card(weights: Path = WEIGHTS) -> Card:
    """Reads the description of the weights in a folder.

    Raises:
        SettingsError: there is no valid model.json.
    """
    try:
        return Card(**json.loads((weights / CARD_NAME).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"the fingerprint's weights in {weights} cannot be used ({error}): install airtrace again, or train new "
            "ones with `airtrace model train`"
        ) from error


def write_card(weights: Path, card: Card) -> None:
    """Writes model.json into the folder of the weights."""
    (weights / CARD_NAME).write_text(json.dumps(asdict(card), indent=2) + "\n")


def checked_network(weights: Path, card: Card) -> bytes:
    """Reads the network's file and verifies its checksum.

    Raises:
        SettingsError: the file cannot be read, or is not the one that the card describes.
    """
    path = weights / NETWORK_NAME
    try:
        network = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): install airtrace again") from error
    found = hashlib.sha256(network).hexdigest()
    if found != card.sha256:
        raise SettingsError(
            f"{path} is not the network that {CARD_NAME} describes (sha256 {found[:CHECKSUM_DIGITS]}.., not "
            f"{card.sha256[:CHECKSUM_DIGITS]}..), so its vectors would match nothing: install airtrace again"
        )
    return network
