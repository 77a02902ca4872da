"""How long to wait before trying again: doubling, with jitter. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

# A wait is drawn from this part of the full one up to all of it: what failed together must not come back together.
MIN_PART = 0.5


class Backoff:
    """Waits that double from `first_s` up to `most_s`, until a success resets them."""

    def __init__(self, first_s: float, max_s: float, draw: Callable[[], float] = random.random) -> None:
        """`draw` gives numbers in [0, 1)."""
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._draw = draw
        self._full_s = self._first_s

    def next_s(self) -> float:
        """The next wait, in seconds; never more than `most_s`."""
        wait_s = self._full_s * (MIN_PART + (1 - MIN_PART) * self._draw())
        self._full_s = min(2 * self._full_s, self._max_s)
        return wait_s

    def reset(self) -> None:
        """It works again: the next wait is a first one."""
        self._full_s = self._first_s
