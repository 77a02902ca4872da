"""`airtrace streams`."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json

streams = typer.Typer(help="Manage the monitored streams.", no_args_is_help=True)


@streams.command("add")
def streams_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    url: Annotated[str, typer.Argument(help="URL of the stream: http, https, HLS, rtmp, rtsp, srt, udp or rtp.")],
) -> None:
    """Start monitoring a stream, even if matching has no room for it: then a line on standard error says so."""
    from monitor.commands import streams as commands

    finish(commands.add(load_settings(context), name, url))


@streams.command("list")
def streams_list(context: typer.Context, json: Json = False) -> None:
    """List the monitored streams and their state.

    States: listening, behind (matched late), gap (not heard), waiting (for audio), not_running (nothing reads or
    matches it). Says on standard error if matching is full or behind, and what to change.
    """
    from monitor.commands import streams as commands

    finish(commands.list_(load_settings(context), as_json=json))


@streams.command("remove")
def streams_remove(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of the stream.")]) -> None:
    """Stop monitoring a stream; its matches and coverage are kept."""
    from monitor.commands import streams as commands

    finish(commands.remove(load_settings(context), name))
