"""`airtrace evaluate`: scores what Airtrace finds in recordings, or what any system has found, against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.commands import output
from monitor.commands.add_tracks import AUDIO_SUFFIXES
from monitor.commands.scan import reported, scan_all
from monitor.errors import AudioError
from monitor.evaluation import files as tables
from monitor.evaluation.durations import duration_s
from monitor.evaluation.errors import EvaluationError
from monitor.evaluation.plays import Result
from monitor.evaluation.report import as_json as values_of
from monitor.evaluation.report import as_text
from monitor.evaluation.score import NO_FAMILIES, check_recordings, score
from monitor.settings import Settings


@dataclass(frozen=True, slots=True)
class Known:
    """Lengths of the recordings that could be used by their names, what was reported in them, why others could not."""

    durations_s: dict[str, float]
    results: list[Result]
    errors: dict[str, str]


async def evaluate(
    settings: Settings,
    recordings: Sequence[Path],
    truth: Path,
    *,
    results: Path | None,
    families: Path | None,
    as_json: bool,
) -> int:
    """Prints the report; scans the recordings unless there are results.

    The exit code is 1 when any recording could not be used: it is then left out.

    Raises:
        EvaluationError: tables and recordings do not fit together.
    """
    played = tables.read_truth(truth)
    of_family = tables.read_families(families) if families else NO_FAMILIES
    paths = _recordings(recordings)
    tables.check_names(paths)
    check_recordings("truth", played, {output.utf8_safe(path.name) for path in paths})
    if results is None:
        known = await _scanned(settings, paths, quiet=as_json)
    else:
        known = await _given(paths, results, quiet=as_json)
    played = [play for play in played if play.recording in known.durations_s]
    report = score(played, known.results, known.durations_s, of_family)
    if as_json:
        output.as_json(values_of(report) | {"left_out": known.errors})
        return 1 if known.errors else 0
    for line in as_text(report).splitlines():
        print(output.printable(line))
    if known.errors:
        print(f"left out: {len(known.errors)} of {len(paths)} recordings could not be used")
    return 1 if known.errors else 0


async def _scanned(settings: Settings, paths: Sequence[Path], *, quiet: bool) -> Known:
    known = Known({}, [], {})
    for path, each in zip(paths, await scan_all(settings, paths, quiet=quiet), strict=True):
        name = output.utf8_safe(path.name)
        if each["error"]:
            known.errors[name] = each["error"]
        else:
            known.durations_s[name] = each["duration_s"]
            known.results.extend(reported(each))
    return known


async def _given(paths: Sequence[Path], results: Path, *, quiet: bool) -> Known:
    given = tables.read_results(results)
    check_recordings("results", given, {output.utf8_safe(path.name) for path in paths})
    known = Known({}, [], {})
    with output.steps(len(paths), quiet=quiet) as shown:
        for path in paths:
            name = output.utf8_safe(path.name)
            shown.note(name)
            try:
                known.durations_s[name] = await duration_s(path)
            except AudioError as error:
                known.errors[name] = output.utf8_safe(str(error))
                shown.failed(f"{path}: {known.errors[name].removeprefix(f'{name}: ')}")
    known.results.extend(result for result in given if result.recording in known.durations_s)
    return known


def _recordings(paths: Sequence[Path]) -> list[Path]:
    """Every file that is meant; of directories what has an ending of audio."""
    found = list(dict.fromkeys(file.absolute() for path in paths for file in _below(path)))
    if not found:
        raise EvaluationError("no recordings there: name files, or a directory that has some")
    return found


def _below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
            yield file
