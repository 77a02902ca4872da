"""`airtrace calibrate`: how much evidence a play needs, by recordings that have nothing of the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monitor.commands import output
from monitor.commands.client import ApiError, Client, connect
from monitor.errors import Conflict
from monitor.settings import Settings

# A larger catalog has more that unknown audio may be like: the rate grows with it.
GROWN_TIMES = 1.5
LARGEST = 5  # they decide most, so one should know what they are
COLUMNS = ("file", "at", "length", "track", "llr")


async def calibrate(settings: Settings, files: Sequence[Path], *, rate: float, dry_run: bool, as_json: bool) -> int:
    """Sets the threshold for so many false plays per 1,000 hours, unless it is only tried.

    The exit code is 1 when any file could not be used: it is then left out.

    Raises:
        Conflict: the catalog is empty.
        Refused: too little was heard.
    """
    async with connect(settings) as client:
        if not (await client.get("/calibration"))["tracks"]:
            raise Conflict("the catalog is empty, so nothing can be taken for a play: airtrace tracks add FILE...")
        heard, errors = await _hear_all(client, files, quiet=as_json)
        wanted = {"rate_per_1000_h": rate, "recordings": heard, "dry_run": dry_run}
        made = await client.put("/calibration", json=wanted)
    if as_json:
        output.as_json(made | {"errors": errors})
    else:
        _print(made, dry_run=dry_run)
    return 1 if errors else 0


async def show(settings: Settings, *, as_json: bool) -> int:
    """Prints what is in force, and where it comes from."""
    async with connect(settings) as client:
        found = await client.get("/calibration")
    if as_json:
        output.as_json(found)
    else:
        for line in _shown(found):
            print(line)
    return 0


async def reset(settings: Settings) -> int:
    """Goes back to the detector's own threshold."""
    async with connect(settings) as client:
        await client.delete("/calibration")
        found = await client.get("/calibration")
    output.print_status(f"a play needs an evidence of {found['open_llr']:.1f}, as the detector has it")
    return 0


async def _hear_all(
    client: Client, files: Sequence[Path], *, quiet: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What each file says, and why others could not be used; shows progress unless quiet."""
    heard: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    with output.steps(len(files), quiet=quiet) as shown:
        for path in files:
            name = output.utf8_safe(str(path))
            try:
                heard.append(await _hear_one(client, path, shown) | {"file": name})
                shown.done(f"{path.name}: {len(heard[-1]['peaks'])} peaks in {output.minutes(heard[-1]['sound_s'])}")
            except ApiError as error:
                if error.exit_code == 4:
                    raise
                errors[name] = str(error)
            except OSError as error:
                errors[name] = output.utf8_safe(f"{path.name}: {error.strerror}")
            if name in errors:
                shown.failed(f"{path}: {errors[name].removeprefix(f'{path.name}: ')}")
    return heard, errors


async def _hear_one(client: Client, path: Path, shown: output.Steps) -> dict[str, Any]:
    heard: dict[str, Any] = {}
    with path.open("rb") as file:
        async for line in client.lines("/calibrate", files={"file": (output.utf8_safe(path.name), file)}):
            if "done_s" in line:
                shown.note(f"{path.name}: {output.minutes(line['done_s'])} heard")
            else:
                heard = line
    return heard


def _print(made: dict[str, Any], *, dry_run: bool) -> None:
    calibration, expected, before = made["calibration"], made["expected"], made["before"]
    print(_basis(calibration))
    print(_fitted(calibration))
    if calibration["open_llr"] > calibration["fitted"]["value"]:
        print(f"that is less than is allowed: it is set to {calibration['open_llr']:.1f}, half the detector's own")
    print(f"expected per 1,000 h: {_rate(expected)} at {expected['open_llr']:.1f}, ", end="")
    print(f"{_rate(before)} at {before['open_llr']:.1f}, which was in force")
    print("nothing is changed" if dry_run else f"in force: a play needs an evidence of {_needed(calibration)}")
    if made["heavy_tail"]:
        output.print_status(
            "careful: the largest peaks spread more than the fit allows for, so false plays will be more frequent"
        )
    print("largest peaks; leave out recordings in which they are plays, or of what the catalog has in another version:")
    output.table(COLUMNS, list(_rows(made["largest"][:LARGEST])), "")
    if made["real_plays"]:
        output.print_status(
            f"left out, as plays of the catalog: {len(made['real_plays'])}, with whatever overlaps them"
        )
        output.table(COLUMNS, list(_rows(made["real_plays"])), "")


def _shown(found: dict[str, Any]) -> Iterator[str]:
    calibration, needed = found["calibration"], found["open_llr"]
    if calibration is None and needed == found["default"]:
        yield f"a play needs an evidence of {needed:.1f}, as the detector has it; nothing is calibrated"
        return
    if calibration is None or calibration["open_llr"] != needed:
        now = "the detector's own" if calibration is None else _needed(calibration)
        yield f"a play needs an evidence of {needed:.1f} until airtrace is restarted, then {now}"
    else:
        yield f"a play needs an evidence of {_needed(calibration)} (the detector's own: {found['default']:.1f})"
    if calibration is not None:
        yield f"calibrated on {output.clock(calibration['made_at'])} UTC, {calibration['tracks']} tracks in the catalog"
        yield _basis(calibration)
        yield _fitted(calibration)
        if found["tracks"] > GROWN_TIMES * calibration["tracks"]:
            yield f"the catalog has grown to {found['tracks']} tracks, and false plays with it: calibrate again"


def _basis(calibration: dict[str, Any]) -> str:
    return (
        f"{calibration['sound_s'] / 3600:.1f} h of sound, {calibration['peaks']} peaks; "
        f"the {calibration['tail_peaks']} largest are above {calibration['tail_level']:.1f}, "
        f"by {calibration['mean_excess']:.2f} on average"
    )


def _fitted(calibration: dict[str, Any]) -> str:
    fitted, rate = calibration["fitted"], calibration["rate_per_1000_h"]
    return (
        f"for {rate:g} false play{'s' if rate != 1 else ''} per 1,000 h: evidence {fitted['value']:.1f} "
        f"(95 %: {fitted['low']:.1f} to {fitted['high']:.1f})"
    )


def _rate(expected: dict[str, Any]) -> str:
    rate = expected["rate_per_1000_h"]
    return f"{rate['value']:.2g} ({rate['low']:.2g} to {rate['high']:.2g})"


def _needed(calibration: dict[str, Any]) -> str:
    return f"{calibration['open_llr']:.1f}"


def _rows(places: Sequence[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for place in places:
        title = place["track"]["title"] if place["track"] else "(deleted)"
        length = output.minutes(place["end_s"] - place["start_s"])
        yield place["file"], output.minutes(place["start_s"]), length, title, f"{place['llr']:.1f}"
