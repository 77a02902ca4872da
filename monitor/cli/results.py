"""`airtrace matches`, `coverage`, `alerts`, `similar`, `review` and `sounds`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import typer

from monitor.cli.app import app, finish, load_settings
from monitor.cli.options import Json, Limit, Stream


@app.command()
def matches(
    context: typer.Context,
    stream: Stream = None,
    state: Annotated[Literal["open", "closed"] | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What was played, newest first."""
    from monitor.commands import results

    finish(results.matches(load_settings(context), stream, state, limit, as_json=json))


@app.command()
def coverage(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """When each feed was listened to, and why not."""
    from monitor.commands import results

    finish(results.coverage(load_settings(context), stream, limit, as_json=json))


@app.command()
def alerts(
    context: typer.Context,
    state: Annotated[
        Literal["open", "acknowledged", "resolved", "dismissed"] | None, typer.Option(help="Only those.")
    ] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """The matches that somebody must see."""
    from monitor.commands import results

    finish(results.alerts(load_settings(context), state, limit, as_json=json))


@app.command()
def similar(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A clip to find the like of.")
    ] = None,
    stream: Stream = None,
    review: Annotated[
        Literal["pending", "confirmed", "dismissed"] | None, typer.Option(help="Only those that were so reviewed.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most rows.")] = 10,
    json: Json = False,
) -> None:
    """Find the recordings that sound most like a clip; without one, list what on the streams resembles the catalog."""
    from monitor.commands import sounds as commands

    if file is not None:
        finish(commands.search(load_settings(context), file, limit, as_json=json))
    finish(commands.list_(load_settings(context), stream, review, limit, as_json=json))


@app.command()
def review(
    context: typer.Context,
    similar: Annotated[
        UUID, typer.Argument(metavar="UUID", help="Of a similar match, as `airtrace similar` lists it.")
    ],
    said: Annotated[Literal["pending", "confirmed", "dismissed"], typer.Argument(help="What you heard.")],
    note: Annotated[str | None, typer.Option(help="What to remember of it.")] = None,
) -> None:
    """Say what you heard when you listened to a similar match."""
    from monitor.commands import sounds as commands

    finish(commands.review(load_settings(context), str(similar), said, note))


@app.command()
def sounds(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """What streams sounded like, ten seconds by ten seconds: music, speech, music under speech, silence, other."""
    from monitor.commands import sounds as commands

    finish(commands.sounds(load_settings(context), stream, limit, as_json=json))
