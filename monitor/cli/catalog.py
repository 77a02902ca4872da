"""`airtrace catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json

catalog = typer.Typer(help="The catalog as a whole: in step with its index, carried elsewhere.", no_args_is_help=True)


@catalog.command("about")
def catalog_about(context: typer.Context, json: Json = False) -> None:
    """Say what the catalog and its index have."""
    from monitor.commands import catalog as commands

    finish(commands.about(load_settings(context), as_json=json))


@catalog.command("verify")
def catalog_verify(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--mend", help="Mend what is found, from PostgreSQL.")] = False,
    json: Json = False,
) -> None:
    """Compare the index with PostgreSQL, vector by vector."""
    from monitor.commands import catalog as commands

    finish(commands.verify(load_settings(context), mend=mend, as_json=json))


@catalog.command("rebuild")
def catalog_rebuild(context: typer.Context, json: Json = False) -> None:
    """Build the index anew from the stored vectors; no audio is needed, and searches go on."""
    from monitor.commands import catalog as commands

    finish(commands.rebuild(load_settings(context), as_json=json))


@catalog.command("prune")
def catalog_prune(context: typer.Context, json: Json = False) -> None:
    """Delete the vectors that models of the past have left, once no process uses them."""
    from monitor.commands import catalog as commands

    finish(commands.prune(load_settings(context), as_json=json))


@catalog.command("export")
def catalog_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; packed where it ends in .gz.")],
    json: Json = False,
) -> None:
    """Write the whole catalog with its fingerprints into one file."""
    from monitor.commands import catalog as commands

    finish(commands.export(load_settings(context), file, as_json=json))


@catalog.command("import")
def catalog_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What an export wrote.")],
    json: Json = False,
) -> None:
    """Take recordings over from an export, without their audio; what is known already stays as it is."""
    from monitor.commands import catalog as commands

    finish(commands.import_(load_settings(context), file, as_json=json))
