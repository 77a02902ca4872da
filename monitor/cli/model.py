"""`airtrace model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import CORPUS, Corpus, Fetch, Json, Music, Noise, Size, Speech, Split

model = typer.Typer(help="Describe, evaluate and train the fingerprint model.", no_args_is_help=True)


@model.command("info")
def model_info(json: Json = False) -> None:
    """Describe the installed weights: version, checksum, training and scores."""
    from monitor.commands import model as commands

    finish(commands.info(as_json=json))


@model.command("evaluate")
def model_evaluate(
    context: typer.Context,
    corpus: Annotated[Path, typer.Option(help=CORPUS)],
    split: Annotated[Split, typer.Option(help="Part of the corpus to draw queries from.")] = Split.TUNE,
    weights: Annotated[
        Path | None, typer.Option(help="Directory of the weights to evaluate, instead of the installed ones.")
    ] = None,
    distractors: Annotated[
        list[Path] | None, typer.Option(help="Training caches whose music is added to the catalog.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, max=10_000, help="Queries per condition.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed; another seed draws other queries.")] = 1,
    only: Annotated[str, typer.Option(help="Only conditions whose names contain this text.")] = "",
    baseline: Annotated[bool, typer.Option(help="Also evaluate the untrained baseline.")] = True,
    json: Json = False,
) -> None:
    """Measure how often a query finds its recording, under every condition."""
    from monitor.commands import model as commands

    load_settings(context, min_log_level="info")
    finish(
        commands.evaluate(
            corpus,
            split.value,
            weights=weights,
            distractors=distractors or (),
            queries=queries,
            seed=seed,
            only=only,
            with_baseline=baseline,
            as_json=json,
        )
    )


@model.command("train")
def model_train(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Working directory for the cache, checkpoints and weights; training resumes there.")
    ],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 12_000,
    pairs: Annotated[int, typer.Option(min=8, help="Pairs per step, each from a different recording.")] = 128,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    size: Annotated[Size, typer.Option(help="Size of the network.")] = Size.LARGE,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Start with the weights of this checkpoint, of a network with at most as many blocks."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for torch; use 1 unless the machine is idle.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=1, help="Stop after this many minutes, even before the last step.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize the weights to 8 bits: a third of the size, twice as fast.")
    ] = False,
) -> None:
    """Train new weights on the corpus or on your own music, speech and noise. Needs the extra `train`."""
    from monitor.commands import model as commands

    load_settings(context, min_log_level="info")
    audio = commands.TrainingAudio(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    plan = commands.Plan(steps, pairs, seed, size.value, start_from)
    finish(commands.train(audio, folder, plan, threads=threads, minutes=minutes, int8=int8))


@model.command("fit-predictor")
def model_fit_predictor(
    context: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Directory of the weights.")],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
) -> None:
    """Refit the predictor of how similar a track under speech or noise can still be. Needs the extra `train`."""
    from monitor.commands import model as commands

    load_settings(context, min_log_level="info")
    audio = commands.TrainingAudio(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    finish(commands.fit_predictor(audio, weights, seed))
