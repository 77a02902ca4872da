"""Measures PANNs: passages per second on one core, and its share of the CPU time next to the fingerprint.

Run by `make bench-sounds`. The network is the real Cnn14 with random weights, because its cost does not depend on them.
Both detectors take turns on the same sound and the same core, and times are CPU times, so that the ratio holds on a
busy machine, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from monitor.core.segments import PASSAGE_SAMPLES, SAMPLE_RATE_HZ
from monitor.detect.checkpoints import PANNS
from monitor.detect.fingerprint import NeuralDetector
from monitor.detect.panns import BATCH, Panns
from tests import panns

PASSAGE_S = PASSAGE_SAMPLES / SAMPLE_RATE_HZ


def main() -> int:
    """Prints one JSON object and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as folder:
        path = Path(folder) / "random.pth"
        torch.save({"model": panns.network(PANNS.rate_hz).state_dict()}, path)
        network = Panns(path, PANNS, "cpu", own=True)
    fingerprint = NeuralDetector()
    passages = [panns.over(panns.tune(i), panns.babble(i)) for i in range(BATCH["cpu"])]
    cost_s: dict[str, list[float]] = {"panns": [], "fingerprint": []}
    network.listen(passages[:1])  # the first run allocates
    for _ in range(rounds):
        cost_s["panns"].append(_cpu_s(lambda: network.listen(passages)) / len(passages))
        cost_s["fingerprint"].append(_cpu_s(lambda: [fingerprint.embed(each) for each in passages]) / len(passages))
    panns_s, fingerprint_s = (statistics.median(cost_s[name]) for name in ("panns", "fingerprint"))
    result = {
        "panns_passages_per_core_second": round(1 / panns_s, 2),
        "panns_x_realtime_on_a_core": round(PASSAGE_S / panns_s, 1),
        "fingerprint_x_realtime_on_a_core": round(PASSAGE_S / fingerprint_s),
        "panns_over_fingerprint": round(panns_s / fingerprint_s),
        "panns_share_of_both": round(panns_s / (panns_s + fingerprint_s), 3),
        "streams_on_a_core_with_both": int(PASSAGE_S / (panns_s + fingerprint_s)),
        "rounds": rounds,
    }
    print(json.dumps(result, indent=2))
    return 0


def _cpu_s(action: Callable[[], object]) -> float:
    begun = time.thread_time()
    action()
    return time.thread_time() - begun


if __name__ == "__main__":
    raise SystemExit(main())
