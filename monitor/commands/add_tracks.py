"""`airtrace tracks add`: files, directories and manifests into the catalog, and a report of each."""

from __future__ import annotations

import asyncio
import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from monitor.catalog import manifest
from monitor.catalog.metadata import Details
from monitor.commands import output
from monitor.commands.client import ApiError, Client, connect
from monitor.errors import AirtraceError, AudioError
from monitor.settings import Settings

# In a directory, only files with these endings are tried; a file that is named outright always is.
_SUFFIXES = (
    ".aac .aax .ac3 .aif .aiff .amr .ape .au .caf .dsf .flac .g722 .gsm .m4a .m4b .m4p .mka .mp2 .mp3 .mp4 .mpc .oga "
    ".ogg .opus .ra .rf64 .snd .spx .tta .voc .w64 .wav .webm .weba .wma .wv"
)
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
COLUMNS = ("file", "row", "status", "track", "duration_s", "reason", "error")


@dataclass(frozen=True, slots=True)
class FileToAdd:
    """A file to register, with what a manifest's row says of it, or why it cannot be."""

    path: Path
    row: int | None = None
    details: Details | None = None
    reason: str | None = None
    error: str | None = None


async def add(
    settings: Settings,
    paths: Sequence[Path],
    *,
    manifest_path: Path | None = None,
    encoding: str = "utf-8",
    report: Path | None = None,
    as_json: bool,
) -> int:
    """Registers files, directories and what a manifest names; the exit code is 1 when any could not be used."""
    wanted = [*_of_manifest(manifest_path, encoding), *_of_paths(paths)]
    rows: list[dict[str, Any]] = []
    with _reported(report) as reported, output.steps(len(wanted), quiet=as_json, unit="x real time") as shown:
        intake = _Intake(settings, shown, reported, rows)
        for each in wanted:
            if each.reason is not None:
                intake.done(_failed(each, each.error or "", each.reason))
        usable = [each for each in wanted if each.reason is None]
        if usable:
            async with connect(settings) as client:
                shown.start()
                await intake.register(client, usable)
    order = {(each.path, each.row): place for place, each in enumerate(wanted)}
    rows.sort(key=lambda row: order[(row.pop("path"), row["row"])])
    _say(rows, as_json=as_json)
    return 1 if any(row["status"] == "failed" for row in rows) or not rows else 0


class _Intake:
    """Registers files, as many at once as there are cores to decode them."""

    def __init__(
        self, settings: Settings, shown: output.Steps, report: _Report | None, rows: list[dict[str, Any]]
    ) -> None:
        self._max_bytes = settings.api.max_upload_mb * 1_000_000
        self._shown = shown
        self._report = report
        self._rows = rows

    def done(self, row: dict[str, Any]) -> None:
        """Shows and reports what became of one file."""
        path: Path = row["path"]
        if row["status"] == "failed":  # by its whole path: there may be many of the name
            self._shown.failed(f"{path}: {str(row['error']).removeprefix(f'{path.name}: ')}")
        else:
            self._shown.done(f"{row['status']} {path.name}", row["duration_s"] if row["status"] == "added" else 0.0)
        self._rows.append(row)
        if self._report is not None:
            self._report.write(row)

    async def register(self, client: Client, wanted: Sequence[FileToAdd]) -> None:
        """A row for each, as they come; what a manifest says of audio that is known already is set last."""
        at_once = asyncio.Semaphore(min(4, os.cpu_count() or 1))
        answers: dict[int, dict[str, Any]] = {}

        async def one(place: int, each: FileToAdd) -> None:
            async with at_once:
                try:
                    answers[place] = answer = await self._send(client, each)
                except _NotUsable as error:
                    self.done(_failed(each, str(error), error.reason))
                    return
            if each.details is None or not answer["known"]:
                self.done(_row(each, "known" if answer["known"] else "added", answer["track"]))

        async with asyncio.TaskGroup() as group:
            for place, each in enumerate(wanted):
                group.create_task(one(place, each), name=f"add {each.path.name}")
        first: dict[int, int] = {}  # by track, the row whose word counts
        for place, answer in sorted(answers.items()):
            each, number = wanted[place], answer["track"]["id"]
            other = first.setdefault(number, place)
            if each.details is None or not answer["known"]:
                continue
            if other != place:
                told = f"{each.path.name}: the same audio as {wanted[other].path.name}, which counts"
                self.done({**_row(each, "known", answer["track"]), "reason": "duplicate_audio", "error": told})
            else:
                self.done(await self._told(client, each, answer))

    async def _send(self, client: Client, each: FileToAdd) -> dict[str, Any]:
        said = each.details.model_dump(mode="json", exclude_unset=True) if each.details is not None else {}
        if "territories" in said:
            said["territories"] = " ".join(said["territories"])
        if "fields" in said:
            said["fields"] = orjson.dumps(said["fields"]).decode()
        data = {**{name: value for name, value in said.items() if value}, "source": output.utf8_safe(str(each.path))}
        try:
            with each.path.open("rb") as file:
                steady = UnchangedFile(file, each.path.name, self._max_bytes)
                files = {"file": (output.utf8_safe(each.path.name), steady)}
                answer: dict[str, Any] = await client.post("/tracks", files=files, data=data)
                return answer
        except ApiError as error:
            if error.exit_code == 4:
                raise
            raise _NotUsable(error.problem.get("reason"), str(error)) from error
        except AudioError as error:
            raise _NotUsable(error.reason, str(error)) from error
        except OSError as error:
            raise _NotUsable("unreadable", f"{each.path.name}: {error.strerror}") from error

    async def _told(self, client: Client, each: FileToAdd, answer: dict[str, Any]) -> dict[str, Any]:
        """Audio that was known gets what the manifest says of it now."""
        track, details = answer["track"], each.details
        assert details is not None  # noqa: S101 - only a manifest's rows come here
        said = {name: value for name, value in details.model_dump(mode="json", exclude_unset=True).items() if value}
        if all(track[name] == value for name, value in said.items()):
            return _row(each, "known", track)
        try:
            return _row(each, "updated", await client.patch(f"/tracks/{track['id']}", json=said))
        except ApiError as error:
            if error.exit_code == 4:
                raise
            return _failed(each, str(error), error.problem.get("reason"))


