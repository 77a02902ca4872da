"""`airtrace model`: train, evaluate and describe the fingerprint. Only training needs torch."""

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

CALIBRATION_BATCHES = 4  # some thousand images tell the ranges of 8 bit
CACHE, RUN, NEW_WEIGHTS = "cache", "run", "weights"  # within the working folder


@dataclass(frozen=True, slots=True)
class Sound:
    """Where a training set's sound is: the corpus's unpacked packages, or folders of one's own."""

    corpus: Path | None = None
    fetch: bool = False
    music: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. size: one of monitor.training.model.SIZES; start_from: a checkpoint that a new run begins with."""

    steps: int
    pairs: int
    seed: int
    size: str = "large"
    start_from: Path | None = None


async def train(
    sound: Sound,
    folder: Path,
    plan: Plan,
    *,
    threads: int,
    minutes: float | None,
    int8: bool = False,
) -> int:
    """Makes the cache in `folder`, trains or goes on training there, and writes the weights to its `weights`.

    int8: convolutions in 8 bit: a third of the size and three times the speed; a change of level moves vectors by 2e-3.
    """
    _need_torch()
    from monitor.training import cache
    from monitor.training import pairs as drawing
    from monitor.training.export import export
    from monitor.training.model import SIZES
    from monitor.training.train import Recipe
    from monitor.training.train import train as run

    files = await _files(sound, "train")
    kept = cache.build(folder / CACHE, files, seed=plan.seed)
    recipe = Recipe(steps=plan.steps, pairs=plan.pairs, seed=plan.seed, shape=SIZES[plan.size])
    if plan.start_from is not None:  # it has no beginner's troubles
        recipe = replace(recipe, easy_share=0.0)
    drawn = drawing.Pairs(kept, bank_size=recipe.bank, seed=plan.seed)
    within_s = None if minutes is None else minutes * 60
    checkpoint = run(drawn, recipe, folder / RUN, threads=threads, within_s=within_s, start_from=plan.start_from)
    calibration = _heard(drawn, recipe.pairs, plan.seed) if int8 else None
    facts = {"music_h": round(drawn.music_s / 3600, 1), "tracks": drawn.tracks, "pairs": plan.pairs, "seed": plan.seed}
    export(checkpoint, folder / NEW_WEIGHTS, facts, {}, calibration)
    if any(file.kind == "speech" for file in files):
        _foresee(files, folder / NEW_WEIGHTS, plan.seed)
    output.print_status(
        f"weights in {folder / NEW_WEIGHTS}; measure them with: airtrace model evaluate --weights that folder"
    )
    return 0


async def fit_predictor(sound: Sound, weights: Path, seed: int) -> int:
    """Fits the foresight of weights that are there, and puts it beside them."""
    _need_torch()
    files = await _files(sound, "train")
    _foresee(files, weights, seed)
    output.print_status(f"foresight of the weights in {weights} is made anew")
    return 0


def _foresee(files: Sequence[AudioFile], weights: Path, seed: int) -> None:
    from monitor.training import expected_similarity

    vectors, cosines = expected_similarity.examples(files, NeuralDetector(weights).embed, seed)
    expected_similarity.write(weights, expected_similarity.fit(vectors, cosines, seed))


def _heard(drawn: Pairs, pairs: int, seed: int) -> NDArray[np.float32]:
    """Images of both views, by which the ranges of 8 bit are set."""
    from monitor.training.pairs import Strength

    rng = np.random.default_rng(seed)
    seen = [drawn.batch(pairs, Strength(cut_out=0), rng) for _ in range(CALIBRATION_BATCHES)]
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
    """Prints the retrieval table of the weights, and of the baseline on the same queries.

    distractors: caches whose music is put into the catalog too.
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
    """Says what the installed weights are; an error if they are not what their description says."""
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
        output.table(("fact", "value"), rows, "nothing is known of these weights")
    return 0


async def _files(sound: Sound, split: Split) -> list[AudioFile]:
    from monitor.training import corpus

    if sound.music:
        return corpus.of_folders(sound.music, sound.speech, sound.noise)
    if sound.corpus is None:
        raise SettingsError("there is nothing to train on: use --corpus DIR, or --music DIR (and --speech, --noise)")
    if sound.fetch:
        from monitor.training.fetch import fetch

        await fetch(corpus.packages(split), sound.corpus)
    return corpus.of_split(split, sound.corpus)


def _need_torch() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise SettingsError(f"training needs {', '.join(missing)}: pip install 'airtrace[train]'")
