"""`airtrace matches`, `coverage` and `alerts`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from monitor.cli.app import app, finish, load_settings
from monitor.cli.options import Json, Limit, Stream


@app.command()
def matches(
    context: typer.Context,
    stream: Stream = None,
    state: Annotated[Literal["open", "closed"] | None, typer.Option(help="Only matches in this state.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List what was played, newest first."""
    from monitor.commands import results

    finish(results.matches(load_settings(context), stream, state, limit, as_json=json))


@app.command()
def coverage(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """List when each stream was monitored, and the gaps with their reasons."""
    from monitor.commands import results

    finish(results.coverage(load_settings(context), stream, limit, as_json=json))


@app.command()
def alerts(
    context: typer.Context,
    state: Annotated[
        Literal["open", "acknowledged", "resolved", "dismissed"] | None, typer.Option(help="Only alerts in this state.")
    ] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List the matches that need attention, newest first."""
    from monitor.commands import results

    finish(results.alerts(load_settings(context), state, limit, as_json=json))
