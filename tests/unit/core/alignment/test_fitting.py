"""The alignment that fits what was heard best, its speed included."""

import numpy as np
import pytest

from monitor.core.alignment.alignment import Alignment
from monitor.core.alignment.fitting import fit_alignment, refine_alignment
from monitor.core.segments import HOP_SAMPLES, SEGMENT_SAMPLES
from monitor.detect.fingerprint import NeuralDetector
from tests.unit.core.broadcasts import broadcast, heard, track, unknown

CURVE = NeuralDetector.thresholds.tracking_curve


@pytest.mark.parametrize("speed", [0.94, 0.98, 1.0, 1.01, 1.04])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_best_alignment_has_the_position_and_the_speed_of_the_broadcast(speed: float, share: float) -> None:
    reference = track(4, 120)
    # The middles of segments lie on the alignment.
    places = [20 + share + speed * i for i in range(60)]
    segments = broadcast(heard(reference, places, noise=0.5), {7: reference})
    near = Alignment(segments[-1].start, round(places[-1]) * HOP_SAMPLES)
    fit = fit_alignment(reference, segments, near, CURVE, 2.0)
    assert fit is not None
    middle = segments[30].start + SEGMENT_SAMPLES // 2
    true = places[30] * HOP_SAMPLES + SEGMENT_SAMPLES // 2
    assert fit.alignment.position_at(middle) == pytest.approx(true, abs=HOP_SAMPLES / 8)
    assert fit.alignment.speed == pytest.approx(speed, abs=0.004)
    assert np.nanmean(fit.cosines) > 0.8


def test_no_alignment_fits_a_broadcast_without_the_track() -> None:
    reference = track(5, 120)
    segments = broadcast(unknown(40, 6), {7: reference})
    assert fit_alignment(reference, segments, Alignment(segments[-1].start, 60 * HOP_SAMPLES), CURVE, 6.0) is None


def test_an_alignment_follows_a_small_drift_and_stays_if_nothing_is_better() -> None:
    reference = track(8, 60)
    segments = broadcast(heard(reference, [10 + i for i in range(16)]), {7: reference})
    now = segments[-1].start
    off = Alignment(now, 25 * HOP_SAMPLES + HOP_SAMPLES / 4)
    assert abs(refine_alignment(reference, segments, off).position - 25 * HOP_SAMPLES) < HOP_SAMPLES / 4
    right = Alignment(now, 25 * HOP_SAMPLES)
    assert refine_alignment(reference, segments, right) == right
