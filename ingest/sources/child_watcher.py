"""Waits for the ends of child processes on the event loop, for Python 3.11, which keeps a thread for each of them.

Python 3.12 does the same on its own: then this file can go.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable


class ChildWatcher(asyncio.PidfdChildWatcher):
    """That of Python 3.12: it belongs to no loop. The one of 3.11 loses its children when another loop is set."""

    def is_active(self) -> bool:
        """Always: each child is watched by the loop that started it."""
        return True

    def attach_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Does nothing."""

    def add_child_handler(self, pid: int, callback: Callable[..., object], *args: object) -> None:
        """Calls `callback(pid, exit code, *args)` in the running loop once the child has ended."""
        pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(pidfd, _reap, pid, pidfd, callback, args)

    def remove_child_handler(self, pid: int) -> bool:
        """Not supported; asyncio does not call it."""
        return False


def install() -> None:
    """Makes asyncio use it, unless it is not needed, or the system has no pidfds (Linux before 5.3, macOS)."""
    if sys.version_info < (3, 12) and _has_pidfds():
        asyncio.set_child_watcher(ChildWatcher())


def _has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _reap(pid: int, pidfd: int, callback: Callable[..., object], args: tuple[object, ...]) -> None:
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    try:
        _, status = os.waitpid(pid, 0)
        exit_code = os.waitstatus_to_exitcode(status)
    except ChildProcessError:  # somebody else has reaped it
        exit_code = 255
    callback(pid, exit_code, *args)
