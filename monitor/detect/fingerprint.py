"""The fingerprint: Airtrace's own small network, trained for broadcasts (`monitor/training`), run by onnxruntime.

weights/ holds the weights and model.json, which describes them. Weights whose checksum differs from model.json are
rejected, because vectors of different weights look alike and never match.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
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
        # Memory is returned after a call. It is as fast, and each thread would keep 10 to 20 MB.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        self._similarity_predictor = (
            expected_similarity.read(weights, card.similarity_predictor) if card.similarity_predictor else None
        )
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.info = DetectorInfo("fingerprint", card.version, card.sha256[:CHECKSUM_DIGITS], card.dimensions)

    def embed(self, pcm: NDArray[np.int16]) -> Embeddings:
        """Embeds every whole segment of 32 kHz mono PCM, int16 (n_samples,)."""
        n_segments = count_segments(len(pcm))
        images = (
            spectrum.images(pcm[first * HOP_SAMPLES : (first + BLOCK_SEGMENTS + 1) * HOP_SAMPLES])
            for first in range(0, n_segments, BLOCK_SEGMENTS)
        )
        parts = [self._vectors(each) for each in images]
        return self._embeddings(
            pcm, np.concatenate(parts) if parts else np.empty((0, self.info.dimensions), np.float32)
        )

    def embed_many(self, pcms: Sequence[NDArray[np.int16]]) -> list[Embeddings]:
        """See `Detector`: the network takes the segments of several recordings in one call."""
        found: list[Embeddings] = []
        for several in _blocks(pcms):
            if len(several) == 1:
                found.append(self.embed(several[0]))
                continue
            images = [spectrum.images(pcm) for pcm in several]
            bounds = np.cumsum([len(each) for each in images])[:-1]
            parts = np.split(self._vectors(np.concatenate(images)), bounds)
            found += [self._embeddings(pcm, vectors) for pcm, vectors in zip(several, parts, strict=True)]
        return found

    def _embeddings(self, pcm: NDArray[np.int16], vectors: Floats) -> Embeddings:
        """The embeddings of PCM with these vectors, float32 (k, dimensions)."""
        if len(vectors) == 0:
            return Embeddings(vectors, np.empty(0, np.bool_))
        audible = spectrum.audible(pcm)
        vectors = vectors.copy()  # a part of a larger array would keep all of it in memory
        vectors[~audible] = 0
        return Embeddings(vectors, audible, self._similarity_predictor(vectors) if self._similarity_predictor else None)

    def _vectors(self, images: Floats) -> Floats:
        """The vectors of images, float32 (k, BANDS, SPECTRA): float32 (k, dimensions)."""
        if len(images) == 0:
            return np.empty((0, self.info.dimensions), np.float32)
        vectors: Floats = self._session.run(None, {"images": images})[0]
        return vectors


def _blocks(pcms: Sequence[NDArray[np.int16]]) -> Iterator[list[NDArray[np.int16]]]:
    """Groups recordings, in order, so that none but those of a single one has more than BLOCK_SEGMENTS segments."""
    block: list[NDArray[np.int16]] = []
    n_segments = 0
    for pcm in pcms:
        n_more = count_segments(len(pcm))
        if block and n_segments + n_more > BLOCK_SEGMENTS:
            yield block
            block, n_segments = [], 0
        block.append(pcm)
        n_segments += n_more
    if block:
        yield block


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
