"""`airtrace streams`."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json

streams = typer.Typer(help="The feeds that are monitored.", no_args_is_help=True)


@streams.command("add")
def streams_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you call it.")],
    url: Annotated[str, typer.Argument(help="http(s), HLS, rtmp, rtsp, srt, udp or rtp.")],
) -> None:
    """Monitor a feed."""
    from monitor.commands import streams as commands

    finish(commands.add(load_settings(context), name, url))


@streams.command("list")
def streams_list(context: typer.Context, json: Json = False) -> None:
    """List the feeds and how they are."""
    from monitor.commands import streams as commands

    finish(commands.list_(load_settings(context), as_json=json))


@streams.command("remove")
def streams_remove(context: typer.Context, name: Annotated[str, typer.Argument()]) -> None:
    """Stop to monitor a feed; its matches and coverage stay."""
    from monitor.commands import streams as commands

    finish(commands.remove(load_settings(context), name))
