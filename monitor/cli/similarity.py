"""`airtrace similar`, `review` and `sounds`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import typer

from monitor.cli.app import app, finish, load_settings
from monitor.cli.options import Json, Limit, Stream


@app.command()
def similar(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Audio clip to compare.")
    ] = None,
    stream: Stream = None,
    review: Annotated[
        Literal["pending", "confirmed", "dismissed"] | None, typer.Option(help="Only similar matches in this state.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of rows.")] = 10,
    json: Json = False,
) -> None:
    """List the tracks that sound most like a clip; without FILE, what on the streams resembles the catalog."""
    from monitor.commands import similarity

    if file is not None:
        finish(similarity.search(load_settings(context), file, limit, as_json=json))
    finish(similarity.list_(load_settings(context), stream, review, limit, as_json=json))


@app.command()
def review(
    context: typer.Context,
    similar: Annotated[UUID, typer.Argument(metavar="ID", help="Id of a similar match (see `airtrace similar`).")],
    verdict: Annotated[
        Literal["pending", "confirmed", "dismissed"], typer.Argument(help="What you decided after listening.")
    ],
    note: Annotated[str | None, typer.Option(help="A note to keep with the decision.")] = None,
) -> None:
    """Confirm or dismiss a similar match after listening to it."""
    from monitor.commands import similarity

    finish(similarity.review(load_settings(context), str(similar), verdict, note))


@app.command()
def sounds(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """List what streams sounded like in each ten seconds: music, speech, music under speech, silence or other."""
    from monitor.commands import similarity

    finish(similarity.sounds(load_settings(context), stream, limit, as_json=json))
