"""`airtrace scan`, `explain`, `calibrate` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import app, finish, load_settings
from monitor.cli.options import Json


@app.command()
def scan(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    results: Annotated[Path | None, typer.Option(help="Write the plays to this CSV file, too.")] = None,
    json: Json = False,
) -> None:
    """Scan recordings instead of streams, as fast as they go."""
    from monitor.commands import scan as commands

    finish(commands.scan(load_settings(context), files, results=results, as_json=json))


@app.command()
def explain(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="STREAM|FILE", help="A recording, or else the name of a stream that was just heard."),
    ],
    at: Annotated[
        str,
        typer.Option(metavar="TIME", help="In a recording 83.5 or 1:23.5, of a stream 14:03:07 or an ISO time (UTC)."),
    ],
    for_s: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0.1, max=60, help="How much from there on.")
    ] = 10.0,
    track: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only this track, wherever in it, found by hits or not.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the first hypothesis into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Say why something did or did not match at a moment."""
    from monitor.commands import explain as commands

    settings = load_settings(context)
    finish(commands.explain(settings, source, at, for_s=for_s, track=track, png=png, as_json=json))


@app.command()
def calibrate(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Recordings without anything of the catalog.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.001, max=100_000, help="False plays that are allowed in 1,000 hours of a stream.")
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the threshold would be.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Say what is in force, and where it comes from.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the detector's own threshold.")] = False,
    json: Json = False,
) -> None:
    """Set how much evidence a play needs, by unknown audio of the kind that you monitor."""
    from monitor.commands import calibrate as commands

    if bool(files) + show + reset != 1:
        raise typer.BadParameter("give recordings, or else --show or --reset", context)
    if reset:
        finish(commands.reset(load_settings(context)))
    if show:
        finish(commands.show(load_settings(context), as_json=json))
    finish(commands.calibrate(load_settings(context), files or [], rate=rate, dry_run=dry_run, as_json=json))


@app.command()
def evaluate(
    context: typer.Context,
    recordings: Annotated[
        list[Path], typer.Argument(metavar="RECORDINGS...", help="Audio files, or directories of them.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.csv", help="What was played in them.")],
    results: Annotated[
        Path | None, typer.Option(help="Score this CSV file, of whatever system, instead of scanning.")
    ] = None,
    families: Annotated[
        Path | None, typer.Option(help="CSV file with track and family: tracks of one count as one another.")
    ] = None,
    json: Json = False,
) -> None:
    """Score what is found in recordings against the truth, in seconds and in plays."""
    from monitor.commands import evaluate as commands

    finish(
        commands.evaluate(load_settings(context), recordings, truth, results=results, families=families, as_json=json)
    )
