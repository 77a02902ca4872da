"""`airtrace model` and `airtrace models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import CORPUS, Corpus, Fetch, Json, Music, Noise, Published, Size, Speech, Split

model = typer.Typer(
    help="The fingerprint's weights: what they are, how good, and how they are made.", no_args_is_help=True
)
models = typer.Typer(help="The files of all models: which are here, and how the others come here.")


@model.command("info")
def model_info(json: Json = False) -> None:
    """Say what the installed weights are."""
    from monitor.commands import model as commands

    finish(commands.info(as_json=json))


@model.command("evaluate")
def model_evaluate(
    context: typer.Context,
    corpus: Annotated[Path, typer.Option(help=CORPUS)],
    split: Annotated[Split, typer.Option(help="Which part of the corpus is asked about.")] = Split.TUNE,
    weights: Annotated[
        Path | None, typer.Option(help="Other weights than the installed ones: their directory.")
    ] = None,
    distractors: Annotated[
        list[Path] | None, typer.Option(help="Caches of training whose music joins the catalog.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, max=10_000, help="Queries a condition.")] = 100,
    seed: Annotated[int, typer.Option(help="Another number, other queries.")] = 1,
    only: Annotated[str, typer.Option(help="Only conditions with this in their names.")] = "",
    baseline: Annotated[bool, typer.Option(help="The untrained baseline beside it.")] = True,
    json: Json = False,
) -> None:
    """Measure how often a query finds its recording, under every condition."""
    from monitor.commands import model as commands

    load_settings(context, minimum="info")
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
        Path, typer.Argument(help="Where the cache, checkpoints and weights go; goes on with what is there.")
    ],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 12_000,
    pairs: Annotated[int, typer.Option(min=8, help="Pairs a step, each of another recording.")] = 128,
    seed: Annotated[int, typer.Option(help="Another number, another run.")] = 1,
    size: Annotated[Size, typer.Option(help="Of the network.")] = Size.LARGE,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights of this checkpoint, of a network with as many blocks or less."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch; 1 unless the machine is idle.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=1, help="End within so many minutes, whatever the steps.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in 8 bit: a third of the size, twice the speed.")
    ] = False,
) -> None:
    """Make new weights from the corpus or from your own music, speech and noise. Needs the extra `train`."""
    from monitor.commands import model as commands

    load_settings(context, minimum="info")
    sound = commands.Sound(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    plan = commands.Plan(steps, pairs, seed, size.value, start_from)
    finish(commands.train(sound, folder, plan, threads=threads, minutes=minutes, int8=int8))


@model.command("fit-predictor")
def model_fit_predictor(
    context: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Folder of the weights.")],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    seed: Annotated[int, typer.Option(help="Another number, another fit.")] = 1,
) -> None:
    """Fit anew how weights tell, from what is heard, how much of the music is left. Needs the extra `train`."""
    from monitor.commands import model as commands

    load_settings(context, minimum="info")
    sound = commands.Sound(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    finish(commands.fit_predictor(sound, weights, seed))


@models.callback(invoke_without_command=True)
def models_list(context: typer.Context, json: Json = False) -> None:
    """List the models, and whether their files are here and as they were published."""
    if context.invoked_subcommand is None:
        from monitor.commands import models as commands

        finish(commands.list_(load_settings(context), as_json=json))


@models.command("fetch")
def models_fetch(
    context: typer.Context,
    name: Annotated[Published, typer.Argument(help="Which.")],
    url: Annotated[str | None, typer.Option(help="Where from instead of Zenodo.")] = None,
    how: Annotated[
        bool, typer.Option("--how", help="Only say what to put where, for a machine without internet.")
    ] = False,
) -> None:
    """Download a model's file, or go on where that was broken off; what is not the published file is refused."""
    from monitor.commands import models as commands

    finish(commands.fetch(load_settings(context), name.value, url, how=how))
