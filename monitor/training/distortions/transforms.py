"""FFTs of real rows: scipy's, which are vectorized over rows, or else numpy's at a third of the speed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_module = import_module("scipy.fft" if find_spec("scipy") else "numpy.fft")
rfft: Callable[..., Any] = _module.rfft
irfft: Callable[..., Any] = _module.irfft
