"""The home: one directory with everything of the embedded mode, used by one process at a time.

home.json      the layout's version        lock       held while a process uses the home
postgres/      the database                run.json   address of the running `airtrace run`, and its pid
milvus.db      the vectors                 spool/     windows on their way
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from monitor.errors import HomeBusy, HomeError, HomeTooNew

LAYOUT = 1


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
        file = self.path / "run.json"
        unfinished = file.with_suffix(".new")
        unfinished.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        unfinished.replace(file)
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
        _check_layout(path)
        yield Home(path)


def _lock_file(path: Path) -> TextIO:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / "lock").open("a+")
    except OSError as error:
        raise HomeError(
            f"the home {path} cannot be written ({error.strerror}): choose another with AIRTRACE_HOME or --home"
        ) from error


def running_at(path: Path) -> str | None:
    """Address of the `airtrace run` that has this home, or None when nobody has it.

    Raises:
        HomeBusy: a process that serves nobody has it.
        HomeError: the home cannot be read.
    """
    try:
        with (path / "lock").open("r+") as lock:
            if not _is_taken(lock.fileno()):
                return None
        announced = json.loads((path / "run.json").read_text())
    except FileNotFoundError as error:
        if error.filename == str(path / "lock"):
            return None
        raise HomeBusy(_BUSY.format(path=path)) from error
    except (OSError, ValueError) as error:
        raise HomeError(
            f"the home {path} cannot be read ({error}): choose another with AIRTRACE_HOME or --home"
        ) from error
    return str(announced["url"])


_BUSY = "another airtrace command is using {path}: wait until it is done, or start `airtrace run`, which serves several"


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HomeBusy(_BUSY.format(path=path)) from error


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _check_layout(path: Path) -> None:
    file = path / "home.json"
    if not file.exists():
        file.write_text(json.dumps({"layout": LAYOUT}))
        return
    try:
        layout = int(json.loads(file.read_text())["layout"])
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{file} is damaged: restore it, or move {path} away to start anew") from error
    if layout > LAYOUT:
        raise HomeTooNew(f"{path} was made by a newer Airtrace (layout {layout}, this one knows {LAYOUT}): upgrade")
