"""`airtrace demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import app, finish, load_settings
from monitor.cli.options import Json


@app.command()
def demo(
    context: typer.Context,
    music: Annotated[Path | None, typer.Option(help="Directory of your own music, instead of the demo's.")] = None,
    seconds: Annotated[int, typer.Option(min=45, max=3600, help="Length of the program.")] = 180,
    seed: Annotated[int, typer.Option(help="Random seed; another seed gives another program.")] = 1,
    json: Json = False,
) -> None:
    """Broadcast a radio program on this machine and watch Airtrace recognize it."""
    from monitor.commands import demo as commands

    finish(commands.demo(load_settings(context), music, seconds, seed, as_json=json))