class _NotUsable(AirtraceError):
    """A file that fails its own row."""

    def __init__(self, reason: str | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnchangedFile(io.RawIOBase):
    """A file as long as it was when it was opened; it fails if it is another by its end, and nothing is registered."""

    def __init__(self, file: io.BufferedReader, name: str, max_bytes: int) -> None:
        """Raises AudioError where it is too large to be taken, or no file at all."""
        self._file = file
        self._name = name
        self._before = os.fstat(file.fileno())
        self._left = self._before.st_size
        if self._left > max_bytes:
            max_mb = max_bytes // 1_000_000
            raise AudioError("too_large", f"{name}: at most {max_mb} MB are taken; raise api.max_upload_mb for more")

    # No fileno(): by that its length would be looked up anew, which may be another by then.

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._before.st_size - self._left

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = self._file.seek(self._before.st_size if whence == os.SEEK_END else offset)
        self._left = self._before.st_size - at
        return at

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        now = os.fstat(self._file.fileno())
        if (not data and self._left) or (now.st_size, now.st_mtime_ns) != (
            self._before.st_size,
            self._before.st_mtime_ns,
        ):
            raise AudioError("changed", f"{self._name}: it changed while it was read; add it again when it is whole")
        return data


class _Report:
    """A file with a row for each, written as they come: CSV, or JSON by its name."""

    def __init__(self, path: Path, file: io.TextIOBase) -> None:
        self._file = file
        self._is_json = path.suffix.lower() == ".json"
        self._csv = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        self._n_rows = 0
        if self._is_json:
            file.write("[")
        else:
            self._csv.writeheader()

    def write(self, row: dict[str, Any]) -> None:
        if self._is_json:
            shown = {name: row[name] for name in COLUMNS}
            self._file.write(("," if self._n_rows else "") + "\n" + orjson.dumps(shown).decode())
        else:
            self._csv.writerow(row)
        self._n_rows += 1
        self._file.flush()

    def end(self) -> None:
        if self._is_json:
            self._file.write("\n]\n")


@contextmanager
def _reported(path: Path | None) -> Iterator[_Report | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise AirtraceError(f"the report {path} cannot be written ({error.strerror})") from error
    with file:
        report = _Report(path, file)
        try:
            yield report
        finally:
            report.end()


def _of_manifest(path: Path | None, encoding: str) -> Iterator[FileToAdd]:
    if path is None:
        return
    try:
        rows = manifest.read(path, encoding)
    except manifest.ManifestError as error:
        yield FileToAdd(path, None, None, error.reason, str(error))
        return
    for row in rows:
        yield FileToAdd(row.path, row.number, row.details, row.reason, row.error)


def _of_paths(paths: Sequence[Path]) -> Iterator[FileToAdd]:
    """Every file that is meant, each once, and every path that is not there."""
    seen: set[Path] = set()
    for path in paths:
        for each in _below(path) if path.is_dir() else [_named(path)]:
            if each.path not in seen:
                seen.add(each.path)
                yield each


def _named(path: Path) -> FileToAdd:
    if path.exists():
        return FileToAdd(path.absolute())
    return FileToAdd(path.absolute(), reason="missing", error=f"{path.name}: there is no such file or directory")


def _below(folder: Path) -> Iterator[FileToAdd]:
    """What is there at the moment; a directory that cannot be read is a row, not the end."""
    failed: list[OSError] = []
    for where, folders, names in os.walk(folder.absolute(), onerror=failed.append):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and (path.is_file() or path.is_symlink()):
                yield FileToAdd(path)
    for error in failed:
        path = Path(error.filename)
        yield FileToAdd(path, reason="unreadable", error=f"{path.name}: {error.strerror}")


def _failed(each: FileToAdd, error: str, reason: str | None) -> dict[str, Any]:
    return {**_row(each, "failed", None), "reason": reason, "error": output.utf8_safe(error)}


def _row(each: FileToAdd, status: str, track: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "path": each.path,
        "file": output.utf8_safe(str(each.path)),
        "row": each.row,
        "status": status,
        "track": track["id"] if track else None,
        "duration_s": track["duration_s"] if track else None,
        "reason": None,
        "error": None,
    }


def _say(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.as_json(rows)
        return
    if not rows:
        raise AirtraceError("no audio files there: name files, or a directory that has some")
    output.print_summary(rows)
