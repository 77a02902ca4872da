"""`airtrace tracks add`: registers files, directories and manifests, and reports the outcome of each file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from monitor.commands import output
from monitor.commands.client import ApiError, Client, connect
from monitor.commands.tracks.files import FileToAdd, UnchangedFile, from_manifest, from_paths
from monitor.commands.tracks.report import Report, open_report
from monitor.errors import AirtraceError, AudioError
from monitor.settings import Settings

MAX_CONCURRENT = 4


async def add(
    settings: Settings,
    paths: Sequence[Path],
    *,
    manifest_path: Path | None = None,
    encoding: str = "utf-8",
    report: Path | None = None,
    as_json: bool,
) -> int:
    """Registers files, directories and the files of a manifest; the exit code is 1 if any of them failed.

    Raises:
        AirtraceError: there are no audio files, or the report cannot be written.
    """
    named = [] if manifest_path is None else from_manifest(manifest_path, encoding)
    files = [*named, *from_paths(paths)]
    rows: list[dict[str, Any]] = []
    with open_report(report) as opened, output.steps(len(files), quiet=as_json, unit="x real time") as shown:
        registration = _Registration(settings, shown, opened, rows)
        for file in files:
            if file.reason is not None:
                registration.done(_failed(file, file.error or "", file.reason))
        usable = [file for file in files if file.reason is None]
        if usable:
            async with connect(settings) as client:
                shown.start()
                await registration.run(client, usable)
    order = {(file.path, file.row): place for place, file in enumerate(files)}
    rows.sort(key=lambda row: order[(row.pop("path"), row["row"])])
    _print(rows, as_json=as_json)
    return 1 if any(row["status"] == "failed" for row in rows) or not rows else 0


class _Registration:
    """Registers files, as many at once as there are cores to decode them."""

    def __init__(
        self, settings: Settings, shown: output.Steps, report: Report | None, rows: list[dict[str, Any]]
    ) -> None:
        self._max_bytes = settings.api.max_upload_mb * 1_000_000
        self._shown = shown
        self._report = report
        self._rows = rows

    def done(self, row: dict[str, Any]) -> None:
        """Shows and reports the outcome of one file."""
        path: Path = row["path"]
        if row["status"] == "failed":  # with its whole path: several files may have this name
            self._shown.failed(f"{path}: {str(row['error']).removeprefix(f'{path.name}: ')}")
        else:
            self._shown.done(f"{row['status']} {path.name}", row["duration_s"] if row["status"] == "added" else 0.0)
        self._rows.append(row)
        if self._report is not None:
            self._report.write(row)

    async def run(self, client: Client, files: Sequence[FileToAdd]) -> None:
        """Reports each file when it is done. Known audio gets the metadata of its manifest row at the end."""
        limit = asyncio.Semaphore(min(MAX_CONCURRENT, os.cpu_count() or 1))
        answers: dict[int, dict[str, Any]] = {}

        async def register(place: int, file: FileToAdd) -> None:
            async with limit:
                try:
                    answers[place] = answer = await self._send(client, file)
                except _FileFailed as error:
                    self.done(_failed(file, str(error), error.reason))
                    return
            if file.metadata is None or not answer["known"]:
                self.done(_row(file, "known" if answer["known"] else "added", answer["track"]))

        async with asyncio.TaskGroup() as group:
            for place, file in enumerate(files):
                group.create_task(register(place, file), name=f"add {file.path.name}")
        await self._update_known(client, files, answers)

    async def _update_known(
        self, client: Client, files: Sequence[FileToAdd], answers: dict[int, dict[str, Any]]
    ) -> None:
        """Sets the manifest's metadata for audio that was known. Among rows with the same audio, the first counts."""
        first: dict[int, int] = {}  # place of the first row, by track
        for place, answer in sorted(answers.items()):
            file, track = files[place], answer["track"]["id"]
            other = first.setdefault(track, place)
            if file.metadata is None or not answer["known"]:
                continue
            if other != place:
                error = f"{file.path.name}: the same audio as {files[other].path.name}, whose metadata is kept"
                self.done({**_row(file, "known", answer["track"]), "reason": "duplicate_audio", "error": error})
            else:
                self.done(await self._update(client, file, answer["track"]))

    async def _send(self, client: Client, file: FileToAdd) -> dict[str, Any]:
        given = file.metadata.model_dump(mode="json", exclude_unset=True) if file.metadata is not None else {}
        if "territories" in given:
            given["territories"] = " ".join(given["territories"])
        if "fields" in given:
            given["fields"] = orjson.dumps(given["fields"]).decode()
        data = {**{name: value for name, value in given.items() if value}, "source": output.utf8_safe(str(file.path))}
        try:
            with file.path.open("rb") as opened:
                unchanged = UnchangedFile(opened, file.path.name, self._max_bytes)
                upload = {"file": (output.utf8_safe(file.path.name), unchanged)}
                answer: dict[str, Any] = await client.post("/tracks", files=upload, data=data)
                return answer
        except ApiError as error:
            if error.is_unavailable:
                raise
            raise _FileFailed(error.problem.get("reason"), str(error)) from error
        except AudioError as error:
            raise _FileFailed(error.reason, str(error)) from error
        except OSError as error:
            raise _FileFailed("unreadable", f"{file.path.name}: {error.strerror}") from error

    async def _update(self, client: Client, file: FileToAdd, track: dict[str, Any]) -> dict[str, Any]:
        """Sets the manifest's metadata for known audio, unless the catalog has the same already."""
        assert file.metadata is not None  # noqa: S101 - only called for a manifest's rows
        dumped = file.metadata.model_dump(mode="json", exclude_unset=True)
        given = {name: value for name, value in dumped.items() if value}
        if all(track[name] == value for name, value in given.items()):
            return _row(file, "known", track)
        try:
            return _row(file, "updated", await client.patch(f"/tracks/{track['id']}", json=given))
        except ApiError as error:
            if error.is_unavailable:
                raise
            return _failed(file, str(error), error.problem.get("reason"))


class _FileFailed(AirtraceError):
    """A file could not be registered; the others continue."""

    def __init__(self, reason: str | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _failed(file: FileToAdd, error: str, reason: str | None) -> dict[str, Any]:
    return {**_row(file, "failed", None), "reason": reason, "error": output.utf8_safe(error)}


def _row(file: FileToAdd, status: str, track: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "path": file.path,
        "file": output.utf8_safe(str(file.path)),
        "row": file.row,
        "status": status,
        "track": track["id"] if track else None,
        "duration_s": track["duration_s"] if track else None,
        "reason": None,
        "error": None,
    }


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.as_json(rows)
        return
    if not rows:
        raise AirtraceError("no audio files found: give files, or a directory that contains some")
    output.print_summary(rows)
