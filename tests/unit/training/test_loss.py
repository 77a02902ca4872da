"""The loss rewards pairs whose views are nearest to each other."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'airtrace[train]'")

from monitor.training.loss import nt_xent  # noqa: E402


def test_the_loss_is_low_only_when_partners_are_nearest() -> None:
    first = torch.nn.functional.normalize(torch.randn(16, 32, generator=torch.Generator().manual_seed(1)), dim=1)
    low, all_nearest = nt_xent(first, first, 0.05)
    high, none_nearest = nt_xent(first, first.roll(1, 0), 0.05)
    assert float(low) < 0.5 < 5 < float(high)
    assert (all_nearest, none_nearest) == (1.0, 0.0)
