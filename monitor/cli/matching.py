"""`airtrace scan`, `explain`, `calibrate` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import UsageError, app, finish, load_settings
from monitor.cli.options import Json


@app.command()
def scan(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    results: Annotated[Path | None, typer.Option(help="Also write the plays to this CSV file.")] = None,
    json: Json = False,
) -> None:
    """Find the catalog's tracks in recordings, faster than real time."""
    from monitor.commands.matching import scan as commands

    finish(commands.scan(load_settings(context), files, results=results, as_json=json))


@app.command()
def explain(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="STREAM|FILE", help="An audio file, or the name of a stream monitored recently.")
    ],
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Start: in a recording 83.5 or 1:23.5; on a stream 14:03:07 or an ISO time (UTC by default).",
        ),
    ],
    for_s: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0.1, max=60, help="Length of the interval to explain.")
    ] = 10.0,
    track: Annotated[
        int | None,
        typer.Option(min=1, metavar="ID", help="Only this track, compared at every position, even without hits."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the best hypothesis into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain why something did or did not match at a moment.

    The columns of the result are:

    votes    votes of the index's hits on the alignment
    llr      log-likelihood ratio, from the exact cosines along the alignment
    left     the part of the llr that other plays do not explain
    cosine   mean cosine similarity of the compared segments
    context  mean cosine similarity with the seconds around each position

    A play needs enough votes, an llr and a left that reach the threshold,
    and a cosine that exceeds its context.
    """
    from monitor.commands.matching import explain as commands

    settings = load_settings(context)
    finish(commands.explain(settings, source, at, for_s=for_s, track=track, png=png, as_json=json))


@app.command()
def calibrate(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...",
            help="Recordings that contain no catalog track: at least 60 minutes in all; 10 hours are better.",
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.001, max=100_000, help="False matches to allow per 1,000 stream-hours.")
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the threshold without setting it.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the threshold in force and where it comes from.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Restore the detector's default threshold.")] = False,
    json: Json = False,
) -> None:
    """Set the detection threshold from recordings that contain no catalog track."""
    from monitor.commands.matching import calibrate as commands

    if bool(files) + show + reset != 1:
        raise UsageError("give either recordings, --show or --reset", context)
    if reset:
        finish(commands.reset(load_settings(context)))
    if show:
        finish(commands.show(load_settings(context), as_json=json))
    finish(commands.calibrate(load_settings(context), files or [], rate=rate, dry_run=dry_run, as_json=json))


@app.command()
def evaluate(
    context: typer.Context,
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDINGS...", help="Audio files or directories.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.csv", help="What was played in the recordings.")],
    results: Annotated[
        Path | None, typer.Option(help="Score this CSV file, from any system, instead of scanning.")
    ] = None,
    families: Annotated[
        Path | None, typer.Option(help="CSV file with track and family: tracks of a family count as one.")
    ] = None,
    json: Json = False,
) -> None:
    """Score the plays found in recordings against the ground truth, in seconds and in plays."""
    from monitor.commands.matching import evaluate as commands

    finish(
        commands.evaluate(load_settings(context), recordings, truth, results=results, families=families, as_json=json)
    )
