"""The command line's root, and what every command needs: settings, and its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from monitor.settings import Settings
from monitor.cli.options import Home

FULL = "Full mode: processes over Kafka, PostgreSQL and Milvus"

app = typer.Typer(
    help="Listens to broadcast streams and says which recording was played where, from when to when, how surely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def common(context: typer.Context, home: Home = None) -> None:
    """Options that stand before the command."""
    context.obj = home


def load_settings(context: typer.Context, minimum: str = "warning") -> Settings:
    """The settings; `least` is the level from which this command logs when they name none."""
    from ingest import logs
    from monitor.settings import load

    settings = load(home=context.obj)
    named = "level" in settings.log.model_fields_set
    logs.configure(settings.log.level if named else minimum, settings.log.format)
    return settings


def finish(command: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(asyncio.run(command))
