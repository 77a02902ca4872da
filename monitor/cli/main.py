"""`airtrace`: the command line. Declares the commands; what they do, and all heavy imports, are in `commands/`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC

import typer

from monitor.cli import recordings, results  # noqa: F401 - they declare commands of the root
from monitor.cli.app import FULL, app
from monitor.cli.catalog import catalog
from monitor.cli.models import model, models
from monitor.cli.processes import topics
from monitor.cli.streams import streams
from monitor.cli.tracks import tracks

# Files and streams are embedded beside one another as it is: more threads of BLAS only spin, for twice the processor
# time. numpy reads it when it is first imported, which every command does later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
INTERRUPTED = 128  # and more: exit codes of commands that a signal ended
app.add_typer(tracks, name="tracks")
app.add_typer(catalog, name="catalog")
app.add_typer(streams, name="streams")
app.add_typer(model, name="model")
app.add_typer(models, name="models")
app.add_typer(topics, name="topics", rich_help_panel=FULL)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("airtrace"))


def main() -> None:
    """The entry point: one clear line and an exit code for what is expected, a traceback only for a bug."""
    try:
        code = app(standalone_mode=False) or 0
    except typer.TyperException as error:
        sys.exit(_explain_usage(error))
    except Exception as error:
        sys.exit(_explain(error))
    if code > INTERRUPTED:
        print("airtrace: interrupted", file=sys.stderr)
    sys.exit(code)


def _explain_usage(error: typer.TyperException) -> int:
    context: typer.Context | None = getattr(error, "ctx", None)
    if message := error.format_message().strip():  # else it was a help page, which has been printed
        hint = f" (see {context.command_path} --help)" if context else ""
        print(f"airtrace: {' '.join(message.split())}{hint}", file=sys.stderr)
    return error.exit_code


def _explain(error: Exception) -> int:
    from ingest.errors import BusError, IngestError, UnfitBroker
    from monitor.errors import AirtraceError

    told = list(_leaves(error))
    if all(isinstance(each, AirtraceError | IngestError) for each in told):
        first = told[0]
        print(f"airtrace: {' '.join(str(first).split())}", file=sys.stderr)
        if isinstance(first, AirtraceError):
            return first.exit_code
        return 3 if isinstance(first, UnfitBroker) else 4 if isinstance(first, BusError) else 1
    if isinstance(told[0], OSError) and told[0].errno in (ENOSPC, EDQUOT):
        print("airtrace: the disk is full: make room on it, then run this again", file=sys.stderr)
        return 4
    traceback.print_exception(error)
    print("airtrace: this is a bug; please report the lines above", file=sys.stderr)
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a TaskGroup's group is about."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
