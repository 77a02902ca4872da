"""The home: one directory with everything of the embedded mode, used by one process at a time.

home.json      the layout's version        lock       held while a process uses the home
postgres/      the database                run.json   address of the running `airtrace run`, and its pid
milvus.db      the vectors                 spool/     windows on their way
models/        checkpoints that were fetched (monitor/detect/checkpoints.py); full mode reads them here, too
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from monitor.errors import HomeBusy, HomeError, HomeTooNew

LAYOUT = 1
RUN = "run.json"
TAKE_S = 0.2  # `running_at` of another command takes the lock for an instant, to see whether anybody has it


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside a home that this process holds, and whether this process made it."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def milvus(self) -> Path:
        return self.path / "milvus.db"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @contextmanager
    def announced(self, url: str) -> Iterator[None]:
        """Tells other commands, while it lasts, at which address this process serves them."""
        file = self.path / RUN
        _write(file, {"url": url, "pid": os.getpid()})
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Home]:
    """Makes the home if need be and holds it.

    Raises:
        HomeBusy: another process has it.
        HomeTooNew: a newer version made it.
        HomeError: it cannot be made or written.
    """
    with _lock_file(path) as lock:
        _take(lock.fileno(), path)
        with _usable(path, "written"):
            (path / RUN).unlink(missing_ok=True)  # of a process that was killed: nobody is served there any more
            _check_layout(path)
        yield Home(path)


def _lock_file(path: Path) -> TextIO:
    with _usable(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
        return (path / "lock").open("a+")


def running_at(path: Path) -> str | None:
    """Address of the `airtrace run` that has this home, or None when nobody has it.

    Raises:
        HomeBusy: a process that serves nobody has it.
        HomeError: the home cannot be read.
    """
    with _usable(path, "read"):
        try:
            with (path / "lock").open("r+") as lock:
                if not _is_taken(lock.fileno()):
                    return None
        except FileNotFoundError:
            return None
        announced = _announced(path)
    if announced is None:
        raise HomeBusy(_busy(path))
    return str(announced["url"])


def _announced(path: Path) -> dict[str, Any] | None:
    """What a process that serves others says about itself; it is only to be believed while the home is taken."""
    try:
        announced: dict[str, Any] = json.loads((path / RUN).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return announced


def _busy(path: Path) -> str:
    if (running := _announced(path)) is None:
        return (
            f"another airtrace command is using {path}: wait until it is done, "
            "or start `airtrace run`, which serves several"
        )
    return (
        f"another airtrace command (`airtrace run`, process {running.get('pid')}) is using {path}: "
        "stop it first, or choose another home with AIRTRACE_HOME or --home"
    )


def _take(lock: int, path: Path) -> None:
    deadline_s = time.monotonic() + TAKE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline_s:
                raise HomeBusy(_busy(path)) from error
            time.sleep(TAKE_S / 20)


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _check_layout(path: Path) -> None:
    file = path / "home.json"
    if not file.exists():
        _write(file, {"layout": LAYOUT})
        return
    try:
        layout = int(json.loads(file.read_text())["layout"])
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{file} is damaged: restore it, or move {path} away to start anew") from error
    if layout > LAYOUT:
        raise HomeTooNew(f"{path} was made by a newer Airtrace (layout {layout}, this one knows {LAYOUT}): upgrade")


def _write(file: Path, content: dict[str, Any]) -> None:
    """Whole or not at all: a kill in between would leave a home that looks damaged."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(file)


@contextmanager
def _usable(path: Path, how: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(
            f"the home {path} cannot be {how} ({error.strerror}): choose another with AIRTRACE_HOME or --home"
        ) from error
