"""`airtrace run`, `ingest`, `worker`, `api`, `demo` and `topics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import FULL, app, finish, load_settings
from monitor.cli.options import Json

topics = typer.Typer(help="The topics of the full mode in Kafka.", no_args_is_help=True)


@app.command()
def run(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the API and the live page; 0: any free one.")
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Process with which it ends.")] = None,
) -> None:
    """Listen, match and serve in one process."""
    from monitor.processes import roles

    settings = load_settings(context, minimum="info")
    if port is not None:
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    finish(roles.run(settings, parent))


@topics.command("create")
def topics_create(context: typer.Context, json: Json = False) -> None:
    """Make the topics that are missing, as the settings say; then check."""
    from monitor.commands import topics as commands

    finish(commands.create(load_settings(context), as_json=json))


@topics.command("check")
def topics_check(context: typer.Context, json: Json = False) -> None:
    """See whether brokers and topics take and keep every window; exit code 3 where a limit does not."""
    from monitor.commands import topics as commands

    finish(commands.check(load_settings(context), as_json=json))


@app.command(rich_help_panel=FULL)
def ingest(context: typer.Context) -> None:
    """Listen to streams, windows to Kafka."""
    from monitor.processes import roles

    finish(roles.ingest(load_settings(context, minimum="info")))


@app.command(rich_help_panel=FULL)
def worker(context: typer.Context) -> None:
    """Windows from Kafka, matches to PostgreSQL."""
    from monitor.processes import roles

    finish(roles.worker(load_settings(context, minimum="info")))


@app.command(rich_help_panel=FULL)
def api(context: typer.Context) -> None:
    """Serve the API and the live page."""
    from monitor.processes import roles

    finish(roles.api(load_settings(context, minimum="info")))


@app.command()
def demo(
    context: typer.Context,
    music: Annotated[Path | None, typer.Option(help="Your own music instead of the demo's.")] = None,
    seconds: Annotated[int, typer.Option(min=45, max=3600, help="Length of the programme.")] = 180,
    seed: Annotated[int, typer.Option(help="Another number, another programme.")] = 1,
    json: Json = False,
) -> None:
    """Put a station on the air and watch Airtrace recognise what it plays."""
    from monitor.commands import demo as commands

    finish(commands.demo(load_settings(context), music, seconds, seed, as_json=json))
