"""The bank of transmission responses."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.training.distortions import responses

SAMPLES = 24_000


def test_a_response_is_causal_and_has_unit_power() -> None:
    bank = responses.response_bank(12, SAMPLES, np.random.default_rng(3))
    assert bank.dtype == np.complex64
    assert np.mean(np.abs(bank) ** 2, axis=1) == pytest.approx(1, rel=1e-4)
    impulses = np.fft.irfft(bank, SAMPLES, axis=1)
    energy = np.square(impulses)
    before = energy[:, SAMPLES // 2 :].sum(axis=1)  # an FFT puts negative times at the end
    assert (before < 1e-3 * energy.sum(axis=1)).all()


def test_a_bank_depends_only_on_the_seed() -> None:
    first, second = (responses.response_bank(3, 4000, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first, second)
