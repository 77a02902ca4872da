"""Imports the tracks of a file that another Airtrace exported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from monitor.catalog import transfer
from monitor.catalog.catalog import Catalog
from monitor.catalog.transfer import Imported
from monitor.errors import AirtraceError, DependencyError


async def import_file(catalog: Catalog, path: Path) -> AsyncIterator[Imported]:
    """Imports track by track from a file that `transfer.check_file` accepted; one bad line does not stop the others.

    Raises:
        TransferError: the file cannot be read.
        DependencyError: PostgreSQL or Milvus is unreachable.
    """
    numbered = enumerate(transfer.read_lines(path), start=1)
    await asyncio.to_thread(next, numbered)  # the header
    line = await asyncio.to_thread(next, numbered)
    while (following := await asyncio.to_thread(next, numbered, None)) is not None:  # the last line is the trailer
        yield await _import_line(catalog, *line)
        line = following


async def _import_line(catalog: Catalog, number: int, line: bytes) -> Imported:
    title: str | None = None
    try:
        exported = await asyncio.to_thread(transfer.parse_line, line)
        title = exported.metadata.title
        registered = await catalog.import_(exported)
    except DependencyError:
        raise
    except AirtraceError as error:
        return Imported(number, title, "failed", None, error.reason, f"line {number}: {error}")
    return Imported(number, title, "known" if registered.known else "added", registered.track.id)
