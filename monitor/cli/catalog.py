"""`airtrace catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json

catalog = typer.Typer(help="Check, rebuild, export and import the whole catalog.", no_args_is_help=True)


@catalog.command("about")
def catalog_about(context: typer.Context, json: Json = False) -> None:
    """Show how many tracks and vectors the catalog and its index hold."""
    from monitor.commands import catalog as commands

    finish(commands.about(load_settings(context), as_json=json))


@catalog.command("verify")
def catalog_verify(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Repair the differences from PostgreSQL.")] = False,
    json: Json = False,
) -> None:
    """Compare the index with PostgreSQL, vector by vector; the exit code is 1 if differences remain."""
    from monitor.commands import catalog as commands

    finish(commands.verify(load_settings(context), repair=repair, as_json=json))


@catalog.command("rebuild")
def catalog_rebuild(context: typer.Context, json: Json = False) -> None:
    """Rebuild the index from the stored vectors. Needs no audio; searches continue meanwhile."""
    from monitor.commands import catalog as commands

    finish(commands.rebuild(load_settings(context), as_json=json))


@catalog.command("prune")
def catalog_prune(context: typer.Context, json: Json = False) -> None:
    """Delete the vectors of previous models. Run it once no process uses them anymore."""
    from monitor.commands import catalog as commands

    finish(commands.prune(load_settings(context), as_json=json))


@catalog.command("export")
def catalog_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; compressed if it ends in .gz.")],
    json: Json = False,
) -> None:
    """Write the whole catalog, including its fingerprints, to a file."""
    from monitor.commands import catalog as commands

    finish(commands.export(load_settings(context), file, as_json=json))


@catalog.command("import")
def catalog_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that `airtrace catalog export` wrote.")],
    json: Json = False,
) -> None:
    """Import tracks from an export, without their audio. Tracks that are in the catalog already do not change."""
    from monitor.commands import catalog as commands

    finish(commands.import_(load_settings(context), file, as_json=json))
