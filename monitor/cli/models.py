"""`airtrace models`."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json, Published

models = typer.Typer(help="List the models and download the ones that are not included.")


@models.callback(invoke_without_command=True)
def models_list(context: typer.Context, json: Json = False) -> None:
    """List the models, and whether their files are present and intact; fetch the ones that are not included."""
    if context.invoked_subcommand is None:
        from monitor.commands import models as commands

        finish(commands.list_(load_settings(context), as_json=json))


@models.command("fetch")
def models_fetch(
    context: typer.Context,
    name: Annotated[Published, typer.Argument(help="The model to download.")],
    url: Annotated[str | None, typer.Option(help="Download from this URL instead of Zenodo.")] = None,
    how: Annotated[
        bool, typer.Option("--how", help="Only explain how to install the file on a machine without internet access.")
    ] = False,
) -> None:
    """Download a model's file, resuming an interrupted download. Its size and checksum are verified."""
    from monitor.commands import models as commands

    finish(commands.fetch(load_settings(context), name.value, url, how=how))
