"""How much of this machine's CPU time is in use, by all processes."""

from __future__ import annotations

from pathlib import Path

STAT = Path("/proc/stat")
IDLE = (3, 4)  # columns of /proc/stat (man 5 proc): idle, iowait
N_COLUMNS = 8  # the rest are parts of the first two


class CpuMeter:
    """The share of the machine's CPU time in use since the last call; None on systems without /proc."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat = stat
        self._last = self._ticks()

    def share(self) -> float | None:
        """0 to 1."""
        last, self._last = self._last, self._ticks()
        if last is None or self._last is None:
            return None
        spent = [new - old for new, old in zip(self._last, last, strict=True)]
        if (total := sum(spent)) <= 0:
            return None
        return 1 - sum(spent[column] for column in IDLE) / total

    def _ticks(self) -> list[int] | None:
        try:
            first = self._stat.read_text().partition("\n")[0]
        except OSError:
            return None
        return [int(column) for column in first.split()[1 : 1 + N_COLUMNS]]
