"""Imports a catalog that another Airtrace exported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from monitor.catalog import transfer
from monitor.catalog.transfer import Imported
from monitor.errors import AirtraceError, DependencyError
from monitor.parts import Airtrace


async def _imported(parts: Airtrace, path: Path) -> AsyncIterator[Imported]:
    numbered = enumerate(transfer.raw_lines(path), start=1)
    held = await asyncio.to_thread(next, numbered)  # the head; the end is not taken either
    held = await asyncio.to_thread(next, numbered)
    while (following := await asyncio.to_thread(next, numbered, None)) is not None:
        yield await _taken(parts, *held)
        held = following


async def _taken(parts: Airtrace, number: int, line: bytes) -> Imported:
    title: str | None = None
    try:
        carried = await asyncio.to_thread(transfer.parsed, line)
        title = carried.metadata.title
        taken = await parts.catalog.take(carried)
    except DependencyError:
        raise
    except AirtraceError as error:
        return Imported(number, title, "failed", None, error.reason, f"line {number}: {error}")
    return Imported(number, title, "known" if taken.known else "added", taken.track.id)
