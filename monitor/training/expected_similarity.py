"""Fits the similarity predictor of given weights, on the vectors of music with and without sounds mixed over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.expected_similarity import PREDICTOR_NAME, SimilarityPredictor
from monitor.detect.fingerprint import read_card, write_card
from monitor.training import cache
from monitor.training.corpus import AudioFile
from monitor.training.distortions import conditions
from monitor.training.distortions.conditions import Pcm, Sounds
from monitor.training.errors import TrainingError
from monitor.training.evaluate import Embed, sounds_of

log = structlog.get_logger(__name__)
Floats = NDArray[np.float32]

MUSIC_H, TRACK_S, PIECE_S = 5.5, 150, 15  # in total; at most per track; per piece, which has one mixing ratio
COVERED_SHARE = 0.75  # of the pieces
EFFECTS_SHARE, NOISE_SHARE = 0.1, 0.2  # of the covered pieces: under effects; under noise, half of them in a room
MUSIC_DB = (-18.0, 9.0)  # relative to the sound over it
HISS_DB = (-6.0, 15.0)
HIDDEN = (64, 32)
DROPOUT = 0.2  # keeps the network from learning the peculiarities of the corpus's few voices
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 12, 512, 2e-3, 1e-2
LOG_PIECES = 200


def examples(files: Sequence[AudioFile], embed: Embed, seed: int) -> tuple[Floats, Floats]:
    """Makes training examples from music, speech and noise files.

    Returns:
        Vectors of the covered music, float32 (n, dimensions), and their cosines with the vectors of the same segments
        of the music alone, float32 (n,).

    Raises:
        TrainingError: the files have no music, or no speech to mix over it.
    """
    rng = np.random.default_rng(seed)
    sounds, _ = sounds_of(files, seed)
    if not len(sounds.speech):
        raise TrainingError("the similarity predictor needs music, and speech to mix over it: pass folders with both")
    vectors, cosines = [], []
    for i, piece in enumerate(_pieces(files, rng)):
        alone, heard = embed(piece), embed(_covered(piece, sounds, rng))
        both = alone.audible & heard.audible
        vectors.append(heard.vectors[both])
        cosines.append(np.einsum("ij,ij->i", alone.vectors[both], heard.vectors[both]))
        if i % LOG_PIECES == 0:
            log.info("predictor.embedded", pieces=i)
    if not vectors:
        raise TrainingError("the similarity predictor needs music, and speech to mix over it: pass folders with both")
    return np.concatenate(vectors), np.concatenate(cosines)


def _pieces(files: Sequence[AudioFile], rng: np.random.Generator) -> Iterator[Pcm]:
    music = [file for file in files if file.kind == "music"]
    left = MUSIC_H * 3600 * SAMPLE_RATE_HZ
    for i in rng.permutation(len(music)):
        pcm = cache.decode(music[i], TRACK_S)
        for start in range(0, len(pcm), PIECE_S * SAMPLE_RATE_HZ):
            yield pcm[start : start + PIECE_S * SAMPLE_RATE_HZ]
        left -= len(pcm)
        if left <= 0:
            return


def _covered(piece: Pcm, sounds: Sounds, rng: np.random.Generator) -> Pcm:
    """Returns the music as it is, or with a voice, effects or noise over it."""
    if rng.random() >= COVERED_SHARE:
        return piece
    sound, kind = conditions.to_sound(piece), rng.random()
    if kind < NOISE_SHARE / 2:
        return conditions.to_pcm(conditions.noise_and_room(sound, sounds, rng))
    if kind < NOISE_SHARE:
        hiss = rng.standard_normal(len(sound), np.float32)
        return conditions.to_pcm(conditions.over(sound, hiss, rng.uniform(*HISS_DB)))
    over = sounds.noise if kind < NOISE_SHARE + EFFECTS_SHARE else sounds.speech
    apply = conditions.speech_over(rng.uniform(*MUSIC_DB))
    return conditions.to_pcm(apply(sound, Sounds(over, over), rng))


def fit(vectors: Floats, cosines: Floats, seed: int) -> SimilarityPredictor:
    """Trains a small network to predict `cosines`, float32 (n,), from `vectors`, float32 (n, dimensions)."""
    torch.manual_seed(seed)
    sizes = (vectors.shape[1], *HIDDEN)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, HIDDEN, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(DROPOUT if inputs == sizes[0] else 0.0)]
    network = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 1))
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    given, wanted = torch.from_numpy(vectors), torch.from_numpy(cosines)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(given)).split(BATCH):
            loss = (network(given[batch])[:, 0] - wanted[batch]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    predictor = SimilarityPredictor(tuple((one.weight.detach().numpy(), one.bias.detach().numpy()) for one in linear))
    correlation = float(np.corrcoef(predictor(vectors), cosines)[0, 1])
    log.info("predictor.fitted", segments=len(vectors), correlation=round(correlation, 3))
    return predictor


def write(folder: Path, predictor: SimilarityPredictor) -> None:
    """Writes the predictor into the folder of the weights, and its checksum into their model.json.

    Raises:
        SettingsError: the folder has no valid model.json.
    """
    card, data = read_card(folder), predictor.to_bytes()
    (folder / PREDICTOR_NAME).write_bytes(data)
    write_card(folder, replace(card, similarity_predictor=hashlib.sha256(data).hexdigest()))
