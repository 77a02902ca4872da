"""`airtrace models`: lists the models and the state of their files, and downloads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from monitor.commands import output
from monitor.detect import fingerprint, panns
from monitor.detect.checkpoints import CHECKPOINTS, Checkpoint, State, digests, manual_instructions, state
from monitor.detect.download import fetch as download
from monitor.errors import SettingsError
from monitor.settings import PannsSettings, Settings

LINE_INTERVAL_S = 10.0  # between lines of progress, without a terminal
NEXT_STEP: dict[State, str] = {
    "missing": "airtrace models fetch {name}",
    "incomplete": "delete it, then airtrace models fetch {name}",
    "wrong": "delete it, then airtrace models fetch {name}",
    "valid": "",
}


async def list_(settings: Settings, *, as_json: bool) -> int:
    """Prints every model with its file; the exit code is 1 if a file is damaged or incomplete."""
    rows = [_built_in(), *(_published(settings, each) for each in CHECKPOINTS.values())]
    if settings.panns.checkpoint is not None:
        rows.append(_own(settings.panns, settings.panns.checkpoint))
    if as_json:
        output.as_json({"panns": _use(settings), "models": rows})
    else:
        columns = ("model", "purpose", "state", "file", "bytes", "md5", "next step")
        output.table(columns, [[row[column] for column in COLUMNS] for row in rows], "")
        output.print_status(f"panns: {_use(settings)}")
    return 1 if any(row["state"] in ("wrong", "incomplete") for row in rows) else 0


async def fetch(settings: Settings, name: str, url: str | None, *, how: bool) -> int:
    """Downloads a model's file, resuming an interrupted download; or, with `how`, prints how to install it by hand.

    Raises:
        SettingsError: another file is in its place, or the file cannot be written.
    """
    published = CHECKPOINTS[name]
    path = published.within(settings.home)
    if how:
        print(manual_instructions(published, path))
        return 0
    found = state(published, path)
    if found == "valid":
        output.print_status(f"{path} is present and intact")
        return 0
    if found != "missing":
        raise SettingsError(f"{path} is not the published file: delete or move it, then retry")
    try:
        with _progress(published) as shown:
            await download(published, path, url or published.url, shown)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):  # reported by the command line
            raise
        raise SettingsError(f"cannot write {path} ({error.strerror}): choose another home") from error
    output.print_status(f"downloaded {path}: {published.size_bytes:,} bytes, checksum verified")
    if not panns.is_installed():
        output.print_status(f"to use it: {panns.INSTALL}")
    return 0


COLUMNS = ("name", "purpose", "state", "file", "bytes", "md5", "next")


def _built_in() -> dict[str, Any]:
    card = fingerprint.read_card()
    path = fingerprint.WEIGHTS / fingerprint.NETWORK_NAME
    network = fingerprint.checked_network(fingerprint.WEIGHTS, card)
    purpose = "fingerprint: identifies recordings (see airtrace model info)"
    with path.open("rb") as file:
        return _row("fingerprint", purpose, "valid", path, len(network), digests(file).md5)


def _published(settings: Settings, each: Checkpoint) -> dict[str, Any]:
    path = each.within(settings.home)
    found = state(each, path)
    purpose = f"PANNs Cnn14 at {each.rate_hz // 1000} kHz: finds similar sounds"
    row = _row(each.name, purpose, found, path, each.size_bytes, each.md5)
    part = path.with_name(path.name + ".part")
    if found == "missing" and part.exists():
        row["state"] = f"missing; {part.stat().st_size:,} bytes downloaded"
    row["next"] = NEXT_STEP[found].format(name=each.name)
    return row


def _own(settings: PannsSettings, path: Path) -> dict[str, Any]:
    """The checkpoint that the settings name, which has no published checksum."""
    try:
        with path.open("rb") as file:
            size, md5 = path.stat().st_size, digests(file).md5
    except OSError as error:
        row = _row("own", f"replaces {settings.model}", "missing", path, None, None)
        return row | {"next": f"{error.strerror}: set panns.checkpoint"}
    return _row("own", f"replaces {settings.model}", "present", path, size, md5)


def _row(name: str, purpose: str, state: str, path: Path, size: int | None, md5: str | None) -> dict[str, Any]:
    file = output.utf8_safe(str(path))
    return {"name": name, "purpose": purpose, "state": state, "file": file, "bytes": size, "md5": md5, "next": ""}


def _use(settings: Settings) -> str:
    """Whether PANNs is used, and if not, why."""
    chosen = settings.panns
    if not chosen.enabled:
        return "off: panns.enabled is false"
    published = CHECKPOINTS[chosen.model]
    path = chosen.checkpoint or published.within(settings.home)
    reason = panns.unavailable_reason(published, path)
    return f"on, with {path}" if reason is None else f"off: {reason}"


@contextmanager
def _progress(published: Checkpoint) -> Iterator[Callable[[int], None]]:
    """A function that shows the number of bytes downloaded: as a bar on a terminal, otherwise as an occasional line."""
    err = output.console(stderr=True)
    total = published.size_bytes
    if err.is_terminal:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda have: bar.update(task, completed=have)
        return
    shown_s = 0.0

    def line(have: int) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= LINE_INTERVAL_S:
            shown_s = time.monotonic()
            output.print_status(f"{published.file_name}: {have:,} of {total:,} bytes ({have / total:.0%})")

    yield line
