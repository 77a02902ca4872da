"""`airtrace model`: describes, evaluates and trains the fingerprint model. Only training needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor.commands import output
from monitor.detect.fingerprint import NETWORK_NAME, WEIGHTS, NeuralDetector, checked_network, read_card
from monitor.errors import SettingsError

if TYPE_CHECKING:
    from monitor.training.corpus import AudioFile, Split
    from monitor.training.pairs import Pairs

CALIBRATION_BATCHES = 4  # about a thousand images set the ranges of the 8-bit weights
CACHE, RUN, NEW_WEIGHTS = "cache", "run", "weights"  # in the working directory


@dataclass(frozen=True, slots=True)
class TrainingAudio:
    """Where the audio to train on is: the corpus's unpacked packages, or directories of the user's own."""

    corpus: Path | None = None
    fetch: bool = False
    music: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    size: a key of monitor.training.model.SIZES. start_from: the checkpoint a new run starts from.
    bank: how many responses of rooms and devices to make.
    """

    steps: int
    pairs: int
    seed: int
    size: str = "large"
    start_from: Path | None = None
    bank: int = 1500


async def train(
    audio: TrainingAudio, folder: Path, plan: Plan, *, threads: int, minutes: float | None, int8: bool = False
) -> int:
    """Builds the cache in `folder`, starts or resumes training there, and writes the weights to `folder/weights`.

    int8: quantizes convolutions to 8 bits, which makes the weights a third of the size and three times as fast. A
    change of the level then moves vectors by 2e-3.

    Raises:
        SettingsError: the extra `train` is not installed, or there is no audio to train on.
    """
    _need_torch()
    from monitor.training import cache
    from monitor.training import pairs as drawing
    from monitor.training.export import export
    from monitor.training.model import SIZES
    from monitor.training.train import Recipe
    from monitor.training.train import train as run

    files = await _files(audio, "train")
    kept = cache.build(folder / CACHE, files, seed=plan.seed)
    recipe = Recipe(plan.steps, plan.pairs, plan.seed, bank=plan.bank, shape=SIZES[plan.size])
    if plan.start_from is not None:  # trained weights need no easy examples first
        recipe = replace(recipe, easy_share=0.0)
    drawn = drawing.Pairs(kept, bank_size=recipe.bank, seed=plan.seed)
    within_s = None if minutes is None else minutes * 60
    checkpoint = run(drawn, recipe, folder / RUN, threads=threads, within_s=within_s, start_from=plan.start_from)
    calibration = _calibration_images(drawn, recipe.pairs, plan.seed) if int8 else None
    facts = {"music_h": round(drawn.music_s / 3600, 1), "tracks": drawn.tracks, "pairs": plan.pairs, "seed": plan.seed}
    export(checkpoint, folder / NEW_WEIGHTS, facts, {}, calibration)
    if any(file.kind == "speech" for file in files):
        _fit_predictor(files, folder / NEW_WEIGHTS, plan.seed)
    made = folder / NEW_WEIGHTS
    output.print_status(f"wrote the weights to {made}; to measure them: airtrace model evaluate --weights {made}")
    return 0


async def fit_predictor(audio: TrainingAudio, weights: Path, seed: int) -> int:
    """Refits the similarity predictor of existing weights and stores it next to them."""
    _need_torch()
    files = await _files(audio, "train")
    _fit_predictor(files, weights, seed)
    output.print_status(f"refitted the similarity predictor of the weights in {weights}")
    return 0


def _fit_predictor(files: Sequence[AudioFile], weights: Path, seed: int) -> None:
    from monitor.training import expected_similarity

    vectors, cosines = expected_similarity.examples(files, NeuralDetector(weights).embed, seed)
    expected_similarity.write(weights, expected_similarity.fit(vectors, cosines, seed))


def _calibration_images(drawn: Pairs, pairs: int, seed: int) -> NDArray[np.float32]:
    """Log-mel images of both views, float32 of shape (n_images, ...), which set the ranges of the 8-bit weights."""
    from monitor.training.pairs import AugmentationStrength

    rng = np.random.default_rng(seed)
    seen = [drawn.batch(pairs, AugmentationStrength(cut_out=0), rng) for _ in range(CALIBRATION_BATCHES)]
    return np.concatenate([images for batch in seen for images in (batch.catalog, batch.heard)])


async def evaluate(
    corpus: Path,
    split: Split,
    *,
    weights: Path | None,
    distractors: Sequence[Path],
    queries: int,
    seed: int,
    only: str,
    with_baseline: bool,
    as_json: bool,
) -> int:
    """Prints the retrieval scores of the weights, and of the baseline on the same queries.

    distractors: training caches whose music is added to the catalog.
    """
    from monitor.detect.logmel import LogMelDetector
    from monitor.training import cache
    from monitor.training import corpus as splits
    from monitor.training import evaluate as bench

    files = splits.of_split(split, corpus)
    detectors: dict[str, bench.Embed] = {"fingerprint": NeuralDetector(weights or WEIGHTS).embed}
    if with_baseline:
        detectors["logmel"] = LogMelDetector().embed
    tracks = bench.load_tracks(files)
    sounds, clips = bench.sounds_of(files, seed)
    references = {"music": tracks, "voice": bench.voice_tracks(clips, tracks, seed)}
    further = (track for folder in distractors for track in bench.cached_tracks(cache.load(folder)))
    rows = bench.run(detectors, references, further, sounds, n_queries=queries, seed=seed, only=only)
    if as_json:
        output.as_json(bench.as_json(rows))
    else:
        print(bench.as_text(rows))
    return 0


async def info(*, as_json: bool, weights: Path = WEIGHTS) -> int:
    """Describes the installed weights.

    Raises:
        SettingsError: the weights are missing, or differ from their description.
    """
    card = read_card(weights)
    network = checked_network(weights, card)
    facts: dict[str, Any] = {
        "version": card.version,
        "file": str(weights / NETWORK_NAME),
        "bytes": len(network),
        "sha256": card.sha256,
        "dimensions": card.dimensions,
        "training": card.training,
        "scores": card.scores,
    }
    if as_json:
        output.as_json(facts)
    else:
        rows = [(name, value) for name, value in facts.items() if not isinstance(value, dict)]
        rows += [
            (f"{group}: {name}", value) for group in ("training", "scores") for name, value in facts[group].items()
        ]
        output.table(("fact", "value"), rows, "these weights have no description")
    return 0


async def _files(audio: TrainingAudio, split: Split) -> list[AudioFile]:
    from monitor.training import corpus

    if audio.music:
        return corpus.of_folders(audio.music, audio.speech, audio.noise)
    if audio.corpus is None:
        raise SettingsError("no audio to train on: give --corpus DIR, or --music DIR with --speech and --noise")
    if audio.fetch:
        from monitor.training.fetch import fetch

        await fetch(corpus.packages(split), audio.corpus)
    return corpus.of_split(split, audio.corpus)


def _need_torch() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise SettingsError(f"training needs {', '.join(missing)}: pip install 'airtrace[train]'")
