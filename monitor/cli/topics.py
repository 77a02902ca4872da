"""`airtrace topics`."""

from __future__ import annotations

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json

topics = typer.Typer(help="Create and check the Kafka topics.", no_args_is_help=True)


@topics.command("create")
def topics_create(context: typer.Context, json: Json = False) -> None:
    """Create the missing topics as configured, then check all of them."""
    from monitor.commands import topics as commands

    finish(commands.create(load_settings(context), as_json=json))


@topics.command("check")
def topics_check(context: typer.Context, json: Json = False) -> None:
    """Check that brokers and topics accept and keep every window; the exit code is 3 if one would not."""
    from monitor.commands import topics as commands

    finish(commands.check(load_settings(context), as_json=json))
