"""`airtrace evaluate`: scores the plays that Airtrace, or any other system, finds in recordings against the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.commands import output
from monitor.commands.client import Client, connect
from monitor.commands.matching.scan import reported, scan_all, track_name
from monitor.commands.tracks.files import AUDIO_SUFFIXES
from monitor.errors import AudioError
from monitor.evaluation import files as tables
from monitor.evaluation.durations import duration_s
from monitor.evaluation.errors import EvaluationError
from monitor.evaluation.plays import Result, Truth
from monitor.evaluation.report import as_json as values_of
from monitor.evaluation.report import as_text
from monitor.evaluation.score import NO_FAMILIES, check_recordings, score
from monitor.settings import Settings

PAGE_TRACKS = 10_000
MAX_NAMED = 3  # tracks that a warning names


@dataclass(frozen=True, slots=True)
class Scanned:
    """The lengths of the usable recordings by their names, the plays reported in them, and the errors of the others.

    tracks: names of the tracks that can be reported: the catalog's, or those in the table of results.
    """

    durations_s: dict[str, float]
    results: list[Result]
    errors: dict[str, str]
    tracks: set[str]


async def evaluate(
    settings: Settings,
    recordings: Sequence[Path],
    truth: Path,
    *,
    results: Path | None,
    families: Path | None,
    as_json: bool,
) -> int:
    """Prints the report; scans the recordings unless results are given.

    The exit code is 1 if any recording was left out because it could not be used.

    Raises:
        EvaluationError: the tables name recordings that are not given, or there are no recordings.
    """
    played = tables.read_truth(truth)
    of_family = tables.read_families(families) if families else NO_FAMILIES
    paths = _recordings(recordings)
    tables.check_names(paths)
    check_recordings("truth", played, {output.utf8_safe(path.name) for path in paths})
    if results is None:
        scanned = await _scan(settings, paths, quiet=as_json)
    else:
        scanned = await _read_results(paths, results, quiet=as_json)
    warnings = _unknown_tracks(truth, results, played, scanned.tracks, of_family)
    played = [play for play in played if play.recording in scanned.durations_s]
    report = score(played, scanned.results, scanned.durations_s, of_family)
    if as_json:
        output.as_json(values_of(report) | {"left_out": scanned.errors, "warnings": warnings})
        return 1 if scanned.errors else 0
    for warning in warnings:
        output.print_status(f"warning: {warning}")
    for line in as_text(report).splitlines():
        print(output.printable(line))
    if scanned.errors:
        print(f"left out: {len(scanned.errors)} of {len(paths)} recordings could not be used")
    return 1 if scanned.errors else 0


async def _scan(settings: Settings, paths: Sequence[Path], *, quiet: bool) -> Scanned:
    async with connect(settings) as client:
        found = await scan_all(client, paths, quiet=quiet)
        scanned = Scanned({}, [], {}, await _catalog_tracks(client))
    for path, each in zip(paths, found, strict=True):
        name = output.utf8_safe(path.name)
        if each["error"]:
            scanned.errors[name] = each["error"]
        else:
            scanned.durations_s[name] = each["duration_s"]
            scanned.results.extend(reported(each))
    return scanned


async def _read_results(paths: Sequence[Path], results: Path, *, quiet: bool) -> Scanned:
    given = tables.read_results(results)
    check_recordings("results", given, {output.utf8_safe(path.name) for path in paths})
    scanned = Scanned({}, [], {}, {result.track for result in given})
    with output.steps(len(paths), quiet=quiet) as shown:
        for path in paths:
            name = output.utf8_safe(path.name)
            shown.note(name)
            try:
                scanned.durations_s[name] = await duration_s(path)
            except AudioError as error:
                scanned.errors[name] = output.utf8_safe(str(error))
                shown.failed(f"{path}: {scanned.errors[name].removeprefix(f'{name}: ')}")
    scanned.results.extend(result for result in given if result.recording in scanned.durations_s)
    return scanned


async def _catalog_tracks(client: Client) -> set[str]:
    """The names of all tracks in the catalog."""
    names: set[str] = set()
    offset = 0
    while page := await client.get("/tracks", limit=PAGE_TRACKS, offset=offset):
        names.update(track_name(track) for track in page)
        offset += len(page)
    return names


def _unknown_tracks(
    truth: Path, results: Path | None, played: Sequence[Truth], known: Collection[str], families: Mapping[str, str]
) -> list[str]:
    """A warning if the truth names tracks that nothing can match: neither they nor their families are known."""
    matching = {families.get(name, name) for name in known}
    unknown = sorted({play.track for play in played if families.get(play.track, play.track) not in matching})
    if not unknown:
        return []
    more = f" (+{len(unknown) - MAX_NAMED} more)" if len(unknown) > MAX_NAMED else ""
    where = "in the catalog" if results is None else f"in {results.name}"
    names = f"{', '.join(unknown[:MAX_NAMED])}{more}"
    return [
        f"{truth.name} names tracks that are not {where}: {names}; "
        "use file names as `airtrace scan --results` writes them"
    ]


def _recordings(paths: Sequence[Path]) -> list[Path]:
    """Every file that is named, and every audio file in a directory that is named."""
    found = list(dict.fromkeys(file.absolute() for path in paths for file in _below(path)))
    if not found:
        raise EvaluationError("no recordings found: give files, or a directory that contains some")
    return found


def _below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
            yield file
