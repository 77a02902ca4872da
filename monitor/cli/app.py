"""The root of the command line, and what every command needs: its settings and its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from monitor.cli.options import Home

if TYPE_CHECKING:
    from monitor.settings import Settings

FULL_MODE = "Full mode: separate processes that share Kafka, PostgreSQL and Milvus"
# The order in which `airtrace --help` lists the commands: from the command that a user types first to the last one.
ORDER = (
    *("run", "demo", "tracks", "catalog", "streams", "matches", "coverage", "alerts"),
    *("scan", "explain", "calibrate", "evaluate", "similar", "review", "sounds", "models", "model", "version"),
    *("ingest", "worker", "api", "topics"),
)


class InOrder(TyperGroup):
    """Lists the commands in ORDER; Typer would list every group before or after every command."""

    def list_commands(self, context: Any) -> list[str]:
        """The names of the commands, in ORDER."""
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    cls=InOrder,
    help="Monitor broadcast streams and identify the recordings they play: which, where, and from when to when.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class UsageError(typer.BadParameter):
    """Arguments are missing or contradict one another. Its message lacks Typer's prefix "Invalid value"."""

    def format_message(self) -> str:
        """The message alone."""
        return self.message


def print_version(is_wanted: bool = True) -> None:
    """Prints the version and exits, if wanted."""
    from importlib.metadata import version

    if is_wanted:
        typer.echo(version("airtrace"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")]


@app.callback()
def common(context: typer.Context, home: Home = None, version: Version = False) -> None:
    """Options that precede the command."""
    context.obj = home


def load_settings(context: typer.Context, min_log_level: str = "warning") -> Settings:
    """The settings. `min_log_level` is this command's log level unless the settings name one."""
    from ingest import logs
    from monitor.settings import load

    settings = load(home=context.obj)
    is_level_set = "level" in settings.log.model_fields_set
    logs.configure(settings.log.level if is_level_set else min_log_level, settings.log.format)
    return settings


def finish(command: Coroutine[Any, Any, int]) -> None:
    """Runs a command's body to its end; the exit code is what it returns."""
    raise typer.Exit(asyncio.run(command))
