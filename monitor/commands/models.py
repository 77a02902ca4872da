"""`airtrace models`: which models there are, whether their files are here and whole, and how they come here."""

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
from monitor.detect.checkpoints import CHECKPOINTS, Checkpoint, State, by_hand, digests, state
from monitor.detect.download import fetch as download
from monitor.errors import SettingsError
from monitor.settings import PannsSettings, Settings

LINE_EVERY_S = 10.0  # of progress, where there is no terminal
NEXT: dict[State, str] = {
    "missing": "airtrace models fetch {name}",
    "incomplete": "delete it, then airtrace models fetch {name}",
    "wrong": "delete it, then airtrace models fetch {name}",
    "valid": "",
}


async def list_(settings: Settings, *, as_json: bool) -> int:
    """Prints every model with its file; the exit code is 1 when a file that is there is not what it should be."""
    rows = [_built_in(), *(_published(settings, each) for each in CHECKPOINTS.values())]
    if settings.panns.checkpoint is not None:
        rows.append(_own(settings.panns, settings.panns.checkpoint))
    if as_json:
        output.as_json({"panns": _use(settings), "models": rows})
    else:
        columns = ("model", "what it is for", "state", "file", "bytes", "md5", "next")
        output.table(columns, [[row[column] for column in COLUMNS] for row in rows], "")
        output.print_status(f"panns: {_use(settings)}")
    return 1 if any(row["state"] in ("wrong", "incomplete") for row in rows) else 0


async def fetch(settings: Settings, name: str, url: str | None, *, how: bool) -> int:
    """Downloads a model's file, or goes on with it; or says what to put where."""
    published = CHECKPOINTS[name]
    path = published.within(settings.home)
    if how:
        print(by_hand(published, path))
        return 0
    found = state(published, path)
    if found == "valid":
        output.print_status(f"{path} is there, and whole")
        return 0
    if found != "missing":
        raise SettingsError(f"{path} is not the file that was published: delete it or put it elsewhere, then try again")
    try:
        with _progress(published) as shown:
            await download(published, path, url or published.url, shown)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):  # the command line has words for it
            raise
        raise SettingsError(f"{path} cannot be written ({error.strerror}): choose another home") from error
    output.print_status(f"{path}: {published.size_bytes:,} bytes, md5 as published")
    if not panns.is_installed():
        output.print_status(f"to use it: {panns.INSTALL}")
    return 0


COLUMNS = ("name", "purpose", "state", "file", "bytes", "md5", "next")


def _built_in() -> dict[str, Any]:
    card = fingerprint.read_card()
    path = fingerprint.WEIGHTS / fingerprint.NETWORK_NAME
    network = fingerprint.checked_network(fingerprint.WEIGHTS, card)
    purpose = "the fingerprint: this recording (see airtrace model info)"
    with path.open("rb") as file:
        return _row("fingerprint", purpose, "valid", path, len(network), digests(file).md5)


def _published(settings: Settings, each: Checkpoint) -> dict[str, Any]:
    path = each.within(settings.home)
    found = state(each, path)
    purpose = f"PANNs Cnn14 at {each.rate_hz // 1000} kHz: sounds like this"
    row = _row(each.name, purpose, found, path, each.size_bytes, each.md5)
    part = path.with_name(path.name + ".part")
    if found == "missing" and part.exists():
        row["state"] = f"missing; {part.stat().st_size:,} bytes of it are fetched"
    row["next"] = NEXT[found].format(name=each.name)
    return row


def _own(settings: PannsSettings, path: Path) -> dict[str, Any]:
    """The checkpoint that the settings name; nobody has published what it should be."""
    try:
        with path.open("rb") as file:
            size, md5 = path.stat().st_size, digests(file).md5
    except OSError as error:
        row = _row("own", f"in place of {settings.model}", "missing", path, None, None)
        return row | {"next": f"{error.strerror}: set panns.checkpoint"}
    return _row("own", f"in place of {settings.model}", "there", path, size, md5)


def _row(name: str, purpose: str, state: str, path: Path, size: int | None, md5: str | None) -> dict[str, Any]:
    file = output.utf8_safe(str(path))
    return {"name": name, "purpose": purpose, "state": state, "file": file, "bytes": size, "md5": md5, "next": ""}


def _use(settings: Settings) -> str:
    """Whether PANNs is going to be used."""
    chosen = settings.panns
    if not chosen.enabled:
        return "off: panns.enabled is off"
    published = CHECKPOINTS[chosen.model]
    path = chosen.checkpoint or published.within(settings.home)
    reason = panns.unavailable_reason(published, path)
    return f"on, with {path}" if reason is None else f"off: {reason}"


@contextmanager
def _progress(published: Checkpoint) -> Iterator[Callable[[int], None]]:
    """Takes the bytes that are there: a bar on a terminal, a line now and then elsewhere."""
    err = output.console(stderr=True)
    total = published.size_bytes
    if err.is_terminal:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda have: bar.update(task, completed=have)
        return
    said_s = 0.0

    def line(have: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= LINE_EVERY_S:
            said_s = time.monotonic()
            output.print_status(f"{published.file_name}: {have:,} of {total:,} bytes ({have / total:.0%})")

    yield line
