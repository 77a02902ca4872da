"""`airtrace scan`: finds the catalog's tracks in recordings, faster than real time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from monitor.commands import output
from monitor.commands.client import ApiError, Client, connect
from monitor.evaluation import files as tables
from monitor.evaluation.plays import Result
from monitor.settings import Settings


async def scan(settings: Settings, files: Sequence[Path], *, results: Path | None, as_json: bool) -> int:
    """Prints the plays in every file, and writes them to `results`; the exit code is 1 if any file failed.

    Raises:
        EvaluationError: `results` cannot be written, or two files have the same name.
    """
    if results is not None:
        tables.check_names(files)
        tables.check_writable(results)
    async with connect(settings) as client:
        scanned = await scan_all(client, files, quiet=as_json)
    if results is not None:
        tables.write_results(results, [found for each in scanned for found in reported(each)])
    if as_json:
        output.as_json(scanned)
    elif any(not each["error"] for each in scanned):
        rows = [_row(Path(each["file"]), match) for each in scanned for match in each["matches"]]
        columns = ("file", "at", "length", "track", "position", "score")
        output.table(columns, rows, "no track of the catalog was recognized")
    return 1 if any(each["error"] for each in scanned) else 0


async def scan_all(client: Client, files: Sequence[Path], *, quiet: bool) -> list[dict[str, Any]]:
    """The plays in each file, in the order of `files`, or its error; shows progress unless quiet."""
    scanned: list[dict[str, Any]] = []
    with output.steps(len(files), quiet=quiet) as shown:
        for path in files:
            scanned.append(await _scan_one(client, path, shown))
            _show(scanned[-1], path, shown)
    return scanned


def reported(scanned: dict[str, Any]) -> Iterator[Result]:
    """The plays in one file as rows of a table."""
    for match in scanned["matches"]:
        yield Result(
            recording=PurePath(scanned["file"]).name,
            track=track_name(match["track"]),
            start_s=match["start_s"],
            end_s=match["end_s"],
            track_start_s=match["track_start_s"],
            track_end_s=match["track_end_s"],
            speed=match.get("speed", 1.0),
            score=match["score"],
            reported_s=match.get("reported_s"),
        )


def track_name(track: dict[str, Any]) -> str:
    """The name of a track in tables: that of its file, or its title if it had none."""
    return PurePath(track["source"]).name or str(track["title"])


async def _scan_one(client: Client, path: Path, shown: output.Steps) -> dict[str, Any]:
    file_name = output.utf8_safe(str(path))
    result: dict[str, Any] = {"file": file_name, "duration_s": None, "matches": [], "error": None}
    try:
        with path.open("rb") as file:
            async for line in client.lines("/identify", files={"file": (output.utf8_safe(path.name), file)}):
                if "done_s" in line:
                    shown.note(f"{path.name}: {output.minutes(line['done_s'])} scanned")
                else:
                    result |= line
    except ApiError as error:
        if error.is_unavailable:
            raise
        result["error"] = str(error)
    except OSError as error:
        result["error"] = output.utf8_safe(f"{path.name}: {error.strerror}")
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
