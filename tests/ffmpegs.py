"""Finds the ffmpeg processes that this process has started and that still run."""

from __future__ import annotations

import os
from pathlib import Path


def running() -> set[str]:
    """Their process ids, without those of zombies."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue  # it has just ended
        if "(ffmpeg" in name and rest.split()[1] == str(os.getpid()) and rest.split()[0] != "Z":
            found.add(stat.parent.name)
    return found
