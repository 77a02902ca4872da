"""Training pairs: drawn by seed, of different tracks, and alike without augmentation."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.training.errors import TrainingError
from monitor.training.pairs import AugmentationStrength, Pairs


def test_a_batch_has_different_tracks_and_depends_only_on_the_seed(pairs: Pairs) -> None:
    first, second, other = (pairs.batch(10, AugmentationStrength(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert len(set(first.tracks)) == 10
    assert first.catalog.shape == first.heard.shape == (10, 160, 28)
    assert np.isfinite(first.heard).all()
    assert np.array_equal(first.heard, second.heard)
    assert not np.array_equal(first.heard, other.heard)


def test_more_pairs_than_tracks_are_rejected(pairs: Pairs) -> None:
    with pytest.raises(TrainingError, match="--pairs"):
        pairs.batch(pairs.tracks + 1, AugmentationStrength(), np.random.default_rng(1))


def test_without_augmentation_the_views_of_a_pair_match(pairs: Pairs) -> None:
    changes = ["copy", "speed", "voice", "noise", "underneath", "response", "hiss", "compressed", "clipped", "rounded"]
    nothing = AugmentationStrength(**dict.fromkeys([*changes, "cut_out"], 0.0))
    batch = pairs.batch(pairs.tracks, nothing, np.random.default_rng(1))
    catalog, heard = (part.reshape(pairs.tracks, -1) for part in (batch.catalog, batch.heard))
    nearest = (heard @ catalog.T).argmax(axis=1)
    assert (nearest == np.arange(pairs.tracks)).mean() > 0.7
