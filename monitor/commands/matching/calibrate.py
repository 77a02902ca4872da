"""`airtrace calibrate`: sets the detection threshold from recordings that contain no catalog track."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monitor.commands import output
from monitor.commands.client import ApiError, Client, connect
from monitor.errors import Conflict
from monitor.settings import Settings

# The false match rate grows with the catalog: unknown audio resembles more of it.
MAX_GROWTH = 1.5
MAX_SHOWN = 5  # of the largest peaks, which matter most: someone should check what they are
COLUMNS = ("file", "at", "length", "track", "llr")


async def calibrate(settings: Settings, files: Sequence[Path], *, rate: float, dry_run: bool, as_json: bool) -> int:
    """Sets the threshold at which `rate` false matches per 1,000 stream-hours are expected; `dry_run` only prints it.

    The exit code is 1 if any file was left out because it could not be used.

    Raises:
        Conflict: the catalog is empty.
        ApiError: the recordings contain too little audio.
    """
    async with connect(settings) as client:
        if not (await client.get("/calibration"))["tracks"]:
            raise Conflict("the catalog is empty, so nothing can match: add tracks first (airtrace tracks add FILE...)")
        recordings, errors = await _measure_all(client, files, quiet=as_json)
        request = {"rate_per_1000_h": rate, "recordings": recordings, "dry_run": dry_run}
        made = await client.put("/calibration", json=request)
    if as_json:
        output.as_json(made | {"errors": errors})
    else:
        _print(made, dry_run=dry_run)
    return 1 if errors else 0


async def show(settings: Settings, *, as_json: bool) -> int:
    """Prints the threshold in force and where it comes from."""
    async with connect(settings) as client:
        found = await client.get("/calibration")
    if as_json:
        output.as_json(found)
    else:
        for line in _shown(found):
            print(line)
    return 0


async def reset(settings: Settings) -> int:
    """Restores the detector's default threshold."""
    async with connect(settings) as client:
        await client.delete("/calibration")
        found = await client.get("/calibration")
    output.print_status(f"in force: threshold (llr) {found['open_llr']:.1f}, the detector's default")
    return 0


async def _measure_all(
    client: Client, files: Sequence[Path], *, quiet: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The peaks of each usable file, and the errors of the others; shows progress unless quiet."""
    measured: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    with output.steps(len(files), quiet=quiet) as shown:
        for path in files:
            name = output.utf8_safe(str(path))
            try:
                measured.append(await _measure_one(client, path, shown) | {"file": name})
                shown.done(
                    f"{path.name}: {len(measured[-1]['peaks'])} peaks in {output.minutes(measured[-1]['sound_s'])}"
                )
            except ApiError as error:
                if error.is_unavailable:
                    raise
                errors[name] = str(error)
            except OSError as error:
                errors[name] = output.utf8_safe(f"{path.name}: {error.strerror}")
            if name in errors:
                shown.failed(f"{path}: {errors[name].removeprefix(f'{path.name}: ')}")
    return measured, errors


async def _measure_one(client: Client, path: Path, shown: output.Steps) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    with path.open("rb") as file:
        async for line in client.lines("/calibrate", files={"file": (output.utf8_safe(path.name), file)}):
            if "done_s" in line:
                shown.note(f"{path.name}: {output.minutes(line['done_s'])} scanned")
            else:
                measured = line
    return measured


def _print(made: dict[str, Any], *, dry_run: bool) -> None:
    calibration, expected, previous = made["calibration"], made["expected"], made["previous"]
    print(_basis(calibration))
    print(_fitted(calibration))
    if calibration["open_llr"] > calibration["fitted"]["value"]:
        print(f"below the minimum, so the threshold is {calibration['open_llr']:.1f}, half the detector's default")
    print(f"expected false matches per 1,000 h: {_rate(expected)} at {expected['open_llr']:.1f}, ", end="")
    print(f"{_rate(previous)} at the previous threshold of {previous['open_llr']:.1f}")
    print("dry run: nothing changed" if dry_run else f"in force: threshold (llr) {_threshold(calibration)}")
    if made["heavy_tail"]:
        output.print_status(
            "warning: the largest peaks spread more than the fit assumes, so false matches will be more frequent"
        )
    print("largest peaks; leave out a recording if its peak is a catalog track or another version of one:")
    output.table(COLUMNS, list(_rows(made["largest_peaks"][:MAX_SHOWN])), "")
    if made["catalog_plays"]:
        output.print_status(
            f"ignored {len(made['catalog_plays'])} plays of catalog tracks, and the audio that overlaps them"
        )
        output.table(COLUMNS, list(_rows(made["catalog_plays"])), "")


def _shown(found: dict[str, Any]) -> Iterator[str]:
    calibration, open_llr = found["calibration"], found["open_llr"]
    if calibration is None and open_llr == found["default"]:
        yield f"in force: threshold (llr) {open_llr:.1f}, the detector's default; not calibrated"
        return
    if calibration is None or calibration["open_llr"] != open_llr:
        then = "the detector's default" if calibration is None else _threshold(calibration)
        yield f"in force: threshold (llr) {open_llr:.1f} until airtrace is restarted, then {then}"
    else:
        yield f"in force: threshold (llr) {_threshold(calibration)} (the detector's default: {found['default']:.1f})"
    if calibration is not None:
        yield f"calibrated at {output.clock(calibration['made_at'])} UTC, with {calibration['tracks']} catalog tracks"
        yield _basis(calibration)
        yield _fitted(calibration)
        if found["tracks"] > MAX_GROWTH * calibration["tracks"]:
            yield f"the catalog has grown to {found['tracks']} tracks, which raises the rate: calibrate again"


def _basis(calibration: dict[str, Any]) -> str:
    return (
        f"{calibration['sound_s'] / 3600:.1f} h of sound, {calibration['peaks']} peaks; "
        f"the {calibration['tail_peaks']} largest exceed {calibration['tail_level']:.1f} "
        f"by {calibration['mean_excess']:.2f} on average"
    )


def _fitted(calibration: dict[str, Any]) -> str:
    fitted, rate = calibration["fitted"], calibration["rate_per_1000_h"]
    return (
        f"for {rate:g} false match{'es' if rate != 1 else ''} per 1,000 h: threshold (llr) {fitted['value']:.1f} "
        f"(95 %: {fitted['low']:.1f} to {fitted['high']:.1f})"
    )


def _rate(expected: dict[str, Any]) -> str:
    rate = expected["rate_per_1000_h"]
    return f"{rate['value']:.2g} ({rate['low']:.2g} to {rate['high']:.2g})"


def _threshold(calibration: dict[str, Any]) -> str:
    return f"{calibration['open_llr']:.1f}"


def _rows(places: Sequence[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for place in places:
        title = place["track"]["title"] if place["track"] else "(deleted)"
        length = output.minutes(place["end_s"] - place["start_s"])
        yield place["file"], output.minutes(place["start_s"]), length, title, f"{place['llr']:.1f}"
