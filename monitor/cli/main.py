"""`airtrace`: the command line's entry point. Errors become one line on standard error and an exit code.

0  success
1  some input could not be used, or a bug (with a traceback)
2  wrong usage
3  wrong configuration
4  a dependency is unreachable, or the disk is full
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC

import typer

from monitor.cli import demo, matching, processes, results, similarity  # noqa: F401 - they declare commands of the root
from monitor.cli.app import FULL_MODE, app, print_version
from monitor.cli.catalog import catalog
from monitor.cli.model import model
from monitor.cli.models import models
from monitor.cli.streams import streams
from monitor.cli.topics import topics
from monitor.cli.tracks import tracks

# Several files and streams are embedded in parallel already. More BLAS threads only spin and double the CPU time.
# numpy reads this when it is first imported, which every command does after this line.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
BUG, CONFIGURATION, DEPENDENCY = 1, 3, 4
SIGNALED = 128  # plus the signal's number: the exit code of a command that a signal ended
app.add_typer(tracks, name="tracks")
app.add_typer(catalog, name="catalog")
app.add_typer(streams, name="streams")
app.add_typer(models, name="models")
app.add_typer(model, name="model")
app.add_typer(topics, name="topics", rich_help_panel=FULL_MODE)


@app.command()
def version() -> None:
    """Print the version."""
    print_version()


def main() -> None:
    """Runs the command line and exits."""
    try:
        code = app(standalone_mode=False) or 0
    except typer.TyperException as error:
        sys.exit(report_usage_error(error))
    except Exception as error:
        sys.exit(report_error(error))
    if code > SIGNALED:
        _print_error("interrupted")
    sys.exit(code)


def report_usage_error(error: typer.TyperException) -> int:
    """Prints a usage error with the command whose help describes the right usage; returns the exit code."""
    context: typer.Context | None = getattr(error, "ctx", None)
    if message := error.format_message().strip():  # empty for `no_args_is_help`, which has printed the help already
        hint = f" (see {context.command_path} --help)" if context else ""
        _print_error(f"{message}{hint}")
    return error.exit_code


def report_error(error: Exception) -> int:
    """Prints an error, with a traceback if it is a bug; returns the exit code. For a group, the first error counts."""
    from ingest.errors import IngestError
    from monitor.errors import AirtraceError

    errors = list(_leaves(error))
    first = errors[0]
    if all(isinstance(each, AirtraceError | IngestError) for each in errors):
        _print_error(str(first))
        return _exit_code(first)
    if isinstance(first, OSError) and first.errno in (ENOSPC, EDQUOT):
        _print_error("the disk is full: free some space, then run this again")
        return DEPENDENCY
    traceback.print_exception(error)
    _print_error("this is a bug; please report the lines above")
    return BUG


def _exit_code(error: BaseException) -> int:
    from ingest.errors import BusError, UnfitBroker
    from monitor.errors import AirtraceError

    match error:
        case AirtraceError():
            return error.exit_code
        case UnfitBroker():
            return CONFIGURATION
        case BusError():
            return DEPENDENCY
        case _:
            return BUG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a TaskGroup's group, however deeply nested; or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _print_error(message: str) -> None:
    print(f"airtrace: {' '.join(message.split())}", file=sys.stderr)
