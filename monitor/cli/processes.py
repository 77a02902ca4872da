"""`airtrace run`, `ingest`, `worker` and `api`: the processes, whose bodies are in `monitor/processes/roles.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.app import FULL_MODE, app, finish, load_settings


@app.command()
def run(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the API and the live page; 0 takes any free port.")
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Stop when this process ends.")] = None,
) -> None:
    """Monitor the streams and serve the API and the live page, all in one process."""
    from monitor.processes import roles

    settings = load_settings(context, min_log_level="info")
    if port is not None:
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    finish(roles.run(settings, parent))


@app.command(rich_help_panel=FULL_MODE)
def ingest(context: typer.Context) -> None:
    """Read the streams and publish their audio to Kafka."""
    from monitor.processes import roles

    finish(roles.ingest(load_settings(context, min_log_level="info")))


@app.command(rich_help_panel=FULL_MODE)
def worker(context: typer.Context) -> None:
    """Match the audio in Kafka against the catalog and store the matches in PostgreSQL."""
    from monitor.processes import roles

    finish(roles.worker(load_settings(context, min_log_level="info")))


@app.command(rich_help_panel=FULL_MODE)
def api(context: typer.Context) -> None:
    """Serve the API and the live page."""
    from monitor.processes import roles

    finish(roles.api(load_settings(context, min_log_level="info")))
