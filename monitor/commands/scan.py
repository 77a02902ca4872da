"""`airtrace scan`: recordings instead of streams, as fast as they go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor.client import Client, Refused, connect
from monitor.commands import output
from monitor.settings import Settings


async def scan(settings: Settings, files: Sequence[Path], *, as_json: bool) -> int:
    """Prints the plays in every file; the exit code is 1 when any file could not be used."""
    results: list[dict[str, Any]] = []
    async with connect(settings) as client:
        with output.steps(len(files), quiet=as_json) as shown:
            for path in files:
                results.append(await _scan_one(client, path, shown))
                _show(results[-1], path, shown)
    if as_json:
        output.as_json(results)
    elif any(not result["error"] for result in results):
        rows = [_row(Path(result["file"]), match) for result in results for match in result["matches"]]
        columns = ("file", "at", "length", "track", "position", "score")
        output.table(columns, rows, "nothing of the catalog was recognised")
    return 1 if any(result["error"] for result in results) else 0


async def _scan_one(client: Client, path: Path, shown: output.Steps) -> dict[str, Any]:
    file_name = output.sendable(str(path))
    result: dict[str, Any] = {"file": file_name, "duration_s": None, "matches": [], "error": None}
    try:
        with path.open("rb") as file:
            async for line in client.lines("/identify", files={"file": (output.sendable(path.name), file)}):
                if "done_s" in line:
                    shown.note(f"{path.name}: {output.minutes(line['done_s'])} scanned")
                else:
                    result |= line
    except Refused as error:
        if error.exit_code == 4:
            raise
        result["error"] = str(error)
    except OSError as error:
        result["error"] = output.sendable(f"{path.name}: {error.strerror}")
    return result


def _show(result: dict[str, Any], path: Path, shown: output.Steps) -> None:
    if result["error"]:
        shown.failed(f"{path}: {result['error'].removeprefix(f'{path.name}: ')}")
    else:
        shown.done(f"{path.name}: {len(result['matches'])} found in {output.minutes(result['duration_s'])}")


def _row(path: Path, match: dict[str, Any]) -> tuple[object, ...]:
    return (
        path.name,
        output.minutes(match["start_s"]),
        output.minutes(match["end_s"] - match["start_s"]),
        match["track"]["title"],
        output.minutes(match["track_start_s"]),
        f"{match['score']:.2f}",
    )
