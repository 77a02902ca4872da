"""A small training cache of melodies, as pairs."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.detect.spectrum import RATE_HZ
from monitor.training import cache
from monitor.training.pairs import Pairs

TRACKS = 12


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Pairs of TRACKS tracks of 6 s, with three voices and three noises of 30 s."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("cache")
    with cache.Writer(folder) as writer:
        for kind, n, seconds in (("music", TRACKS, 6), ("speech", 3, 30), ("noise", 3, 30)):
            for i in range(n):
                notes = np.repeat(rng.uniform(300, 3000, seconds * 5), RATE_HZ // 5)
                sound = 8000 * np.sin(2 * np.pi * np.cumsum(notes) / RATE_HZ) + rng.normal(0, 50, len(notes))
                writer.add(sound.astype(np.int16), kind=kind, name=f"{kind} {i}", track=f"{kind} {i}")
    return Pairs(cache.load(folder), bank_size=4, seed=1)
