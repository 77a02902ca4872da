"""The home: one directory with everything that the embedded mode stores, used by one process at a time.

home.json      version of the layout       lock       locked while a process uses the home
postgres/      the database                run.json   address and pid of the running `airtrace run`
milvus.db      the vectors                 spool/     windows that wait for the worker
models/        fetched checkpoints (monitor/detect/checkpoints.py), which the full mode reads as well
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from monitor.errors import HomeBusy, HomeError, HomeTooNew

LAYOUT = 1
RUN = "run.json"
# `running_at` of another command acquires the lock for an instant, to find out whether anybody has it.
LOCK_TIMEOUT_S, LOCK_POLL_S = 0.2, 0.01


@dataclass(frozen=True, slots=True)
class Home:
    """The paths inside a home."""

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
        """Lets other commands find the address of this process, until the context ends."""
        file = self.path / RUN
        _write(file, {"url": url, "pid": os.getpid()})
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Home]:
    """Locks the home until the context ends, and creates it if necessary.

    The system releases the lock of a process that was killed.

    Raises:
        HomeBusy: another process is using it.
        HomeTooNew: a newer version created it.
        HomeError: it cannot be created or written.
    """
    # A lock on the file itself (flock), which every version of Airtrace has used.
    lock = FileLock(path / "lock")
    with _usable(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(LOCK_TIMEOUT_S, LOCK_POLL_S)
        except Timeout as error:
            raise HomeBusy(_busy(path)) from error
    try:
        with _usable(path, "written"):
            (path / RUN).unlink(missing_ok=True)  # left by a process that was killed
            _check_layout(path)
        yield Home(path)
    finally:
        lock.release()


def running_at(path: Path) -> str | None:
    """Address of the `airtrace run` that uses this home, or None if nobody uses it.

    Raises:
        HomeBusy: another command, which serves no API, is using it.
        HomeError: the home cannot be read.
    """
    with _usable(path, "read"):
        if not _is_locked(path):
            return None
        announced = _announced(path)
    if announced is None:
        raise HomeBusy(_busy(path))
    return str(announced["url"])


def _is_locked(path: Path) -> bool:
    if not (path / "lock").exists():
        return False
    announced = _announced(path)
    # If no live process announces itself, another command may hold the lock for an instant, to ask the same question.
    timeout_s = 0.0 if announced is not None and _is_alive(announced) else LOCK_TIMEOUT_S
    try:
        with FileLock(path / "lock").acquire(timeout_s, LOCK_POLL_S):
            return False
    except Timeout:
        return True


def _is_alive(announced: dict[str, Any]) -> bool:
    try:
        os.kill(int(announced["pid"]), 0)
    except PermissionError:  # another user's process
        return True
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return True


def _announced(path: Path) -> dict[str, Any] | None:
    """What `airtrace run` wrote about itself; valid only while the home is locked, because a killed process leaves it
    behind.
    """
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


def _check_layout(path: Path) -> None:
    file = path / "home.json"
    if not file.exists():
        _write(file, {"layout": LAYOUT})
        return
    try:
        layout = int(json.loads(file.read_text())["layout"])
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{file} is damaged: restore it, or move {path} away to start again") from error
    if layout > LAYOUT:
        raise HomeTooNew(f"{path} was made by a newer Airtrace (layout {layout}; this one supports {LAYOUT}): upgrade")


def _write(file: Path, content: dict[str, Any]) -> None:
    """Writes a file atomically: a kill in between would otherwise leave a home that looks damaged."""
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
