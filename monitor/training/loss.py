"""The loss: NT-Xent (Chen et al., ICML 2020) over the two views of a batch."""

from __future__ import annotations

import torch
from torch.nn import functional


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> tuple[torch.Tensor, float]:
    """The mean loss of a batch of pairs, and the share of second views whose nearest first view is their own.

    first, second: unit vectors, (n, dimensions); row i of both is one pair, and all pairs are of different tracks.
    """
    n = len(first)
    both = torch.cat([first, second])
    itself = torch.eye(2 * n, dtype=torch.bool, device=both.device)
    similarity = (both @ both.T / temperature).masked_fill(itself, float("-inf"))
    partner = torch.arange(2 * n, device=both.device).roll(n)
    loss = functional.cross_entropy(similarity, partner)
    nearest = (second @ first.T).argmax(dim=1)
    accuracy = (nearest == torch.arange(n, device=both.device)).float().mean().item()
    return loss, accuracy
