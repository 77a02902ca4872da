"""`airtrace catalog`: about, verify, rebuild, prune, export, import."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from monitor.commands import output
from monitor.commands.client import connect
from monitor.errors import AirtraceError
from monitor.settings import Settings

CHUNK_BYTES = 32_000_000  # of an imported file; far below the API's limit
CHUNK_TRACKS = 64


async def about(settings: Settings, *, as_json: bool) -> int:
    """Prints how many tracks and vectors the catalog and its index hold."""
    async with connect(settings, recover=False) as client:
        found = await client.get("/catalog")
    if as_json:
        output.as_json(found)
        return 0
    rows = [(f"tracks {status}", number) for status, number in sorted(found["tracks"].items())]
    rows += [
        (f"model {each['detector']} {each['version']} ({each['checksum']})", f"{each['vectors']} vectors")
        for each in found["models"]
    ]
    rows.append((f"index {found['index']}", f"{found['vectors_indexed']} of {found['vectors_wanted']} vectors"))
    output.table(("catalog", "content"), rows, "")
    return 0


async def verify(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Compares the index with PostgreSQL; the exit code is 1 if differences remain."""
    differences: list[dict[str, Any]] = []
    async with connect(settings, recover=False) as client:
        progress = _Progress(as_json)
        async for line in client.lines("/catalog/verify", params={"repair": repair}):
            if "difference" in line:
                differences.append(line)
            else:
                progress.at(line["done"], line["total"], "tracks compared")
    if as_json:
        output.as_json(differences)
    else:
        rows = [(d["track"], d["difference"], d["vectors"] or "", "yes" if d["repaired"] else "") for d in differences]
        output.table(("track", "difference", "vectors", "repaired"), rows, "the index matches the catalog")
        if any(not d["repaired"] for d in differences):
            embedded = any(d["difference"] == "unembedded" for d in differences)
            output.print_status(f"to repair: airtrace {'tracks rebuild' if embedded else 'catalog verify --repair'}")
    return 1 if any(not d["repaired"] for d in differences) else 0


async def rebuild(settings: Settings, *, as_json: bool) -> int:
    """Rebuilds the index from the stored vectors."""
    async with connect(settings, recover=False) as client:
        progress, line = _Progress(as_json), {"done": 0, "total": 0}
        async for line in client.lines("/catalog/rebuild"):
            progress.at(line["done"], line["total"], "tracks in the new index")
    if as_json:
        output.as_json(line)
    else:
        output.print_status(f"rebuilt the index of {line['total']} tracks")
    return 0


async def prune(settings: Settings, *, as_json: bool) -> int:
    """Deletes the vectors of previous models."""
    async with connect(settings) as client:
        found = await client.post("/catalog/prune")
    if as_json:
        output.as_json(found)
    else:
        n_sets = found["fingerprints"]
        output.print_status(f"deleted vectors of previous models: {n_sets} sets, one for each track and model")
    return 0


async def export(settings: Settings, path: Path, *, as_json: bool) -> int:
    """Writes the whole catalog to a file, which appears only once it is complete.

    Raises:
        AirtraceError: the file cannot be written.
    """
    unfinished, n_lines = path.with_name(f"{path.name}.part"), 0
    try:
        async with connect(settings) as client:
            with _created(unfinished, packed=path.suffix == ".gz") as file:
                async for line in client.raw_lines("/catalog/export"):
                    await asyncio.to_thread(file.write, line)
                    n_lines += 1
                    if not as_json and n_lines % 1000 == 0:
                        output.print_status(f"{n_lines} tracks")
        _check(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise AirtraceError(f"cannot write {path} ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)
    n_bytes = path.stat().st_size
    if as_json:
        output.as_json({"file": str(path), "tracks": n_lines - 2, "bytes": n_bytes})
    else:
        output.print_status(f"exported {n_lines - 2} tracks to {path}, {n_bytes / 1e6:.1f} MB")
    return 0


async def import_(settings: Settings, path: Path, *, as_json: bool) -> int:
    """Imports tracks from a file, once its checksum is verified; the exit code is 1 if a track failed."""
    n_tracks, rows = _check(path), []
    async with connect(settings) as client:
        with output.steps(n_tracks, quiet=as_json) as shown:
            first = 2  # the line of the first track
            for body, number in _chunks(path, n_tracks):
                for row in await client.post("/catalog/import", files={"file": (path.name, body)}):
                    row["line"] += first - 2
                    rows.append(row)
                    name = output.printable(str(row["title"]))
                    if row["status"] == "failed":
                        shown.failed(f"{path.name}, line {row['line']}: {row['error'].partition(': ')[2]}")
                    else:
                        shown.done(f"{row['status']} {name}")
                first += number
    if as_json:
        output.as_json(rows)
    else:
        output.print_summary(rows)
    return 1 if any(row["status"] == "failed" for row in rows) else 0


def _chunks(path: Path, n_tracks: int) -> Iterator[tuple[bytes, int]]:
    """The file in smaller files that the API accepts, each with its number of tracks."""
    from monitor.catalog import transfer

    waiting: list[bytes] = []
    with closing(transfer.read_lines(path)) as lines:  # type: ignore[type-var]  # a generator
        next(lines)
        for _ in range(n_tracks):
            waiting.append(next(lines))
            if len(waiting) == CHUNK_TRACKS or sum(map(len, waiting)) > CHUNK_BYTES:
                yield transfer.pack_lines(waiting), len(waiting)
                waiting = []
    if waiting:
        yield transfer.pack_lines(waiting), len(waiting)


def _check(path: Path) -> int:
    from monitor.catalog import transfer

    return transfer.check_file(path)


def _created(path: Path, *, packed: bool) -> BinaryIO:
    # The fastest level: half-precision vectors are nearly noise, and any level removes the overhead of base64.
    return gzip.open(path, "wb", compresslevel=1) if packed else path.open("wb")  # type: ignore[return-value]


class _Progress:
    """Prints a line on standard error for each tenth of a long job."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._tenths_shown = 0

    def at(self, done: int, total: int, what: str) -> None:
        """`done` of `total` steps are done."""
        tenth = 10 * done // max(1, total)
        if not self._quiet and done < total and tenth > self._tenths_shown:
            output.print_status(f"{done}/{total} {what}")
            self._tenths_shown = tenth
